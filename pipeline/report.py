"""Stage `report`: both evaluations side by side -> reports/index.html, reports/comparison,
reports/animation and reports/tables (Table 2, Figures 4 and 5)."""

from pipeline.layout import DATA, METRICS, MODELS, NAMES, REPORTS, data_tags, load_params, root
from tpifu.config import flatten
from tpifu.errors import exit_on_error
from tpifu.files import write_json
from tpifu.params_file import environment
from tpifu.report.compare import PAGE_NAME, compare
from tpifu.report.frames import Side
from tpifu.tracking import start_run


def main() -> None:
    params = load_params()
    sides = [Side(name, REPORTS / name, MODELS / name) for name in NAMES]
    tags = {"profile": params.profile, **data_tags()}
    with start_run(
        "report", root=root(), params={}, tags=tags, recorded=environment().tracking
    ) as tracker:
        difference = compare(
            sides,
            DATA,
            REPORTS,
            params.evaluate,
            seed=params.seed,
            profile=params.profile,
        )
        write_json(METRICS / "difference.json", difference)
        tracker.log_metrics(flatten(difference))
        for name in ("animation", "comparison", "tables", PAGE_NAME):
            tracker.log_artifact(REPORTS / name)


if __name__ == "__main__":
    with exit_on_error():
        main()
