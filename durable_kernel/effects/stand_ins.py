"""Hooks that stand where a builtin stood, and behave like one.

A plain Python function in the place of `time.sleep` would become a method of any class that stores
it (`class Retry: sleep = time.sleep`), and a user's function that refers to it could not be
pickled: picklers copy a function that is not what its name says. A partial is called at the speed
of C, with no frame of its own; this one neither binds nor pickles otherwise than by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Self

__all__ = ["ClassMethod", "StandIn", "replace", "replace_reader"]


class StandIn(functools.partial[Any]):
    """Calls `hook` with the arguments it gets; is named, copied and pickled as `module.name`."""

    def __new__(cls, module: str, name: str, hook: Callable[..., Any]) -> Self:
        return super().__new__(cls, hook)

    def __init__(self, module: str, name: str, hook: Callable[..., Any]) -> None:
        self.__module__ = module
        self.__name__ = self.__qualname__ = name
        self.__signature__: inspect.Signature

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        return self

    def __reduce__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return f"<hooked function {self.__name__}>"


class ClassMethod:
    """Stands where a class method of a builtin type stood: `hook(cls, ...)`.

    A `classmethod` would bind a Python function, which picklers copy, as above.
    """

    def __init__(self, owner: type, name: str, hook: Callable[..., Any]) -> None:
        self._name, self._hook = name, hook
        original = getattr(owner, name)
        self.__doc__, self._signature = original.__doc__, _signature_of(original)
        self._owner, self._of_owner = owner, self._bind(owner)

    def __get__(self, instance: object, owner: type) -> StandIn:
        return self._of_owner if owner is self._owner else self._bind(owner)

    def _bind(self, owner: type) -> StandIn:
        bound = BoundStandIn(self._name, owner, self._hook)
        bound.__doc__ = self.__doc__
        if self._signature is not None:
            bound.__signature__ = self._signature
        return bound


class BoundStandIn(StandIn):
    """One class method of one class. Pickled as `cls.name`."""

    def __new__(cls, name: str, owner: type, hook: Callable[..., Any]) -> Self:
        return functools.partial.__new__(cls, hook, owner)

    def __init__(self, name: str, owner: type, hook: Callable[..., Any]) -> None:
        super().__init__(owner.__module__, name, hook)
        self.__qualname__, self.__self__ = f"{owner.__qualname__}.{name}", owner

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, str]]:  # type: ignore[override]
        return getattr, (self.__self__, self.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundStandIn) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[type, str]:
        return self.__self__, self.__name__


def _signature_of(original: Any) -> inspect.Signature | None:
    """Return the signature of a builtin. None: it tells none, as many do before Python 3.13."""
    try:
        return inspect.signature(original)
    except ValueError:
        return None


def replace(module: ModuleType, name: str, hook: Callable[..., Any]) -> None:
    """Put `hook`, which takes the same arguments, where the builtin `module.name` is."""
    original = getattr(module, name)
    stand_in = StandIn(module.__name__, name, hook)
    stand_in.__doc__ = original.__doc__
    signature = _signature_of(original)
    if signature is not None:
        stand_in.__signature__ = signature
    setattr(module, name, stand_in)


def replace_reader(module: ModuleType, name: str, hook: Callable[[Mapping[str, Any]], Any]) -> None:
    """Put `hook(globals of the caller)` where the builtin `module.name`, without arguments, is.

    For clocks, which are read most. `sys._getframe` would tell the same, but it raises an audit
    event, and while anybody listens to those that costs 180 ns whatever the listener does: as much
    as all the rest. So no Python frame may stand between the caller and `globals()`. An iterator
    in C calls it, another one hands the result on; neither keeps any state.

    Called by a thread of C that runs no Python at all, `globals()` fails: SystemError.
    """
    replace(module, name, map(hook, iter(globals, None)).__next__)
