"""Write the interactive page: python -m rnncore.study --out study.html."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.cells import find_cell
from rnncore.interop.files import load
from rnncore.recurrent import Recurrent
from rnncore.study.latch import INPUTS, latch_run, learn_latch
from rnncore.study.page import LIVE, live_system, shown_system, write_page
from rnncore.study.run import Run

TRAINED = (
    "These small networks have learned to keep a value: they read a value and a mark, and say the value that was there "
    "when the mark was last set. Draw into the bars and see which gates open; hold a gate and see what breaks."
)
GIVEN = "Step through what the network does, draw another input, and hold its gates."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page that the arguments ask for; an error is one message and exit code 1."""
    asked = _parser().parse_args(arguments)
    try:
        systems = _given(asked) if asked.weights else _trained(asked)
        write_page(asked.out, systems, lead=GIVEN if asked.weights else TRAINED, about=_about(asked))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"open {asked.out} in a browser")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m rnncore.study", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("study.html"), help="the file to write")
    parser.add_argument("--cells", default="LSTM,GRU,GRU-before,RNN", help="what to train, by commas")
    parser.add_argument("--hidden", type=int, default=6, help="units of each")
    parser.add_argument("--steps", type=int, default=800, help="training steps of each")
    parser.add_argument("--length", type=int, default=24, help="steps of the sequence shown")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, help="show this network instead: a file of rnncore.save, one layer")
    return parser


def _trained(asked: argparse.Namespace) -> list[dict[str, Any]]:
    systems = []
    for name in asked.cells.split(","):
        print(f"training {name} ...", file=sys.stderr)
        learned = learn_latch(find_cell(name), asked.hidden, asked.steps, asked.seed)
        print(f"  mean square error {learned.error:.4f}; a guess of 0 has 0.3333", file=sys.stderr)
        run = latch_run(learned, asked.length, name=name)
        known = type(run.cell).__name__ in LIVE
        systems.append(live_system(run, INPUTS, (learned.w, learned.b), wanted=True) if known else shown_system(run))
    return systems


def _given(asked: argparse.Namespace) -> list[dict[str, Any]]:
    layer: Recurrent = load(asked.weights).layer()
    if layer.layers > 1 or layer.directions > 1:
        raise ValueError(f"{asked.weights}: the page shows one layer in one direction, got {layer}")
    layer.training = False
    shape = (asked.length, 1, layer.input_size)
    layer(np.random.default_rng(asked.seed).uniform(-1, 1, shape).astype(layer.params.flat.dtype))
    run = Run.of(layer)
    return [live_system(run) if type(run.cell).__name__ in LIVE else shown_system(run)]


def _about(asked: argparse.Namespace) -> str:
    if asked.weights:
        return f"Weights of {asked.weights.name}; computed in this page, in double precision."
    return (
        f"Each network: {asked.hidden} units, {asked.steps} steps of Adam on 32 sequences of 20 steps, "
        f"seed {asked.seed}. Computed in this page, in double precision; nothing is fetched."
    )


if __name__ == "__main__":
    sys.exit(main())
