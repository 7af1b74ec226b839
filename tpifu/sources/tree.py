"""Write the motion of the configured source as a tree in SURREAL's layout.

    synthetic   procedural motion on the embedded body; needs no account and no network
    cmu         a short list of CMU motion capture takes on the embedded body; needs no account
    surreal     SURREAL's clips on SMPL's bodies, both behind licences

`data.cmu.folder` and `data.surreal.folder` select a user's own files instead of a download.
Downloads are cached outside the tree. `source.json` in the tree names the source and its terms.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpifu.clips.clip import SOURCE_NAME, read_source
from tpifu.config import Data
from tpifu.files import whole_folder
from tpifu.sources.cmu.own import write_own
from tpifu.sources.cmu.takes import ACKNOWLEDGEMENT, CMU_FRAME_RATE, fetch_cmu
from tpifu.sources.cmu.tree import write_cmu
from tpifu.sources.surreal.download import copy_bodies, write_smpl, write_surreal
from tpifu.sources.synthetic.tree import write_synthetic

_MOCAP = {"source": "mocap", "licence": "that of your own files; body: see NOTICE", "citation": ""}
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
    """Write the tree of `data.source` to `out`, atomically.

    Returns a line for each file that is not available. `cache` keeps downloads. `environment` holds
    the logins SURREAL_USERNAME, SURREAL_PASSWORD, SMPL_USERNAME and SMPL_PASSWORD, or SMPL_MODELS,
    and optionally the mirrors SURREAL_URL, SURREAL_LISTS_URL, SMPL_URL and CMU_URL. Raises
    LicenceError, DataError or ConfigError.
    """
    with whole_folder(out) as tree:
        problems: list[str] = []
        details: dict[str, Any] = {"source": data.source, **_TERMS[data.source]}
        if data.source == "synthetic":
            write_synthetic(tree, data.synthetic, seed, jobs=jobs)
            details["motions"] = data.synthetic.motions
        elif data.source == "cmu" and data.cmu.folder:
            details |= _MOCAP
            problems = write_own(tree, Path(data.cmu.folder), data, seed=seed, jobs=jobs)
        elif data.source == "cmu":
            takes, problems = fetch_cmu(cache / "cmu", environment)
            problems += write_cmu(tree, takes, frame_rate=CMU_FRAME_RATE, seed=seed, jobs=jobs)
        else:
            own = Path(data.surreal.folder) if data.surreal.folder else None
            if own and (own / SOURCE_NAME).exists():
                details |= read_source(own)
            if own and (own / "smpl").is_dir():
                copy_bodies(own / "smpl", tree / "smpl")
            else:
                details["bodies"] = write_smpl(tree / "smpl", cache / "smpl", environment)
            problems = write_surreal(tree, data, seed, cache / "surreal", environment)
        details["clips"] = len(list(tree.glob("cmu/*/run*/*/*_info.mat")))
        (tree / SOURCE_NAME).write_text(json.dumps(details, indent=2, sort_keys=True) + "\n")
    return problems
