"""Puts the definitions of a mutated module where those of the real one are, for all who have imported them."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

_LEFT_ALONE = ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__slots__", "__qualname__")


def transplant(old: ModuleType, code: CodeType) -> None:
    """Run `code`, a changed version of the module `old`, and let every definition of `old` behave as the new one.

    Functions keep who they are and get the new code and defaults; classes get the new attributes. What else differs, a
    number or a table at module level, is replaced in all modules that have imported it.
    """
    new = ModuleType(old.__name__)
    kept = ("__file__", "__package__", "__spec__", "__path__")
    new.__dict__.update({key: old.__dict__[key] for key in kept if key in old.__dict__})
    sys.modules[old.__name__] = new  # dataclasses look their module up while it runs
    try:
        exec(code, new.__dict__)
    finally:
        sys.modules[old.__name__] = old
    for name, value in new.__dict__.items():
        there = old.__dict__.get(name)
        if getattr(there, "__module__", None) == old.__name__ and isinstance(there, type):
            _change_class(there, value)
        elif not _change_function(there, value) and name[:2] != "__" and repr(there) != repr(value):
            _replace(name, there, value)


def _change_class(old: type, new: type) -> None:
    for name, value in vars(new).items():
        if name not in _LEFT_ALONE and not _change_function(vars(old).get(name), value):
            try:
                setattr(old, name, value)
            except (AttributeError, TypeError):
                continue  # slots and the like


def _change_function(old: Any, new: Any) -> bool:
    """Give a function, whatever it is wrapped in, the code and defaults of another; False if they are none."""
    for attribute in ("fget", "__func__", "__wrapped__"):
        if hasattr(old, attribute) and hasattr(new, attribute):
            return _change_function(getattr(old, attribute), getattr(new, attribute))
    if not (isinstance(old, FunctionType) and isinstance(new, FunctionType)):
        return False
    if old.__code__.co_freevars != new.__code__.co_freevars:
        return False
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


def _replace(name: str, old: Any, new: Any) -> None:
    """Put a value at module level in the place of an equal name's in every module of the project."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").split(".")[0] in ("rnncore", "tests") and vars(module).get(name) is old:
            setattr(module, name, new)
