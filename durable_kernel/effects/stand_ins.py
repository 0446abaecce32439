"""Hooks that stand where a builtin stood, and behave like one.

A plain Python function in the place of `time.sleep` would become a method of any class that stores
it (`class Retry: sleep = time.sleep`). A *bound* method does not bind again, costs no more to call,
and can pickle by name. So a hook is a function whose first parameter is its home, bound to it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any, Self

__all__ = ["Home", "bind", "replace"]


class Home:
    """Plays the module that a builtin is bound to: pickled as the module, printed as the module."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[self._name], name)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        return importlib.import_module, (self._name,)

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __copy__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<module {self._name!r}>"


def bind(module: str, name: str, function: Callable[..., Any], doc: str | None) -> MethodType:
    """Make `function(home, ...)` look like `module.name`."""
    function.__name__ = function.__qualname__ = name
    function.__module__ = module
    function.__doc__ = doc
    return MethodType(function, Home(module))


def replace(module: ModuleType, name: str, function: Callable[..., Any]) -> None:
    """Put `function(home, ...)` where the builtin `module.name` is."""
    original = getattr(module, name)
    setattr(module, name, bind(module.__name__, name, function, original.__doc__))
