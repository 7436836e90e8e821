"""What came of a comparison: the runs of a system as one, and the tests between two systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import fmean
from typing import Any

from captioning.evaluate import Scorer
from captioning.metrics.significance import deviation, intervals, paired, welch
from captioning.metrics.statistics import pooled
from captioning.systems import System

Record = Mapping[str, Any]
#: Those figures of a run that its own line in the result keeps.
_OWN = ("seed", "seconds", "words_per_second", "best_epoch", "losses", "epochs")
_AVERAGED = ("seconds", "words_per_second", "losses")


class Outcome:
    """The records of every system's runs, each system having as many.

    statistics : of each run under its last decoder, by system.
    """

    def __init__(self, scorer: Scorer, records: Mapping[str, Sequence[Record]]) -> None:
        self.scorer, self.records = scorer, records
        self.statistics = {
            name: [scorer.statistics(_last_decoder(run)["captions"]) for run in runs] for name, runs in records.items()
        }

    def system(self, system: System) -> dict[str, Any]:
        """Return a system as plain values: means over its runs, their deviations, and the first run's captions."""
        runs = self.records[system.name]
        first = runs[0]
        single = ("cell", "units", "parameters", "cell_parameters", "cell_flop", "step_mib", "best_epoch", "epochs")
        found = {**{key: first[key] for key in single}, "equal": list(system.equal)}
        found |= {key: mean_of([run[key] for run in runs]) for key in _AVERAGED}
        found["decoders"] = {name: self._decoder(name, runs) for name in first["decoders"]}
        found["per_picture"] = mean_of([run["per_picture"] for run in runs])
        if len(runs) > 1:
            found["deviations"] = {key: deviation_of([run[key] for run in runs]) for key in _AVERAGED}
            found["runs"] = [_own_line(run) for run in runs]
        return found

    def _decoder(self, name: str, runs: Sequence[Record]) -> dict[str, Any]:
        blocks = [run["decoders"][name] for run in runs]
        if len(blocks) == 1:
            return dict(blocks[0])
        statistics = pooled([self.scorer.measure(block["captions"])[0] for block in blocks])
        return {
            **blocks[0],  # captions, and what belongs to them, are the first run's
            "metrics": mean_of([block["metrics"] for block in blocks]),
            "deviations": deviation_of([block["metrics"] for block in blocks]),
            "intervals": intervals(statistics),
            "further": mean_of([block["further"] for block in blocks]),
        }

    def tests(self) -> list[dict[str, Any]]:
        """Return the tests of every two systems: over the pictures, their runs pooled, and over the training runs."""
        found = []
        for first, second in combinations(self.records, 2):
            one, other = self.statistics[first], self.statistics[second]
            by_run = [[run.scores() for run in runs] for runs in (one, other)]
            for metric, over_pictures in paired(pooled(one), pooled(other)).items():
                values = [[scores[metric] for scores in runs] for runs in by_run]
                found.append({"first": first, "second": second, "metric": metric, **asdict(over_pictures)})
                found[-1] |= {"runs": [len(runs) for runs in values], "p_runs": welch(*values)}
        return found


def _last_decoder(run: Record) -> Record:
    block: Record = list(run["decoders"].values())[-1]
    return block


def _own_line(run: Record) -> dict[str, Any]:
    decoders = {
        name: {key: value for key, value in block.items() if key in ("metrics", "further")}
        for name, block in run["decoders"].items()
    }
    return {**{key: run[key] for key in _OWN}, "decoders": decoders}


def mean_of(values: Sequence[Any]) -> Any:
    """Return the mean of numbers, or of each entry of mappings; None where one of them is."""
    return _combined(values, fmean)


def deviation_of(values: Sequence[Any]) -> Any:
    """Return the deviation, that of a sample, as `mean_of` returns the mean."""
    return _combined(values, deviation)


def _combined(values: Sequence[Any], how: Any) -> Any:
    if isinstance(values[0], Mapping):
        return {key: _combined([value[key] for value in values], how) for key in values[0]}
    return None if any(value is None for value in values) else float(how(values))
