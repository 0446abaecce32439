"""Shared draws: lanes that draw from one generator at the same time do so again in that order (H9).

Each lane alone would draw the same again, but which of them had the next number is nowhere in their
code. So the order is recorded: how often each drew before another one did. The numbers themselves
are not: the generator gives the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable_kernel.history import Turned, TurnKind
from durable_kernel.ports import Lane, SharedGenerator
from durable_kernel.replay import Diverges
from durable_kernel.runtime.turnstile import FREE

if TYPE_CHECKING:
    from durable_kernel.runtime.crowd import Crowd
    from durable_kernel.runtime.pending import Pending

__all__ = ["SharedDraws"]

_WITHOUT_END = 1 << 62
T = TypeVar("T")


class SharedDraws:
    """How often each generator was drawn from in this position since it has lanes.

    Everything but `draw` is called under the port's lock.
    """

    def __init__(self, crowd: Crowd, pending: Pending) -> None:
        self._crowd = crowd
        self._pending = pending
        self._drawn: dict[str, int] = {}
        self._lent: SharedGenerator | None = None
        self._word: Turned | None = None
        """What is written of the draws of a live lane; None while it draws what is recorded."""
        pending.before_collecting = self.take_back

    def enter(self) -> None:
        """Begin a position: the count begins anew."""
        self.take_back()
        self._drawn.clear()

    def take_back(self) -> None:
        """Count what was drawn without asking; whoever draws next asks."""
        generator, self._lent = self._lent, None
        word, self._word = self._word, None
        if generator is not None:
            made = generator.take_back()
            self._count(generator.name, made)
            if word is not None:
                word.value[1] += made

    def draw(self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]) -> T:
        """Draw when it is this lane's turn. `make` takes no lock and makes no effect."""
        crowd = self._crowd
        with crowd.port.interrupts, crowd.port.lock:
            self.take_back()
            if crowd.port.latch is not None:  # code that unwinds
                return make()
            drawn = self._attempt(lane, generator, make)
        if drawn is None:
            drawn = crowd.turnstile.wait(
                lane,
                lambda: self._attempt(lane, generator, make),
                is_patient=lambda: crowd.is_live_for(lane),
            )
        return drawn.get()

    def _attempt(
        self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]
    ) -> _Drawn[T] | None:
        """Draw if this lane may. None: it is another lane's turn."""
        replay = self._crowd.port.replay
        if replay.is_live:
            return self._live(lane, generator, make)
        following = replay.next_word(lane.path)
        if following is None:
            if not replay.is_open and not lane.branch:
                raise self._divergence("nothing more in this cell", generator)
            if replay.has_more(lane.path) or not self._crowd.is_live_for(lane):
                return None
            return self._live(lane, generator, make)
        number, word = following
        if word.kind != _kind(generator):
            raise self._divergence(f"{word.kind} of lane {lane.path or 'main'}", generator)
        self.take_back()
        left = sum(word.value) - self._drawn.get(generator.name, 0)
        if not 0 < left <= word.value[1]:
            return None
        if not self._crowd.is_turn(lane, TurnKind.WORD, number, blocks=True):
            return None
        drawn = self._made(generator, make)
        if left == 1:
            self._crowd.take_turn(lane, TurnKind.WORD, number)
            replay.take_word(lane.path)
        else:
            self._lend(lane, generator, left - 1 - 1)  # with the last one it asks
        return drawn

    def _live(self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]) -> _Drawn[T]:
        self.take_back()
        first = self._drawn.get(generator.name, 0)
        drawn = self._made(generator, make)
        word = Turned(lane=lane.path, kind=_kind(generator), value=[first, 1], pace=FREE)
        self._pending.add_growing(word)
        self._lend(lane, generator, _WITHOUT_END)
        self._word = word
        return drawn

    def _lend(self, lane: Lane, generator: SharedGenerator, draws: int) -> None:
        generator.lend(lane, draws)
        self._lent = generator

    def _made(self, generator: SharedGenerator, make: Callable[[], T]) -> _Drawn[T]:
        drawn = _Drawn(make)
        self._count(generator.name, 1)
        return drawn

    def _count(self, name: str, made: int) -> None:
        self._drawn[name] = self._drawn.get(name, 0) + made
        self._crowd.turnstile.taken += made

    def _divergence(self, recorded: str, generator: SharedGenerator) -> BaseException:
        port = self._crowd.port
        return port.set_latch(port.divergence(Diverges(recorded, _kind(generator))))


class _Drawn(Generic[T]):
    """What a draw gave. One that failed counts, too: what it drew before that is drawn."""

    __slots__ = ("_error", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._error: Exception | None = None
        self._value: Any = None
        try:
            self._value = make()
        except Exception as error:  # noqa: BLE001 - raised again, once the draw is counted
            self._error = error

    def get(self) -> T:
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value


def _kind(generator: SharedGenerator) -> str:
    return f"draw {generator.name}"
