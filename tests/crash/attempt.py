"""One attempt: a forked child opens the run, goes on with it, and dies where it was told to.

The parent has imported everything once, and installed the hooks if it is there for nothing else
(`Nursery`); a child costs milliseconds. What the child shows goes through a pipe, one JSON object a
line, so that all of it survives the child:

    {"what": "shown", "position": 3, "kind": "stdout", "text": "…"}     also kind "reply", "error"
    {"what": "parked", "effect": "3.1"}        each time it looks for a decision, in vain
    {"what": "end", "is_done": true, "stopped_by": null, "notices": []}
    {"what": "failed", "error": "…"}           an exception that nobody expected
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import httpx
import numpy as np

from durable_kernel.runtime import Run, Settings, open_run, prepare
from durable_kernel.testing.crash_points import CrashDisk, die, watch_port
from durable_kernel.testing.driver import Driver
from tests.crash.cases import Kill
from tests.crash.notebooks import Cell

__all__ = ["Attempt", "Nursery", "Outing"]

HUNG_S = 60.0
NUMPY_VERSION = np.__version__  # imported once, here: not in each child

_CELL = "<cell "


@dataclass(frozen=True, slots=True)
class Outing:
    """What a child is sent out to do. A segment that was filled to `segment_bytes_max` rotates."""

    cells: tuple[Cell, ...]
    settings: Settings
    kill: Kill | None = None
    segment_bytes_max: int = 0


@dataclass
class Attempt:
    """What became of it. `ended` is killed, done, stopped, left (exit 3), hung or failed."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""

    def of(self, what: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["what"] == what]

    @property
    def stopped_by(self) -> str:
        """Why it ended, for people; empty when it was killed or is done."""
        reasons = [each["stopped_by"] for each in self.of("end")]
        reasons += [each["error"] for each in self.of("failed")]
        return "; ".join(filter(None, reasons))


class _Answering:
    """Tells when the HTTP library has read the head of an answer, below the hooks."""

    def __init__(self) -> None:
        self.reached: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Wrap the transports of this process, before the hooks do."""
        plain, plain_async = (
            httpx.HTTPTransport.handle_request,
            httpx.AsyncHTTPTransport.handle_async_request,
        )

        def handle_request(transport: Any, request: Any) -> Any:
            response = plain(transport, request)
            self.reached()
            return response

        async def handle_async_request(transport: Any, request: Any) -> Any:
            response = await plain_async(transport, request)
            self.reached()
            return response

        setattr(httpx.HTTPTransport, "handle_request", handle_request)  # noqa: B010 - a method
        setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async_request)  # noqa: B010 - as above


class Nursery:
    """The parent of all attempts.

    `is_hooked`: the hooks are installed here and now, which is faster and for ever; else in each
    child.
    """

    def __init__(self, *, is_hooked: bool) -> None:
        self._answering = _Answering()
        self._is_hooked = is_hooked
        if is_hooked:
            self._answering.install()
            prepare()

    def send(
        self,
        outing: Outing,
        on_start: Callable[[int], None] = lambda _pid: None,
        on_parked: Callable[[str], None] = lambda _effect: None,
    ) -> Attempt:
        """Fork a child and see it through. `on_start` is told its pid before it does anything.

        `on_parked` is told each time the child looks for a decision about an effect, in vain.
        """
        told, tell = os.pipe()
        wait, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            os.close(go)
            os.read(wait, 1)
            if not self._is_hooked:
                self._answering.install()
            _live(outing, tell, self._answering)
        os.close(tell)
        os.close(wait)
        on_start(pid)
        os.write(go, b"!")
        os.close(go)
        try:
            return _watch(pid, told, outing.kill, on_parked)
        finally:
            os.close(told)


# --- the parent -----------------------------------------------------------------------------------


def _watch(pid: int, told: int, kill: Kill | None, on_parked: Callable[[str], None]) -> Attempt:
    attempt = Attempt()
    started = time.monotonic()
    timer_s = kill.nth / 1000 if kill is not None and kill.moment == "timer" else HUNG_S
    rest = b""
    while True:
        left_s = started + timer_s - time.monotonic()
        if left_s <= 0 or not select.select([told], [], [], left_s)[0]:
            if timer_s == HUNG_S:
                attempt.ended = "hung"
            os.kill(pid, signal.SIGKILL)
            timer_s = HUNG_S + 5.0
            continue
        received = os.read(told, 1 << 16)
        if not received:
            break
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            attempt.events.append(json.loads(line))
            if attempt.events[-1]["what"] == "parked":
                on_parked(attempt.events[-1]["effect"])
    _, status = os.waitpid(pid, 0)
    attempt.ended = attempt.ended or _ending(attempt, status)
    return attempt


def _ending(attempt: Attempt, status: int) -> str:
    if os.WIFSIGNALED(status):
        return "killed" if os.WTERMSIG(status) == signal.SIGKILL else "failed"
    ends = attempt.of("end")
    if ends:
        return "done" if ends[0]["is_done"] else "stopped"
    return "left" if os.waitstatus_to_exitcode(status) == 3 else "failed"


# --- the child ------------------------------------------------------------------------------------


class _Mortal:
    """The child's way to its death."""

    def __init__(self, outing: Outing) -> None:
        self._cells = outing.cells
        self._kill = outing.kill
        self._left = outing.kill.nth if outing.kill is not None else 0
        self.run: Run | None = None

    def reach(self, moment: str, before_dying: Callable[[], None]) -> None:
        """Die if this is the moment."""
        kill = self._kill
        if kill is None or moment != kill.moment:
            return
        if moment != "opening" and kill.effect and kill.effect != self._effect():
            return
        self._left -= 1
        if self._left == 0:
            before_dying()
            die()

    def pass_by(self, moment: str) -> None:
        """Die if this is the moment."""
        self.reach(moment, lambda: None)

    def _effect(self) -> str:
        """The effect of the line that runs; outside the cell's code, of its last line."""
        position = self.run.port.position if self.run is not None else -1
        if not 0 <= position < len(self._cells):
            return ""
        cell = self._cells[position]
        for frame in (sys._getframe(1), *sys._current_frames().values()):
            line = _line_of(frame, f"{_CELL}{position} of ")
            if line:
                return cell.effect_at(line)
        return cell.effects[-1]


