"""Shelves: values that outlive a process under a name, as those of %store do.

Other notebooks write to the same shelf, so what is read from it is an observation, and what is put
there is an act. Putting a value there twice leaves what putting it once does: an act in doubt is
carried out again. Knows no kernel: the shelf is an argument, opened when it is first needed.

Keys whose first part is not in `journaled` are the library's own (bookmarks, caches): they pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from durable_kernel.effects.exceptions import value_of
from durable_kernel.ports import CURRENT_LANE, REPEAT_ALWAYS, Act, Call, Outcome, Repeat, suspended

__all__ = ["RecordedShelf"]

_KIND = "shelf"
_REPEAT_WRITE = Repeat(REPEAT_ALWAYS.seconds_max, "the same value under the same name")
_MISSING = object()


class RecordedShelf:
    """Stands for a shelf that `open_shelf` opens. Raises KeyError as that one does."""

    def __init__(self, open_shelf: Callable[[], Any], journaled: Collection[str]) -> None:
        self._open = open_shelf
        self._journaled = journaled
        self._opened: Any = None

    def _shelf(self) -> Any:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shelf(), name)

    def __getitem__(self, key: str) -> Any:
        return self._do("read", key, Act.OBSERVATION, lambda: self._shelf()[key])

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: str, value: Any) -> None:
        self._do("write", key, Act.FILE, lambda: self._shelf().__setitem__(key, value))

    def __delitem__(self, key: str) -> None:
        self._do("delete", key, Act.FILE, lambda: self._shelf().__delitem__(key))

    def __contains__(self, key: str) -> bool:
        return self.get(key, _MISSING) is not _MISSING

    def keys(self, pattern: str | None = None) -> list[str]:
        """Return the names on the shelf, of those that match."""
        names = self._do(
            "list", pattern or "", Act.OBSERVATION, lambda: self._shelf().keys(pattern)
        )
        return list(names)

    def _do(self, verb: str, key: str, act: Act, do: Callable[[], Any]) -> Any:
        lane = CURRENT_LANE.get()
        if lane is None or str(key).partition("/")[0] not in self._journaled:
            return do()
        repeat = REPEAT_ALWAYS if act is Act.OBSERVATION else _REPEAT_WRITE
        label = f"{verb} {key} (%store)"
        step = lane.port.begin(
            lane, Call(_KIND, label, {"verb": verb, "key": str(key)}, act=act, repeat=repeat)
        )
        if step.outcome is not None:
            return value_of(step.outcome, lambda: KeyError(key))
        try:
            with suspended():
                value = do()
        except BaseException as error:
            step.settle(Outcome.of_error(error))
            raise
        step.settle(Outcome.of_value(value))
        return value
