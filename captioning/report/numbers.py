"""How a report reads a result: which protocol is which, how its numbers are written."""

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]

MISSING = "–"
HEADLINES = ("CIDEr-D", "BLEU-4", "BLEU-1", "ROUGE-L")


def is_coco(protocol: str) -> bool:
    """COCO's numbers run from 0 to 100; the readings of the paper from 0 to 1, as the paper prints them."""
    return "coco" in protocol.lower()


def format_metric(protocol: str, value: float | None, deviation: float | None = None) -> str:
    """One decimal for COCO's scale, five for the paper's; with its deviation over the runs, where there are several."""
    return _written(value, deviation, 1 if is_coco(protocol) else 5)


def format_loss(value: float | None, deviation: float | None = None) -> str:
    """A loss in nats a word."""
    return _written(value, deviation, 3)


def _written(value: float | None, deviation: float | None, digits: int) -> str:
    if value is None:
        return MISSING
    return f"{value:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def format_p(p: float | None) -> str:
    """A probability: two significant digits, none claimed below what the resampling can tell."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.0995 else f"{p:.3f}"


def format_count(value: int | None) -> str:
    """A whole number with thousands marked."""
    return MISSING if value is None else f"{value:,}"


def format_seconds(seconds: float | None) -> str:
    """A time a person can read: ``41.3 s``, ``9 min 48 s``, ``2 h 05 min``."""
    if seconds is None:
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def protocols(result: Result) -> list[str]:
    """Every protocol that made a number, in the order of the result's own list."""
    used = [
        name
        for block in (*systems(result).values(), {"decoders": result.get("baselines", {})})
        for decoder in block["decoders"].values()
        for name in decoder["metrics"]
    ]
    listed = [name for name in result.get("protocols", {}) if name in used]
    return list(dict.fromkeys(listed + used))


def metric_names(result: Result, protocol: str) -> list[str]:
    """The metrics of a protocol, in order of appearance."""
    blocks = [decoder for system in systems(result).values() for decoder in system["decoders"].values()]
    blocks += result.get("baselines", {}).values()
    return list(dict.fromkeys(name for block in blocks for name in block["metrics"].get(protocol, {})))


def systems(result: Result) -> Mapping[str, Any]:
    """The compared systems by name."""
    found: Mapping[str, Any] = result["systems"]
    return found


def main_decoder(result: Result) -> str | None:
    """The decoder that headlines and pictures show: the last one that every system has."""
    names = [list(system["decoders"]) for system in systems(result).values()]
    shared = [name for name in names[0] if all(name in others for others in names)] if names else []
    return shared[-1] if shared else None


def main_protocol(result: Result) -> str | None:
    """COCO's protocol where there is one, else the first."""
    names = protocols(result)
    return next((name for name in names if is_coco(name)), names[0] if names else None)


def main_metrics(result: Result, what: str = "metrics") -> dict[str, dict[str, float]]:
    """The main protocol's metrics under the main decoder, by system; or their `deviations` over the runs."""
    decoder, protocol = main_decoder(result), main_protocol(result)
    if decoder is None or protocol is None:
        return {}
    blocks = {name: system["decoders"][decoder].get(what, {}) for name, system in systems(result).items()}
    return {name: block.get(protocol, {}) for name, block in blocks.items()}


def headlines(result: Result) -> list[str]:
    """The few measures that speak for the rest, the most telling first."""
    known = list(dict.fromkeys(name for metrics in main_metrics(result).values() for name in metrics))
    return [name for name in HEADLINES if name in known] or known[:4]
