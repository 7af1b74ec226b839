"""Where motion comes from: each source writes the same SURREAL-shaped tree.

    synthetic   procedural motion on the embedded body; no account, no network
    cmu         a short list of CMU motion capture takes on the embedded body; no account
    surreal     SURREAL's clips on SMPL's bodies, both behind licences

Downloads are kept in a cache folder of their own: a second run asks only for what is missing.
`source.json` in the tree says what it was made from and under which terms.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpifu.clips.clip import SOURCE_NAME
from tpifu.config import Data
from tpifu.files import whole_folder
from tpifu.sources.cmu.takes import ACKNOWLEDGEMENT, fetch_cmu
from tpifu.sources.cmu.tree import write_cmu
from tpifu.sources.surreal.download import write_smpl, write_surreal
from tpifu.sources.synthetic.tree import write_synthetic

_TERMS = {
    "synthetic": {
        "licence": "MIT (motion), Apache-2.0 and CC0 (body); see NOTICE",
        "citation": "",
    },
    "cmu": {
        "licence": "CMU: free for all uses, not to be resold as data; body: see NOTICE",
        "citation": ACKNOWLEDGEMENT,
    },
    "surreal": {
        "licence": "SURREAL and SMPL: non-commercial research, no redistribution in any form",
        "citation": (
            "Varol et al., Learning from Synthetic Humans, CVPR 2017; "
            "Loper et al., SMPL: A Skinned Multi-Person Linear Model, SIGGRAPH Asia 2015"
        ),
    },
}


def write_tree(
    out: Path, data: Data, seed: int, *, cache: Path, environment: Mapping[str, str], jobs: int
) -> list[str]:
    """Write the tree of `data.source` to `out`, whole or not at all; returns a line for each file
    that could not be had.

    `cache` keeps downloads. `environment` holds logins (SURREAL_USERNAME, SURREAL_PASSWORD,
    SMPL_USERNAME, SMPL_PASSWORD), SMPL_MODELS, and maybe mirrors: SURREAL_URL, SURREAL_LISTS_URL,
    SMPL_URL, CMU_URL. Raises LicenceError, DataError or ConfigError.
    """
    with whole_folder(out) as tree:
        faults: list[str] = []
        made: dict[str, Any] = {}
        if data.source == "synthetic":
            write_synthetic(tree, data.synthetic, seed, jobs=jobs)
        elif data.source == "cmu":
            faults = fetch_cmu(cache / "cmu", environment)
            faults += write_cmu(tree, cache / "cmu", seed=seed, jobs=jobs)
        else:
            made["bodies"] = write_smpl(tree / "smpl", cache / "smpl", environment)
            faults = write_surreal(tree, data, seed, cache / "surreal", environment)
        made["clips"] = len(list(tree.glob("cmu/*/run*/*/*_info.mat")))
        source = {"source": data.source, **_TERMS[data.source], **made}
        (tree / SOURCE_NAME).write_text(json.dumps(source, indent=2, sort_keys=True) + "\n")
    return faults
