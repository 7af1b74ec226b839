"""`tpifu study NAME`: plan all studies, then let DVC run one."""

import subprocess
import sys

from pipeline.studies.plan import STUDIES, all_runs, studies, write_plan
from tpifu.errors import ConfigError, exit_on_error


def main(name: str, *options: str) -> int:
    known = dict(studies())
    if name not in known:
        raise ConfigError(f"{STUDIES}/{name}.yaml: no such study; there are {', '.join(known)}")
    write_plan()
    if "--stages" in options:
        runs = all_runs(name, known[name])
        data = dict.fromkeys(run.training["data"] for run in runs.values())
        print("\n".join([*(f"data@{key}" for key in data), *(f"run@{key}" for key in runs)]))
        return 0
    command = [sys.executable, "-m", "dvc", "repro", "-k", f"{name}/dvc.yaml:report"]
    return int(subprocess.run(command, cwd=STUDIES).returncode != 0)


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main(*sys.argv[1:]))