def _line_of(frame: FrameType | None, file: str) -> int:
    """The line of the innermost frame of this file on a stack; 0 if there is none."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(file):
            return frame.f_lineno
        frame = frame.f_back
    return 0


def _live(outing: Outing, tell_fd: int, answering: _Answering) -> None:
    """Run the attempt in this process, which ends here."""

    def tell(what: str, **facts: Any) -> None:
        os.write(tell_fd, json.dumps({"what": what, **facts}).encode() + b"\n")

    status = 1
    try:
        _go_through(outing, tell, answering)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        tell("failed", error=traceback.format_exc())
    finally:
        os._exit(status)


def _go_through(outing: Outing, tell: Callable[..., None], answering: _Answering) -> None:
    mortal = _Mortal(outing)
    disk = CrashDisk(mortal.reach, outing.kill.torn_share if outing.kill is not None else 0.5)
    surroundings = prepare()
    run = open_run(outing.settings, surroundings=surroundings, disk=disk)
    disk.is_opening = False
    mortal.run = run
    answering.reached = lambda: mortal.pass_by("read")
    watch_port(run, mortal.reach)
    if outing.segment_bytes_max:
        run._journal._tail._segment_bytes_max = outing.segment_bytes_max
    look = run.world.queued_resolution

    def look_for_decision(parked: Any) -> Any:
        found = look(parked)
        if found is None:
            tell("parked", effect=parked.name)
        return found

    setattr(run.world, "queued_resolution", look_for_decision)  # noqa: B010 - a method

    def show(position: int, kind: str, text: str) -> None:
        tell("shown", position=position, kind=kind, text=text)
        mortal.pass_by("reply.after" if kind == "reply" else "shown")
        if not run.port.is_live:
            mortal.pass_by("replay")

    def probe(moment: str) -> None:
        if moment == "reply":
            mortal.pass_by("reply.before")

    driver = Driver(run, show=show, probe=probe)
    is_done = driver.run_all([cell.source for cell in outing.cells])
    stopped_by = None if run.latch is None else f"{type(run.latch).__name__}: {run.latch}"
    notices = run.take_notices()
    run.close()
    tell("end", is_done=is_done, stopped_by=stopped_by, notices=notices)
