"""The files of a finished training run: model.pt, loss.csv, validation.csv and config.yaml."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tpifu.errors import DataError
from tpifu.files import whole_folder, write_text
from tpifu.model.folder import LOSS_NAME, SETTINGS_NAME, VALIDATION_NAME, save_model
from tpifu.train.optimizers import learning_rate
from tpifu.train.trainer import Trainer


def write_results(trainer: Trainer, out: Path) -> None:
    """Replace the folder `out` with the results; the model has the best validated weights, if any,
    else the last. Raises DataError if they cannot be written."""
    run, validations = trainer.run, trainer.validations
    if trainer.best_weights:
        trainer.network.load_state_dict(trainer.best_weights)
    model = trainer.model()
    losses = [
        [step, f"{loss:.6g}", f"{learning_rate(run.train, step):.6g}"]
        for step, loss in enumerate(trainer.losses)
    ]
    settings = io.StringIO()
    settings_of_run = {
        **run.settings(),
        "data": model.data.model_dump(exclude_none=True),
        "precision": trainer.precision,
        "fingerprint": run.fingerprint,
    }
    YAML(typ="safe", pure=True).dump(settings_of_run, settings)
    try:
        with whole_folder(out) as part:
            save_model(part, model)
            write_text(part / LOSS_NAME, _table(["step", "loss", "learning_rate"], losses))
            if validations:
                rows = [[f"{value:.6g}" for value in row.values()] for row in validations]
                write_text(part / VALIDATION_NAME, _table(validations[0], rows))
            write_text(part / SETTINGS_NAME, settings.getvalue())
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror}); repeat the command to resume from the "
            "last checkpoint"
        ) from error


def _table(header: Iterable[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
