"""Plays cases with real kernels: jupyter_client, a recorder that syncs each message, SIGKILL.

A case is a generated notebook, sent cell by cell. The process is killed some milliseconds after a
cell was sent, while it restores, or by the witness at a request. The next process has the same
DURABLE_RUN; it replays, finishes the interrupted cell under its old request, and the rest of the
notebook is sent. What the recorder has of an attempt must be the beginning of the final outputs.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from durable_kernel.runtime import inbox_of, queue_resolution
from durable_kernel.store import Store
from tests.crash.attempt import Attempt
from tests.crash.cases import Kill
from tests.crash.judge import Journal, Judge, Shown, read_journal
from tests.crash.notebooks import EFFECTS, Notebook, make_notebook
from tests.crash.person import Person
from tests.crash.play import Result
from tests.crash.real_kernel import KernelDiedError, KernelHungError, RealKernel
from tests.crash.witness import Order, Witness

__all__ = ["REAL_POINTS", "RealCase", "make_real_case", "play_real"]

REAL_POINTS = ("any time", "restoring", "egress", "answer")
LIVES_MAX = 14
RUN_ID = "real"
_NOTICE = "durable: "  # the kernel's own words, which are no output of the cell
_STAGES = {"egress": ("sent", "acted"), "answer": ("half", "answered")}


@dataclass(frozen=True, slots=True)
class RealCase:
    """A notebook and one kill for each of its lives."""

    name: str
    notebook: Notebook
    kills: tuple[Kill, ...]
    seed: str


def make_real_case(seed: int, number: int, origin: str) -> RealCase:
    """Make the case "real/NUMBER": three kills, of all points in turn."""
    name = f"real/{number}"
    draw = random.Random(f"{seed}/{name}")
    effect = EFFECTS[number % len(EFFECTS)]
    notebook = make_notebook(draw, f"real-{number}", origin, effect)
    kills = []
    for index in range(3):
        point = REAL_POINTS[(number + index) % len(REAL_POINTS)]
        if point in _STAGES:
            kills.append(Kill(point, draw.choice(_STAGES[point]), "", draw.randint(1, 4)))
        elif point == "restoring" and index:
            kills.append(Kill(point, "timer", effect, draw.randint(400, 1_400)))
        else:
            kills.append(Kill("any time", "timer", effect, draw.randint(1, 80)))
    return RealCase(name, notebook, tuple(kills), f"{seed}/{name}")


def play_real(
    case: RealCase, witness: Witness, folder: Path, follow: Callable[[str], None]
) -> Result:
    """Play a case in a folder of its own, which stays if something was found."""
    folder.mkdir(parents=True)
    kernel = RealKernel(folder, RUN_ID)
    try:
        result = _Play(case, witness, kernel, follow).play()
    finally:
        kernel.close()
    if not result.violations:
        shutil.rmtree(folder)
    return result


class _Play:
    def __init__(
        self, case: RealCase, witness: Witness, kernel: RealKernel, follow: Callable[[str], None]
    ) -> None:
        self._case = case
        self._witness = witness
        self._kernel = kernel
        self._follow = follow
        self._store = Store(kernel.home)
        self._draw = random.Random(f"{case.seed}/play")
        self._person = Person(witness, self._draw)
        self._judge = Judge(len(case.notebook.cells))
        self._journal = Journal()
        self._result = Result()
        self._asked: dict[int, str] = {}  # requests by position

    def play(self) -> Result:
        self._witness.forget()
        left = list(self._case.kills)
        is_done = False
        while not is_done and not self._judge.violations and self._result.attempts < LIVES_MAX:
            attempt = self._live(left[0] if left else None)
            is_done = attempt.ended == "done"
            if attempt.ended == "killed" and left:
                self._result.kills.append(self._at(left.pop(0)))
        self._result.missed = left
        if not self._judge.violations:
            self._restart_once_more()
            for shown in self._recorded():
                self._judge.see(shown)
            self._judge.conclude(self._witness.arrivals())
        self._result.violations = self._judge.violations
        return self._result

    # --- one life ---------------------------------------------------------------------------------

    def _live(self, kill: Kill | None) -> Attempt:
        """Start a process and go on with the notebook until it is done, killed, or stops."""
        number, attempt = self._result.attempts, Attempt()
        is_late = self._draw.random() < 0.5
        if not is_late:
            self._decide_all()
        order = Order()
        self._witness.begin_attempt(number, order)  # it may ask before its parent goes on
        pid = self._kernel.spawn()
        if kill is not None and kill.moment != "timer":
            order = Order(pid, kill.moment, kill.effect, kill.nth)
        self._witness.begin_attempt(number, order)
        if kill is not None and kill.point == "restoring":
            self._kernel.kill_in(kill.nth / 1000)
        try:
            self._go_on(attempt, kill)
            attempt.ended = attempt.ended or "done"
            self._kernel.kill()  # nothing is lost by that, and nothing counted
        except KernelDiedError as death:
            attempt.ended = "killed" if kill is not None and "-9" in str(death) else str(death)
        except KernelHungError:
            attempt.ended = "hung"
            self._kernel.kill()
        self._result.attempts += 1
        self._witness.drain()
        self._journal = read_journal(self._store, RUN_ID, self._witness.origin)
        arrivals = [each for each in self._witness.arrivals() if each.attempt == number]
        self._judge.hear(attempt, self._journal, arrivals)
        self._follow(
            f"life {number}: planned {kill}; ended {attempt.ended} {attempt.stopped_by}; "
            f"{len(arrivals)} requests, committed {len(self._journal.committed)}"
        )
        return attempt

    def _go_on(self, attempt: Attempt, kill: Kill | None) -> None:
        """Wait for the interrupted cell, then send the others. Raises what the kernel raises."""
        kernel, cells = self._kernel, self._case.notebook.cells
        kernel.wait_until_ready()
        self._decide_all()  # the call may wait for it by now
        begun = len(self._journal.committed)
        if begun in self._journal.texts and begun in self._asked:  # it is open, and resumed
            reply = kernel.wait_for_resumed(self._asked[begun])
            if reply is not None and not self._hear_reply(attempt, begun, reply):
                return
            begun += 1
        deadly = self._draw.randrange(begun, len(cells)) if begun < len(cells) else -1
        for position in range(begun, len(cells)):
            self._asked[position] = kernel.ask(cells[position].source)
            if position == deadly and kill is not None and kill.point == "any time":
                kernel.kill_in(kill.nth / 1000)
            reply = kernel.wait_for_reply(self._asked[position])
            if not self._hear_reply(attempt, position, reply):
                return

    def _hear_reply(self, attempt: Attempt, position: int, reply: dict[str, Any]) -> bool:
        """Note a reply. False when it says that the run stopped, which ends this life."""
        if reply.get("ename") in ("RunSuspendedError", "DivergenceError", "TaintedPositionError"):
            reason = f"{reply['ename']}: {reply['evalue']}"
            attempt.ended = "stopped"
            attempt.events.append({"what": "end", "stopped_by": reason, "notices": []})
            return False
        attempt.events.append(
            {"what": "shown", "position": position, "kind": "reply", "text": reply["status"]}
        )
        return True

    def _at(self, kill: Kill) -> Kill:
        """Fill in the effect at which the witness killed."""
        if kill.effect:
            return kill
        kind = self._witness.arrivals()[-1].kind
        return replace(kill, effect=kind if kind in EFFECTS else "get")

    def _decide_all(self) -> None:
        """Decide what is in doubt. A second decision of the same life has the same name."""
        for effect, announced in self._journal.doubtful.items():
            asked = self._person.decide(effect, announced)
            if asked is not None:
                inbox = inbox_of(self._store, self._store.get(RUN_ID))
                queue_resolution(inbox, f"{effect} in life {self._result.attempts}", asked)
                self._follow(f"  the person decides about {effect}: {asked.choice}")

    # --- at the end -------------------------------------------------------------------------------

    def _restart_once_more(self) -> None:
        """Replay all of it in a last process: no request leaves, and the state is the same."""
        before = len(self._witness.arrivals())
        digests = []
        for _ in range(2):
            self._kernel.spawn()
            try:
                self._kernel.wait_until_ready()
                reply = self._kernel.wait_for_reply(self._kernel.ask("digest()[:0]; print(end='')"))
                digests.append(self._digest())
            except (KernelDiedError, KernelHungError) as error:
                self._judge.find("lost", f"a replay of all ended: {error!r}")
                return
            if reply["status"] != "ok":
                self._judge.find("lost", f"a replay of all was refused: {reply}")
            self._kernel.kill()
        if digests[0] != digests[1]:
            self._judge.find("changed", f"the state after a replay: {digests}")
        for arrival in self._witness.arrivals()[before:]:
            self._judge.find("repeated", f"{arrival.label} in a replay")

    def _digest(self) -> str:
        """What the namespace holds of everything that was seen."""
        reply = self._kernel.wait_for_reply(self._kernel.ask("raise SystemError(digest())"))
        if reply.get("ename") != "SystemError":
            self._judge.find("lost", f"a replay of all was refused: {reply}")
        return str(reply.get("evalue"))

    def _recorded(self) -> list[Shown]:
        """What the recorder has: for each position its attempts, each ended by a clear_output."""
        positions = {asked: position for position, asked in self._asked.items()}
        attempts: list[Shown] = [{}]
        latest: dict[int, int] = {}
        for message in self._kernel.messages():
            position = positions.get(message["parent"])
            if position is None:
                continue
            if message["kind"] == "clear_output":
                latest[position] = latest.get(position, 0) + 1
                if latest[position] == len(attempts):
                    attempts.append({})
            stream, text = _text_of(message)
            if text:
                texts = attempts[latest.get(position, 0)].setdefault(position, {})
                texts[stream] = texts.get(stream, "") + text
        return attempts


def _text_of(message: dict[str, Any]) -> tuple[str, str]:
    """The stream of an output and its text; nothing for other messages."""
    content = message["content"]
    if message["kind"] == "stream" and not content["text"].startswith(_NOTICE):
        return content["name"], content["text"]
    if message["kind"] == "error":
        return "error", f"{content['ename']}: {content['evalue']}"
    return "", ""
