"""Fixtures of the tests that download."""

import pytest


@pytest.fixture(scope="module")
def short_delays():
    """Few attempts, short delays and no proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpifu.sources.download.fetch.DELAY", 0.001)
        patch.setattr("tpifu.sources.download.fetch.ATTEMPTS", 3)
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield
