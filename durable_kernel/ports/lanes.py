"""Lanes: the lines of control of a cell, and how code finds its own.

A hook finds the lane of the running line of control in `CURRENT_LANE`; None means that the caller
is not a cell, or that an effect is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from durable_kernel.ports.words import Port

__all__ = [
    "CURRENT_LANE",
    "INSIDE_EFFECT",
    "REPEATABLE",
    "Lane",
    "Source",
    "blocked",
    "entered",
    "machinery",
    "suspended",
    "waiting",
]

Source = Callable[[Callable[[], Any]], Any]
"""Recorded values of one soft kind: called with the real reader, for when they are used up."""


class _Sources(dict[str, "Source | None"]):
    """Recorded sources by kind. A kind without one gets whatever `make` says (None: live)."""

    def __init__(self, make: Callable[[str], Source | None]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, kind: str) -> Source | None:
        source = self[kind] = self._make(kind)
        return source


class _Recorders(dict[str, Callable[[Any], None]]):
    """`list.append` of the pending column, by kind: one C call per observation (H5)."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, list[Any]] = {}

    def __missing__(self, kind: str) -> Callable[[Any], None]:
        column: list[Any] = []
        self.columns[kind] = column
        append = self[kind] = column.append
        return append


class Lane:
    """One line of control within a position.

    The path "" is the cell itself; a thread that it starts has "/t1", a task of that thread
    "/t1/a1". Seen from a later position than `home`, the path begins with "@" and that position.

    Hooks read `replay` and `record`; only the runtime makes lanes. `root_task` and `root_thread`
    (its ident) are whose line it is; others reach it through a copied context. `sleeps` counts the
    sleeps asked for, so that an interrupted one is found again, `spawned` the lanes started,
    `locks` the locks made. `stands_at_s`: the time by which it reckons time-outs while it replays,
    and `ahead_s` by how much it is ahead of the clock since.

    It is at rest while `outside` (the real call of an effect runs), `is_blocked` (it waits for the
    world in a call that nobody journals), `is_waiting` (another lane has to wake it), `is_at_gate`
    (it waits for its turn), or when it `has_ended`. Only its own line of control sets these, but
    for the one that wakes it. `on_rest` is called when it comes to rest; None while it is alone.
    """

    __slots__ = (
        "__weakref__",
        "ahead_s",
        "at_work",
        "branch",
        "has_ended",
        "home",
        "is_at_gate",
        "is_blocked",
        "is_waiting",
        "locks",
        "loop",
        "on_rest",
        "outside",
        "path",
        "port",
        "record",
        "replay",
        "root_task",
        "root_thread",
        "sleeps",
        "spawned",
        "stands_at_s",
    )

    def __init__(self, path: str, port: Port, make_source: Callable[[str], Source | None]) -> None:
        self.path = path
        self.port = port
        self.replay: Mapping[str, Source | None] = _Sources(make_source)
        self.record: Mapping[str, Callable[[Any], None]] = _Recorders()
        self.root_task: object | None = None
        self.root_thread: int | None = None
        self.loop: object | None = None
        self.home = 0
        self.branch = path
        self.spawned = 0
        self.sleeps = 0
        self.locks = 0
        self.ahead_s = 0.0
        self.stands_at_s: float | None = None
        self.outside = 0
        self.at_work = 0
        self.is_waiting = False
        self.is_blocked = False
        self.is_at_gate = False
        self.has_ended = False
        self.on_rest: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Lane {self.path or 'main'} {'live' if self.port.is_live else 'replaying'}>"

    def make_live(self, kind: str) -> None:
        """From now on `kind` is read from the world."""
        self.replay[kind] = None  # type: ignore[index]  # hooks see a read-only mapping

    def move_to(self, position: int) -> None:
        """Go on in another position: recorded sources are found anew."""
        self.path = self.branch if position == self.home else f"@{self.home}{self.branch}"
        self.replay.clear()  # type: ignore[attr-defined]  # hooks see a read-only mapping

    @property
    def has_pending(self) -> bool:
        """Tell whether anything waits in a column."""
        columns: dict[str, list[Any]] = self.record.columns  # type: ignore[attr-defined]
        return any(columns.values())

    def take_few(self, most: int) -> dict[str, list[Any]] | None:
        """Remove and return what waits, by kind. None where a column has more than `most` values.

        Safe as `take_pending` is.
        """
        columns: dict[str, list[Any]] = self.record.columns  # type: ignore[attr-defined]
        found = {}
        for kind in columns.copy():
            if values := columns[kind][:]:
                if len(values) > most:
                    return None
                found[kind] = values
        for kind, values in found.items():
            del columns[kind][: len(values)]
        return found

    def take_pending(self) -> Iterator[tuple[str, list[Any]]]:
        """Remove and yield what waits in each column.

        Safe against a concurrent append: only a prefix is cut.
        """
        columns: dict[str, list[Any]] = self.record.columns  # type: ignore[attr-defined]
        for kind, column in list(columns.items()):
            count = len(column)
            if count:
                values = column[:count]
                del column[:count]
                yield kind, values


