"""The findings of a comparison in a few sentences, computed from its numbers."""

import math
from collections.abc import Sequence

from captioning.report.numbers import (
    Result,
    format_loss,
    format_metric,
    headlines,
    main_decoder,
    main_metrics,
    main_protocol,
    systems,
)

RANKED_BY = "CIDEr-D"


def summary(result: Result) -> list[str]:
    """Who is ahead, by which measure and how much; whether that is more than chance; what it cost."""
    sentences = [_metrics_sentence(result), _chance_sentence(result), _loss_sentence(result)]
    return [text for text in (*sentences, _cost_sentence(result)) if text]


def _metrics_sentence(result: Result) -> str:
    by_system, protocol = main_metrics(result), main_protocol(result) or ""
    dataset = result["dataset"]
    opening = f"On {dataset['test']:,} unseen pictures of {dataset['name']}, decoded with {main_decoder(result)}, "
    if len(by_system) < 2:
        alone = next(iter(by_system.values()), {})
        reached = [f"{metric} {format_metric(protocol, alone[metric])}" for metric in headlines(result)]
        return f"{opening}the {next(iter(by_system))} reaches {_joined(reached)}." if reached else ""
    wins: dict[str, list[str]] = {}
    for metric in headlines(result):
        ranked = sorted(((m[metric], s) for s, m in by_system.items() if metric in m), reverse=True)
        numbers = [format_metric(protocol, value) for value, _ in ranked[:2]]
        if len(ranked) < 2:
            continue
        leader = "" if numbers[0] == numbers[1] else ranked[0][1]
        text = f"{metric} ({numbers[0]} against {numbers[1]})" if leader else f"{metric} ({numbers[0]})"
        wins.setdefault(leader, []).append(text)
    level = wins.pop("", [])
    parts = [f"the {name} is ahead on {_joined(measures)}" for name, measures in wins.items()]
    if level:
        parts.append(f"the first two are level on {_joined(level)}")
    return f"{opening}{'; '.join(parts)}." if parts else ""


def _chance_sentence(result: Result) -> str:
    """The paired difference over the pictures between the two systems that score best."""
    scores = picture_scores(result)
    ranked = sorted(scores, key=lambda name: -_mean(list(scores[name].values())))[:2]
    if len(ranked) < 2:
        return ""
    first, second = (scores[name] for name in ranked)
    differences = [first[picture] - second[picture] for picture in first if picture in second]
    if len(differences) < 2:
        return ""
    mean = _mean(differences)
    spread = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    error = math.sqrt(spread / len(differences))
    verdict = "more than the choice of pictures explains" if mean > 2 * error else "too close to call"
    return (
        f"Picture by picture the {ranked[0]} is {mean:.1f} ± {error:.1f} {RANKED_BY} ahead of the {ranked[1]} "
        f"(mean and standard error over {len(differences):,} pictures, one training run each): {verdict}."
    )


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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
