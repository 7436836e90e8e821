"""One training of a grid in a process of its own: trained, measured, its result left in its folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioning.checkpoint import load_checkpoint
from captioning.commands import save_json
from captioning.config import Recipe
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.evaluate import Evaluator
from captioning.train import CHECKPOINT, Progress, Trainer
from encoders import EncoderError, open_features
from rnncore import NonFiniteLoss
from rnncore.processes import told_to_the_parent

RESULT = "result.json"


def carry_out(given: dict[str, Any], report: Callable[[Progress], None]) -> None:
    """Train and measure what `given` says; a training that diverges leaves a result that says so.

    given : `recipe`, `data`, `features`, `glove` or None, `folder`, `split` and `device`, as plain values.
    """
    recipe, folder = Recipe.from_dict("grid", given["recipe"]), Path(given["folder"])
    dataset, features = load_dataset(given["data"]), open_features(given["features"])
    glove = None if given["glove"] is None else Path(given["glove"])
    resume = (folder / CHECKPOINT).is_file()
    trainer = Trainer(recipe, dataset, features, folder, glove, resume, given["device"])
    result: dict[str, Any] = {"split": given["split"], "failed": None}
    try:
        trainer.run(report)
        evaluator = Evaluator.of(
            load_checkpoint(folder / CHECKPOINT), dataset, features, given["split"], given["device"]
        )
        result |= measured(evaluator)
    except NonFiniteLoss as error:
        result["failed"] = str(error)
    counts = trainer.model.parameter_counts()
    result |= {"parameters": counts["total"], "cell_parameters": counts["rnn"], "best_epoch": trainer.best_epoch}
    result |= {"epochs": trainer.history, "seconds": sum(record["seconds"] for record in trainer.history)}
    save_json(result, folder / RESULT)


def measured(evaluator: Evaluator) -> dict[str, Any]:
    """Return the loss, and every protocol's metrics of each decoder."""
    report = evaluator.report()
    return {
        "loss": report["loss"],
        "decoders": {name: block["metrics"] for name, block in report["decoders"].items()},
    }


def main() -> None:
    """Carry out the training whose plain values stand on stdin."""
    given = json.loads(sys.stdin.read())
    sys.path.insert(0, "")  # so that module:MyCell finds a module in the folder where one stands
    try:
        with told_to_the_parent() as tell:
            carry_out(given, lambda now: tell((now.epoch - 1) * now.all_words + now.words, now.epochs * now.all_words))
    except (CaptioningError, EncoderError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
