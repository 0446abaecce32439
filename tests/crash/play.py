"""Plays one case: attempt after attempt until the run is done, with a death at the end of each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime import Settings, inbox_of, queue_resolution
from durable_kernel.store import Store
from tests.crash.attempt import Attempt, Nursery, Outing
from tests.crash.cases import Case, Kill
from tests.crash.judge import Journal, Judge, Violation, read_journal
from tests.crash.person import Person
from tests.crash.witness import Order, Witness

__all__ = ["Result", "Theatre"]

ATTEMPTS_MAX = 16
SERVED = "served."
_GOING_ON = ("GET /outlive/", "POST /outlive/")
SMALL_SEGMENT_BYTES = 4_096


@dataclass
class Result:
    """What a case came to. `missed` kills were planned, but their moment never came."""

    kills: list[Kill] = field(default_factory=list)
    missed: list[Kill] = field(default_factory=list)
    attempts: int = 0
    violations: list[Violation] = field(default_factory=list)


@dataclass
class Theatre:
    """Everything that all cases share."""

    nursery: Nursery
    witness: Witness
    home: Path

    def play(self, case: Case, follow: Callable[[str], None]) -> Result:
        """Play a case. `follow` is told of each attempt, in a line for people."""
        return _Play(self, case, follow).play()


class _Play:
    def __init__(self, theatre: Theatre, case: Case, follow: Callable[[str], None]) -> None:
        self._theatre = theatre
        self._case = case
        self._follow = follow
        self._draw = random.Random(f"{case.seed}/play")
        self._person = Person(theatre.witness, self._draw)
        self._run_id = case.name.replace("/", "-").replace(" ", "-")
        # One for each case: its making is among the moments at which a process dies.
        self._store = Store(theatre.home / self._run_id)
        self._judge = Judge(len(case.notebook.cells))
        self._journal = Journal()
        self._result = Result()

    def play(self) -> Result:
        """Kill as planned, then let it come to its end, then replay all of it once more."""
        witness, result = self._theatre.witness, self._result
        witness.forget()
        left = list(self._case.kills)
        for _ in range(ATTEMPTS_MAX):
            attempt = self._attempt(left[0] if left else None)
            if attempt.ended == "done" or self._judge.violations:
                break
            if attempt.ended == "killed":
                result.kills.append(left.pop(0))
        result.missed = left
        if not self._judge.violations:
            self._replay_all()
        result.violations = self._judge.violations
        if not result.violations:
            shutil.rmtree(self._store.home)
        return result

    def _replay_all(self) -> None:
        before, settled = len(self._theatre.witness.arrivals()), self._journal.settled
        attempt = self._attempt(None)
        arrivals = self._theatre.witness.arrivals()
        if attempt.ended != "done":
            reason = f"a replay of all ended as {attempt.ended}: {attempt.stopped_by}"
            self._judge.find("lost", reason)
        for arrival in arrivals[before:]:
            # What a thread was about to ask when the last attempt ended is no repetition.
            if not arrival.label.startswith(_GOING_ON) or arrival.label in settled:
                self._judge.find("repeated", f"{arrival.label} in a replay")
        self._judge.conclude(arrivals)
        self._judge.conclude_replay()

    def _attempt(self, kill: Kill | None) -> Attempt:
        witness, number = self._theatre.witness, self._result.attempts
        # A decision that is there already keeps the doubt from being raised, and withdrawn.
        is_early = self._draw.random() < 0.5 and not (kill and kill.point == "withdraw")
        if is_early:
            for effect in self._journal.doubtful:
                self._decide(effect)
        stops = self._draw.random() < 0.3
        settings = Settings(
            run=self._run_id,
            home=self._store.home,
            level=self._case.level,
            in_doubt=InDoubtPolicy.STOP if stops else InDoubtPolicy.ASK,
        )
        segment_bytes_max = SMALL_SEGMENT_BYTES if self._case.small_segments else 0
        outing = Outing(self._case.notebook.cells, settings, kill, segment_bytes_max)

        def on_start(pid: int) -> None:
            order = Order()
            if kill is not None and kill.moment.startswith(SERVED):
                order = Order(pid, kill.moment.removeprefix(SERVED), kill.effect, kill.nth)
            witness.begin_attempt(number, order)

        decided: set[str] = set()

        def on_parked(effect: str) -> None:
            if effect not in decided:
                decided.add(effect)
                self._decide(effect)

        attempt = self._theatre.nursery.send(outing, on_start, on_parked)
        self._result.attempts += 1
        witness.drain()
        self._journal = read_journal(self._store, self._run_id, witness.origin)
        arrivals = [each for each in witness.arrivals() if each.attempt == number]
        self._judge.hear(attempt, self._journal, arrivals)
        planned = f"{kill.moment} at {kill.effect}, time {kill.nth}" if kill else "nothing"
        self._follow(
            f"attempt {number} ({settings.in_doubt}, decides {'early' if is_early else 'late'}): "
            f"planned {planned}; ended {attempt.ended} {attempt.stopped_by}; "
            f"{len(arrivals)} requests, committed {len(self._journal.committed)}"
        )
        return attempt

    def _decide(self, effect: str) -> None:
        announced = self._journal.doubtful.get(effect)
        if announced is None:  # it went along with a thread into the cell that has begun
            origin = self._theatre.witness.origin
            announced = read_journal(self._store, self._run_id, origin).doubtful.get(effect)
        asked = self._person.decide(effect, announced) if announced is not None else None
        if asked is None:
            return
        place = self._store.get(self._run_id)
        name = f"{effect} at attempt {self._result.attempts}"
        queue_resolution(inbox_of(self._store, place), name, asked)
        self._follow(f"  the person decides about {effect}: {asked.choice}")