CURRENT_LANE: ContextVar[Lane | None] = ContextVar("durable_lane", default=None)
"""The lane of the running line of control.

Set around a cell, None while an effect runs and everywhere else.
"""

INSIDE_EFFECT: ContextVar[bool] = ContextVar("durable_inside_effect", default=False)
"""True while a journaled effect makes its real call: what the detector sees then is known."""


REPEATABLE: ContextVar[bool] = ContextVar("durable_repeatable", default=False)
"""True inside `durable.idempotent()`: the user's word that an act may be made again."""


class suspended:  # noqa: N801 - used as a statement, like contextlib's
    """Take the lane away while the real call of an effect runs, so that nothing is journaled twice.

    A coroutine that is dropped ends wherever its memory is freed: another context stays as it is.
    """

    __slots__ = ("_inside", "_lane", "_token")
    _is_work: ClassVar[bool] = False  # no method that is overridden: each effect would pay for it

    def __enter__(self) -> Self:
        self._lane = lane = CURRENT_LANE.get()
        if lane is not None:
            if self._is_work:
                lane.at_work += 1
            else:
                lane.outside += 1
                if lane.on_rest is not None:
                    lane.on_rest()
        self._token = CURRENT_LANE.set(None)
        self._inside = INSIDE_EFFECT.set(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lane is not None:
            if self._is_work:
                self._lane.at_work -= 1
            else:
                self._lane.outside -= 1
        try:
            CURRENT_LANE.reset(self._token)
        except ValueError:  # made in another context
            return
        INSIDE_EFFECT.reset(self._inside)


class machinery(suspended):  # noqa: N801 - used as a statement, too
    """Take the lane away for work that waits for nobody: other lanes may not go on meanwhile."""

    __slots__ = ()
    _is_work: ClassVar[bool] = True


class entered:  # noqa: N801 - the counterpart of `suspended`
    """Give the lane to user code: around a cell, and around callbacks inside an effect (H28)."""

    __slots__ = ("_inside", "_lane", "_outside", "_previous")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __enter__(self) -> Lane:
        self._previous = CURRENT_LANE.get()
        self._inside = INSIDE_EFFECT.get()
        self._outside, self._lane.outside = self._lane.outside, 0
        CURRENT_LANE.set(self._lane)
        INSIDE_EFFECT.set(False)
        return self._lane

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.outside = self._outside
        if self._outside and self._lane.on_rest is not None:
            self._lane.on_rest()
        CURRENT_LANE.set(self._previous)
        INSIDE_EFFECT.set(self._inside)


class waiting:  # noqa: N801 - used as a statement, too
    """Mark a lane as waiting for another one to wake it. Who wakes it may take the mark away."""

    __slots__ = ("_lane",)

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __enter__(self) -> Lane:
        self._lane.is_waiting = True
        if self._lane.on_rest is not None:
            self._lane.on_rest()
        return self._lane

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.is_waiting = False


class blocked:  # noqa: N801 - used as a statement, too
    """Mark a lane as waiting for the world in a call that nobody journals."""

    __slots__ = ("_lane", "_was_blocked")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __enter__(self) -> Lane:
        lane = self._lane
        self._was_blocked, lane.is_blocked = lane.is_blocked, True
        if lane.on_rest is not None:
            lane.on_rest()
        return lane

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.is_blocked = self._was_blocked
