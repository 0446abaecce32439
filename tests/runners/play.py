"""Plays one job: the same call again and again until it is done, killed as ordered on the way.

Before, the same notebook is executed once by nobody who dies. Between two calls a person looks at
the witness and decides what is in doubt: before the next call, or only when that says so.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from durable_kernel.journal import is_locked
from durable_kernel.replay import may_repeat
from durable_kernel.runtime import (
    AskedResolution,
    inbox_of,
    queue_resolution,
    queued_resolutions,
)
from durable_kernel.store import RunPlace, Store
from tests.crash.judge import Journal, read_journal
from tests.crash.witness import Order as WitnessOrder, Witness
from tests.runners.cases import Case
from tests.runners.jobs import FastCall, Job, RealCall, kill
from tests.runners.judge import Finding, Shown, differences, miscounted, shown_in
from tests.runners.orders import Order

__all__ = ["Play", "Result"]

CALLS_MAX = 10
WAIT_S = 240.0
"""For a call, and for the end of a kernel without a runner; no busy machine makes one longer."""
POLL_S = 0.005
LATER_S_MAX = 0.08
KILLED = -9
IN_DOUBT = 3
FAILED = {1, 138}
"""A program that ends with a DeadKernelError has 1; papermill's command line gives it 138."""

_ACT = re.compile(r"/post/([\w-]+)'")


@dataclass
class Result:
    """What a job came to. `missed` orders never had their moment."""

    carried_out: list[Order] = field(default_factory=list)
    missed: list[Order] = field(default_factory=list)
    calls: int = 0
    doubts: int = 0
    findings: list[Finding] = field(default_factory=list)


