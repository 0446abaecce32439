"""Shared generators: draws of lanes that run at the same time ask for their turn (H9).

A draw costs nothing as long as one lane draws: the functions of `random` and of legacy
`numpy.random` are the real ones. From the moment a cell starts a thread they are stand-ins that ask
the port, in the modules and wherever project code took them by name. When the next cell begins
without other lanes, the real ones are back.

Not seen: functions that were taken elsewhere before (a default argument, a closure), and libraries
that draw from the object behind them, such as scikit-learn without a `random_state`.
"""

from __future__ import annotations

import random
import sys
from _thread import get_ident
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType, NoneType
from typing import Any

import wrapt

from durable_kernel.effects.callers import LIBRARY_ROOTS
from durable_kernel.effects.stand_ins import StandIn
from durable_kernel.effects.thread_waits import hidden, lane_in_crowd
from durable_kernel.ports import CURRENT_LANE, SharedGenerator

__all__ = ["install", "share", "unshare"]

# They call methods of what they are given, which may be anybody's code, with effects of its own.
_CALLING_USERS = frozenset(
    {"choice", "choices", "permutation", "permuted", "sample", "seed", "shuffle"}
)
_PLAIN = frozenset({list, tuple, str, bytes, range, int, float, NoneType})
_PLAIN_OF_NUMPY = frozenset({"ranf", "sample", "seed"})
"""Functions of the module, not bound to the generator, that draw from it or seed it."""


_GENERATORS = {name: SharedGenerator(name) for name in ("random", "numpy.random")}


class _Shared:
    """Whether stand-ins are in place, and which: (what was there, what is now)."""

    is_on = False
    is_hooked = False
    pairs: list[tuple[Any, StandIn]] = []  # noqa: RUF012 - it belongs to the process, as the modules


def install() -> None:
    """Prepare for a numpy that is imported while lanes share generators. Idempotent."""
    if not _Shared.is_hooked:
        _Shared.is_hooked = True
        wrapt.register_post_import_hook(_note_import, "numpy.random")


def share() -> None:
    """Put stand-ins where draws are made. Called again it does nothing."""
    if not _Shared.is_on:
        _Shared.is_on = True
        _put_stand_ins()


def _note_import(_module: ModuleType) -> None:
    if _Shared.is_on:
        _put_stand_ins()


def _put_stand_ins() -> None:
    for module, generator in _loaded():
        for name, real in list(vars(module).items()):
            if _draws_from(generator, real) or (module is not random and _is_plain(module, real)):
                stand_in = _stand_in(module, name, real)
                _Shared.pairs.append((real, stand_in))
                setattr(module, name, stand_in)
    _repoint({id(real): stand_in for real, stand_in in _Shared.pairs})


def unshare() -> None:
    """Put the real functions back."""
    if not _Shared.is_on:
        return
    _Shared.is_on = False
    pairs, _Shared.pairs = _Shared.pairs, []
    for real, stand_in in pairs:
        setattr(sys.modules[stand_in.__module__], stand_in.__name__, real)
    _repoint({id(stand_in): real for real, stand_in in pairs})


def _loaded() -> Iterator[tuple[ModuleType, Any]]:
    """Yield the modules that draw from a global generator, and that generator."""
    yield random, random._inst
    numpy_random: Any = sys.modules.get("numpy.random")
    if hasattr(numpy_random, "get_state"):  # else it is being loaded
        yield numpy_random, numpy_random.mtrand._rand


def _draws_from(generator: Any, value: Any) -> bool:
    return getattr(value, "__self__", None) is generator and callable(value)


def _is_plain(module: ModuleType, value: Any) -> bool:
    name = getattr(value, "__name__", "")
    return name in _PLAIN_OF_NUMPY and type(value) is not StandIn and callable(value)


def _stand_in(module: ModuleType, name: str, real: Any) -> StandIn:
    make = _careful if name in _CALLING_USERS else _quick
    stand_in = StandIn(module.__name__, name, make(_GENERATORS[module.__name__], real))
    stand_in.__doc__ = real.__doc__
    return stand_in


def _quick(generator: SharedGenerator, real: Callable[..., Any]) -> Callable[..., Any]:
    """Draw at once as long as nobody else asked."""
    guard, find_lane = generator.guard, CURRENT_LANE.get

    def draw(*args: Any, **options: Any) -> Any:
        with guard:
            if (
                generator.left
                and generator.holder is find_lane()
                and generator.ident == get_ident()
            ):
                generator.left -= 1
                return real(*args, **options)
        lane = lane_in_crowd()
        if lane is None:
            return real(*args, **options)
        return lane.port.draw_shared(lane, generator, partial(real, *args, **options))

    return draw


def _careful(generator: SharedGenerator, real: Callable[..., Any]) -> Callable[..., Any]:
    """Draw with the lane taken away, where users' code may run: what that does is told.

    It never waits, and whoever holds the turn can't be somebody who waits for another lane.
    """
    quick = _quick(generator, real)

    def draw(*args: Any, **options: Any) -> Any:
        if args and type(args[0]) in _PLAIN:
            return quick(*args, **options)
        lane = lane_in_crowd()
        if lane is None:
            return real(*args, **options)

        def make() -> Any:
            with hidden():
                return real(*args, **options)

        return lane.port.draw_shared(lane, generator, make)

    return draw


def _repoint(found: dict[int, Any]) -> None:
    """Replace what project code holds by name. By identity: nobody's `__eq__` is asked."""
    for module in list(sys.modules.values()):
        if not _is_project(module):
            continue
        for name, value in list(vars(module).items()):
            replacement = found.get(id(value))
            if replacement is not None:
                setattr(module, name, replacement)


def _is_project(module: Any) -> bool:
    if not isinstance(module, ModuleType):
        return False
    if module.__name__ == "__main__":
        return True
    path = getattr(module, "__file__", None)
    return bool(path) and not str(path).startswith(LIBRARY_ROOTS)
