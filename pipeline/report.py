"""Stage `report`: both evaluations side by side -> reports/index.html, reports/comparison (Table 2,
Figures 4 and 5), reports/tables."""

from pipeline import layout
from tpifu import tracking
from tpifu.errors import exit_on_error
from tpifu.evaluate import flat, write_json
from tpifu.report import PAGE_NAME, Side, compare


def main() -> None:
    params = layout.params()
    sides = [Side(name, layout.REPORTS / name, layout.MODELS / name) for name in layout.NAMES]
    tags = {"profile": params.profile, **layout.data_tags()}
    with tracking.start_run("report", root=layout.root(), params={}, tags=tags) as tracker:
        difference = compare(
            sides,
            layout.MESHES,
            layout.VIEWS,
            layout.POINTS,
            layout.REPORTS,
            params.evaluate,
            seed=params.seed,
            profile=params.profile,
        )
        write_json(layout.METRICS / "difference.json", difference)
        tracker.log_metrics(flat(difference))
        for made in ("comparison", "tables", PAGE_NAME):
            tracker.log_artifact(layout.REPORTS / made)


if __name__ == "__main__":
    with exit_on_error():
        main()