class Play:
    """One job in a folder of its own. `follow` is told of each call, in a line for people."""

    def __init__(
        self,
        case: Case,
        witness: Witness,
        folder: Path,
        call: type[FastCall | RealCall],
        nursery: str,
        follow: Callable[[str], None],
    ) -> None:
        self._case = case
        self._witness = witness
        self._folder = folder
        self._call = call
        self._nursery = nursery
        self._follow = follow
        self._job = Job(case, folder / "job")
        self._store = Store(self._job.home)
        self._draw = random.Random(f"{case.name}/play")
        self._asked = 0
        self._result = Result()

    def play(self) -> Result:
        """Play it to its end; a job without findings leaves no files."""
        unkilled = self._unkilled()
        result = self._result
        self._witness.forget()
        left = list(self._case.orders)
        status: int | None = None
        while not result.findings and result.calls < CALLS_MAX:
            if status is not None and self._is_finished() and not self._case.is_named:
                break  # an unnamed run that is finished is not what the same call means
            order = left[0] if left else None
            doubts: list[tuple[str, AskedResolution]] = []
            if self._draw.random() < 0.5:  # else the next call comes at once
                self._wait_for_orphan()
                doubts = [] if result.findings else self._doubts()
            if doubts and self._draw.random() < 0.5:
                self._decide(doubts)
                doubts = []
            status, was_carried_out = self._go(order)
            self._judge_status(status, order if was_carried_out else None, is_doubtful=bool(doubts))
            if was_carried_out:
                result.carried_out.append(left.pop(0))
            elif status == 0:
                break
            if status > 0 and (doubts := self._doubts()) and self._has_told(None):
                self._decide(doubts)
        result.missed = left
        if not result.findings:
            self._judge_end(unkilled)
        if not result.findings:
            shutil.rmtree(self._folder)
        return result

    def _unkilled(self) -> list[Shown]:
        """Execute the same notebook elsewhere, whom nobody kills."""
        self._witness.forget()
        job = Job(replace(self._case, orders=()), self._folder / "unkilled")
        call = self._call(job, self._nursery, {})
        status = _wait(call, lambda: None)
        if status != 0:
            self._find("status", f"an unkilled call ended with {status}: {job.log()[-2000:]}")
            return []
        return shown_in(job.output)

    # --- one call ---------------------------------------------------------------------------------

    def _go(self, order: Order | None) -> tuple[int, bool]:
        """Make the call. Returns its exit status, and whether the order was carried out."""
        self._witness.begin_attempt(self._result.calls, WitnessOrder())
        ordered: Mapping[str, str] = {}
        if order is not None and not order.is_the_parents:
            ordered = order.environment(self._folder)
        began = time.monotonic()
        call = self._call(self._job, self._nursery, ordered)
        due = _Due(self._witness, self._draw, order) if order and order.is_the_parents else None
        status = _wait(call, lambda: due.kill(call) if due is not None else None)
        self._result.calls += 1
        was_carried_out = due is not None and due.was_carried_out
        if ordered:
            was_carried_out = (self._folder / "order").stat().st_size > 0
        self._follow(
            f"call {self._result.calls}: {order} carried out: {was_carried_out}; status {status}, "
            f"{time.monotonic() - began:.1f} s"
        )
        return status, was_carried_out

    def _judge_status(self, status: int, order: Order | None, *, is_doubtful: bool) -> None:
        allowed: set[int] = {0}
        has_orphan = order is not None and order.who != "kernel"  # which may still write the run
        doubts = is_doubtful or (not has_orphan and bool(self._doubts()))
        if order is not None and has_orphan:
            allowed = {KILLED} if not order.is_the_parents else {KILLED, 0}
        elif self._case.runner == "durable":
            allowed = {IN_DOUBT} if doubts else {0}
        elif order is not None:
            allowed = FAILED if not order.is_the_parents else {*FAILED, 0}
        elif doubts:
            allowed = set(FAILED)
        if status not in allowed:
            log = self._job.log()[-3000:]
            self._find("status", f"{status}, not {sorted(allowed)}, after {order}\n{log}")
        elif status in (IN_DOUBT, *FAILED) and doubts and not self._has_told(order):
            self._find("status", f"a doubt was not told\n{self._job.log()[-2000:]}")

    def _has_told(self, order: Order | None) -> bool:
        """Tell whether a call said how to decide.

        Where `order` killed the kernel, plain nbclient says only that: the next call tells.
        """
        is_silent = order is not None and self._case.runner == "nbclient"
        return is_silent or "durable resolve" in self._job.log()

    # --- the run ----------------------------------------------------------------------------------

    def _place(self) -> RunPlace | None:
        places = [each for each in self._store.all() if each.meta.archived_ns is None]
        return places[0] if places else None

    def _is_finished(self) -> bool:
        from durable_kernel.headless.choosing import outline_of

        place = self._place()
        return place is not None and outline_of(self._store, place).status == "finished"

    def _journal(self) -> Journal:
        place = self._place()
        if place is None:
            return Journal()
        return read_journal(self._store, place.run_id, self._witness.origin)

    def _doubts(self) -> list[tuple[str, AskedResolution]]:
        """List what a person has to decide, with the decision."""
        now_ns = time.time_ns()
        found = []
        place = self._place()
        if place is None or not any(place.folder.glob("seg-*.dkj")):
            return []
        decided = {each.effect for each in queued_resolutions(self._store, place)}
        for effect, act in self._journal().doubtful.items():
            if effect in decided or may_repeat(act, now_ns):
                continue
            text = act.label if act.kind != "step" else self._source_of(effect)
            match = _ACT.search(f"{text}'")
            assert match is not None, text
            self._witness.drain()  # what a dead kernel sent may still be on its way
            answer = self._witness.answer_of(match[1])
            if answer is None:
                found.append((effect, AskedResolution(effect, "retry", None)))
                continue
            given = answer if act.kind == "step" else {"status": 200, "json": answer}
            found.append((effect, AskedResolution(effect, "answer", json.dumps(given).encode())))
        return found

    def _wait_for_orphan(self) -> None:
        """Wait until no kernel writes the run: one whose runner was killed lives on for a bit."""
        place, ends_at = self._place(), time.monotonic() + WAIT_S
        while place is not None and (writer := is_locked(place.folder)) is not None:
            if time.monotonic() > ends_at:
                self._find("status", f"kernel {writer} lives on without its runner")
                return
            time.sleep(POLL_S)

    def _source_of(self, effect: str) -> str:
        from durable_kernel.headless.choosing import outline_of

        place = self._place()
        assert place is not None, "there is a doubt"
        positions = outline_of(self._store, place).positions
        return positions[int(effect.partition(".")[0])].cell.source

    def _decide(self, doubts: list[tuple[str, AskedResolution]]) -> None:
        place = self._place()
        assert place is not None, "there is a doubt"
        for effect, asked in doubts:
            self._asked += 1
            self._result.doubts += 1
            queue_resolution(inbox_of(self._store, place), f"{effect} {self._asked}", asked)
            self._follow(f"  the person decides about {effect}: {asked.choice}")

    # --- the end ----------------------------------------------------------------------------------

    def _judge_end(self, unkilled: list[Shown]) -> None:
        self._witness.drain()
        self._result.findings += miscounted(self._case, self._witness.arrivals())
        self._result.findings += differences(
            self._job.output, unkilled, self._journal(), self._store
        )
        if self._case.runner != "nbclient" and not self._is_finished():
            self._find("status", "the run is not finished")
        litter = [each.name for each in self._job.folder.glob(".*.tmp")]
        if litter:
            self._find("litter", f"{litter}")
        if self._case.runner == "durable" and "Traceback" in self._job.log():
            self._find("status", self._job.log()[-3000:])

    def _find(self, kind: str, what: str) -> None:
        self._result.findings.append(Finding(kind, what))


class _Due:
    """An order that the parent carries out."""

    def __init__(self, witness: Witness, draw: random.Random, order: Order) -> None:
        self.was_carried_out = False
        self._witness = witness
        self._order = order
        self._began = time.monotonic()
        self._arrived = len(witness.arrivals())
        self._later_s = draw.random() * LATER_S_MAX
        self._at: float | None = None
        if order.moment == "timer":
            self._at = self._began + order.nth / 1000

    def kill(self, call: FastCall | RealCall) -> None:
        """Kill if it is time and those who are to die are there."""
        if self.was_carried_out:
            return
        now, order = time.monotonic(), self._order
        if self._at is None:
            if len(self._witness.arrivals()) - self._arrived >= order.nth:
                self._at = now + self._later_s
            return
        kernels = call.kernels() if order.who != "runner" else []
        if now < self._at or (order.who != "runner" and not kernels):
            return
        self.was_carried_out = True
        if order.who != "kernel":
            kill(call.pid)
        for each in kernels:
            kill(each)


def _wait(call: FastCall | RealCall, meanwhile: Callable[[], None]) -> int:
    """Wait for the end of a call; one that takes too long is killed, and -1."""
    deadline = time.monotonic() + WAIT_S
    while (status := call.poll()) is None:
        meanwhile()
        if time.monotonic() > deadline:
            kill(call.pid)
            return -1
        time.sleep(POLL_S)
    return status
