"""Dataclass fields that check their own type and range; the recipes are made of them."""

import math
import re
from dataclasses import Field, dataclass, fields
from typing import Any, get_args

from captioning.errors import CaptioningError

_OWN_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class OneOf:
    """A word out of some; with `own`, also a person's own class as `module:Class`."""

    options: tuple[str, ...]
    own: bool = False

    def allows(self, value: str) -> bool:
        return value in self.options or (self.own and bool(_OWN_CLASS.fullmatch(value)))

    def __str__(self) -> str:
        return f"one of {', '.join(self.options)}" + (" or module:Class" if self.own else "")


@dataclass(frozen=True)
class Within:
    """A finite number from `low` (excluded if `above`) to `high` (excluded if `below`)."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def allows(self, value: float) -> bool:
        low = self.low < value if self.above else self.low <= value
        high = value < self.high if self.below else value <= self.high
        return low and high and math.isfinite(value)

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low:g}"
        return low if self.high == math.inf else f"{low} and {'below' if self.below else 'at most'} {self.high:g}"


class Checked:
    """Checks every field against its type and range as soon as a section is made."""

    def __post_init__(self) -> None:
        section = type(self).__name__.lower()
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = _checked(f"{section}.{item.name}", getattr(self, item.name), item)
            object.__setattr__(self, item.name, value)


def _checked(key: str, value: Any, item: "Field[Any]") -> Any:
    """The value as the field's type, if it has that type and its rule allows it."""
    wanted, *rules = get_args(item.type) or (item.type,)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
        raise CaptioningError(f"{key} must be {names[wanted]}, not {value!r}")
    for rule in rules:
        if not rule.allows(value):
            raise CaptioningError(f"{key} must be {rule}, not {value!r}")
    return value
