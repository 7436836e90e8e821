"""The findings of a comparison in a few sentences, computed from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from captioning.report.numbers import (
    Result,
    format_loss,
    format_metric,
    format_p,
    headlines,
    main_decoder,
    main_metrics,
    main_protocol,
    systems,
)

RANKED_BY = "CIDEr-D"
LEVEL = 0.05


def summary(result: Result) -> list[str]:
    """Who is ahead, by which measure and how much; whether that is more than chance; what it cost."""
    sentences = [_metrics_sentence(result), conclusion(result), _loss_sentence(result)]
    return [text for text in (*sentences, _cost_sentence(result)) if text]


def _metrics_sentence(result: Result) -> str:
    by_system, protocol = main_metrics(result), main_protocol(result) or ""
    deviations = main_metrics(result, "deviations")
    dataset = result["dataset"]
    opening = f"On {dataset['test']:,} unseen pictures of {dataset['name']}, decoded with {main_decoder(result)}, "
    if len(by_system) < 2:
        alone = next(iter(by_system.values()), {})
        reached = [f"{metric} {format_metric(protocol, alone[metric])}" for metric in headlines(result)]
        return f"{opening}the {next(iter(by_system))} reaches {_joined(reached)}." if reached else ""
    wins: dict[str, list[str]] = {}
    for metric in headlines(result):
        ranked = sorted(((m[metric], s) for s, m in by_system.items() if metric in m), reverse=True)
        spread = {name: deviations.get(name, {}).get(metric) for _, name in ranked}
        numbers = [format_metric(protocol, value, spread[name]) for value, name in ranked[:2]]
        if len(ranked) < 2:
            continue
        level = format_metric(protocol, ranked[0][0]) == format_metric(protocol, ranked[1][0])
        leader = "" if level else ranked[0][1]
        text = f"{metric} ({numbers[0]} against {numbers[1]})" if leader else f"{metric} ({numbers[0]})"
        wins.setdefault(leader, []).append(text)
    equal = wins.pop("", [])
    parts = [f"the {name} is ahead on {_joined(measures)}" for name, measures in wins.items()]
    if equal:
        parts.append(f"the first two are level on {_joined(equal)}")
    return f"{opening}{'; '.join(parts)}." if parts else ""


def conclusion(result: Result) -> str:
    """Whether the best system is better beyond chance than the best of another cell, in one sentence.

    With one cell alone its second best takes that place; the sentence is empty where nothing tells.
    """
    reached = {name: metrics[RANKED_BY] for name, metrics in main_metrics(result).items() if RANKED_BY in metrics}
    ranked = [*sorted(reached, key=lambda name: -reached[name]), "", ""]
    first, behind = ranked[0], ranked[1:]
    cells = {name: system["cell"] for name, system in systems(result).items()}
    second = next((name for name in behind if name and cells[name] != cells[first]), behind[0])
    tests = [test for test in result.get("tests", ()) if test["metric"] == RANKED_BY]
    test = next((test for test in tests if {test["first"], test["second"]} == {first, second}), None)
    if test is None:
        return ""
    sign = 1 if test["first"] == first else -1
    low, high = sorted((sign * test["low"], sign * test["high"]))
    by_run = ""
    if test["p_runs"] is not None:
        by_run = f"; {_p(test['p_runs'])} over {test['runs'][0]} training runs each, Welch's t-test"
    return (
        f"The {first} is {sign * test['difference']:.1f} {RANKED_BY} ahead of the {second} "
        f"(95 % of picture samples: {low:.1f} to {high:.1f}; {_p(test['p_bootstrap'])} by paired bootstrap, "
        f"{format_p(test['p_randomisation'])} by randomisation{by_run}): {_verdict(test)}."
    )


def _p(value: float) -> str:
    written = format_p(value)
    return f"p {written}" if written.startswith("<") else f"p = {written}"


def _verdict(test: Mapping[str, Any]) -> str:
    pictures = max(test["p_bootstrap"], test["p_randomisation"]) < LEVEL
    if test["p_runs"] is None:
        alone = "more than the choice of pictures explains, but one training run each says nothing of other runs"
        return alone if pictures else "too close to call"
    if pictures and test["p_runs"] < LEVEL:
        return "more than the choice of pictures or of training runs explains"
    reason = "training runs differ as much" if pictures else "samples of the pictures differ as much"
    return f"too close to call, since {reason}"


def _loss_sentence(result: Result) -> str:
    losses = sorted((system["losses"]["test"], name) for name, system in systems(result).items())
    texts = [f"{format_loss(loss)} for the {name}" for loss, name in losses]
    return f"The test loss is {_joined(texts)}, in nats a word."


def _cost_sentence(result: Result) -> str:
    sizes = sorted((system["cell_parameters"], name) for name, system in systems(result).items())
    if len(sizes) < 2 or sizes[0][0] == sizes[-1][0]:
        return ""
    (small, lean), (large, rich) = sizes[0], sizes[-1]
    times = systems(result)[lean]["seconds"] / systems(result)[rich]["seconds"]
    return (
        f"The {lean} has {1 - small / large:.0%} fewer parameters in its cell than the {rich} "
        f"and trained in {times:.2f} of its time."
    )


def picture_scores(result: Result) -> dict[str, dict[str, float]]:
    """The score of each picture by system, where the result has them."""
    return {
        name: {picture: values[RANKED_BY] for picture, values in system["per_picture"].items() if RANKED_BY in values}
        for name, system in systems(result).items()
        if system.get("per_picture")
    }


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
