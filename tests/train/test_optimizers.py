from itertools import pairwise

import pytest

from tpifu.config import Train
from tpifu.model.pifu import PIFu
from tpifu.train.optimizers import learning_rate, optimizers


def test_the_constant_rate_is_that_of_table_1_and_the_cosine_warms_up_and_ends_near_0():
    assert {learning_rate(Train(), step) for step in (0, 100, 44599)} == {1e-4}
    config = Train(learning_rate=1.0, steps=100, warmup=4, schedule="cosine")
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[52] == pytest.approx(0.5)  # half way from step 4 to step 100
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert 0 < rates[-1] < 1e-3
    assert learning_rate(config, 50, progress=0.5) == pytest.approx(0.5)
    assert learning_rate(config, 50, progress=1.0) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["adam", "muon", "rmsprop"])
def test_each_parameter_is_updated_once(tiny_model, name):
    network = PIFu(tiny_model, 2.56)
    updated = [
        parameter
        for optimizer in optimizers(name, network)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(map(id, updated)) == sorted(map(id, network.parameters()))
