"""`tpifu models`: the card of the released models."""

import json

from tpifu.cli import options
from tpifu.cli.released import RELEASED, read_card


def print_models(as_json: options.AsJson = False) -> None:
    """Print the card of the released models: data, training, measures and licence."""
    card = read_card()
    if as_json:
        print(json.dumps(card, indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print("Released models, for tpifu reconstruct, tpifu eval and tpifu train --start:\n")
    models = Table("model", "frames", "fusion", "steps", "batch", "seed", "MB", box=None)
    for name, own in card["models"].items():
        values = (own[key] for key in ("frames", "fusion", "steps", "batch_size", "seed"))
        megabytes = f"{own['bytes'] / 1e6:.1f}"
        models.add_row(f"{RELEASED.name}/{name}", *map(str, values), megabytes)
    console.print(models)
    console.print()
    measures = Table("test set", "meshes", "model", box=None)
    for measure in card["measures"]:
        measures.add_column(measure, justify="right")
    for test_set, own in card["test_sets"].items():
        for name in card["models"]:
            values = (f"{own[name][measure]:.3f}" for measure in card["measures"])
            measures.add_row(test_set, str(own["meshes"]), name, *values)
    console.print(measures)
    for part in ("data", "licence", "attribution", "made_with"):
        console.print(f"\n{part.replace('_', ' ')}: {card[part]}")
