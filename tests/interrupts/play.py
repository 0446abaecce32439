"""One case of the interrupt campaign: a process is interrupted and killed, the next one judged."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from durable_kernel.errors import RunError, Stop
from durable_kernel.ports import CURRENT_LANE, REPEAT_NEVER, Act, Call, Outcome, suspended, value_of
from durable_kernel.runtime import Settings, open_run, prepare
from durable_kernel.testing.driver import Driver
from tests.interrupts.cells import SETUP, make_cells

WAIT_S = 120.0
_RANDOM_US_MAX = 9_000


@dataclass
class Tally:
    """What became of the cases."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def digest(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Describe a value with what it shares: an object met again is a number."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, type):
        return value.__name__, [(k, v) for k, v in vars(value).items() if isinstance(v, int)]
    if id(value) in seen:
        return f"#{seen[id(value)]}"
    seen[id(value)] = len(seen)
    if isinstance(value, dict):
        return {key: digest(item, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(item, seen) for item in value]
    if isinstance(value, random.Random):
        return hash(value.getstate())
    if hasattr(value, "__closure__"):
        cells = [digest(each.cell_contents, seen) for each in value.__closure__ or ()]
        return value.__qualname__, cells, value.__defaults__
    return type(value).__name__, digest(vars(value), seen) if hasattr(value, "__dict__") else ""


def state_of(driver: Driver) -> str:
    """Describe all names of the notebook, and the next draw of the shared generator."""
    hidden = {"ask", "contextlib", "random", "signal", "time"}
    names = {
        name: value
        for name, value in sorted(driver.namespace.items())
        if name not in hidden and not name.startswith("__")
    }
    return repr((digest(names), driver.run.generators.fingerprint()))


def ask(name: str) -> str:
    """Make a request that is never repeated unasked; it takes up to some milliseconds."""
    lane = CURRENT_LANE.get()
    assert lane is not None, "only cells ask"
    call = Call("fake", f"ask {name}", {"name": name}, {}, Act.REMOTE, REPEAT_NEVER)
    step = lane.port.begin(lane, call)
    if step.outcome is not None:
        return str(value_of(step.outcome, lambda: ConnectionError("connection lost")))
    try:
        with suspended():
            select.select([], [], [], 0.002)
    except (Exception, KeyboardInterrupt) as error:
        step.settle(Outcome.of_error(error))
        raise
    step.settle(Outcome.of_value(f"{name}: done"))
    return f"{name}: done"


class Child:
    """A forked process that tells lines."""

    def __init__(self, home: Path, cells: list[str] | None) -> None:
        self._buffer = b""
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(reading)
            _live(home, cells, writing)
        os.close(writing)
        self._reading = reading

    def lines(self) -> Iterator[str]:
        """Yield what it tells, until it has ended. Raises TimeoutError if nothing comes."""
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                yield line.decode()
            if not select.select([self._reading], [], [], WAIT_S)[0]:
                raise TimeoutError
            data = os.read(self._reading, 1 << 16)
            if not data:
                return
            self._buffer += data

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._reading)


def _live(home: Path, cells: list[str] | None, writing: int) -> None:
    """Run cells, or recover what is recorded; tell the state after each. Never returns."""

    def tell(kind: str, text: str = "") -> None:
        os.write(writing, f"{kind} {text}\n".replace("\0", "").encode())

    try:
        run = open_run(Settings(run="interrupted", home=home), surroundings=prepare())
        driver = Driver(run)
        run.interrupts.hold()
        vars(run.interrupts)["rest"] = run.interrupts.hold  # never let in between two cells
        driver.namespace["ask"] = ask
        if cells is None:
            driver.recover()
            latch = run.latch
            tell(
                "state" if latch is None else "refused",
                state_of(driver) if latch is None else str(latch),
            )
        for cell in cells or ():
            tell("begin")
            is_done = driver.execute(cell)
            tell("state" if is_done else "open", state_of(driver))
    except (RunError, Stop) as error:
        tell("refused", str(error).replace("\n", " "))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear it
        tell("crash", traceback.format_exc().replace("\n", " | "))
    tell("end")
    signal.pause()
    os._exit(0)


def play(seed: int, tally: Tally) -> None:
    """Play one case: interrupt, kill, come back, compare."""
    draw = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="interrupts-"))
    try:
        last = _interrupted(Child(home, [SETUP, *make_cells(draw)]), draw, tally)
        if last is None:
            tally.findings.append(f"--seed {seed}: the first process crashed or hung")
            return
        found, text = _come_back(Child(home, None))
        if found == "state" and text != last:
            found = "another state"
            tally.findings.append(f"--seed {seed}: another state\n  {last}\n  {text}")
        elif found in {"crash", "hang"}:
            tally.findings.append(f"--seed {seed}: {found} {text}")
        elif found == "refused":
            tally.findings.append(f"--seed {seed}: refused: {text}")
        tally.counts[found] += 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _interrupted(child: Child, draw: random.Random, tally: Tally) -> str | None:
    """Send SIGINT into the cells. Returns the last state that was told; None if it crashed."""
    last, number = "", 0
    try:
        for line in child.lines():
            kind, _, text = line.partition(" ")
            if kind == "begin":
                number += 1
                for _ in range(draw.choice((0, 1, 1, 1, 2)) if number > 1 else 0):
                    time.sleep(draw.randint(0, _RANDOM_US_MAX) / 1e6)
                    os.kill(child.pid, signal.SIGINT)
                    tally.counts["interrupts"] += 1
            elif kind == "state":
                last = text
            elif kind in {"crash", "refused", "open"}:
                tally.findings.append(line[:80] + " … " + line[-900:])
                return None
            elif kind == "end":
                return last
    except TimeoutError:
        return None
    finally:
        child.end()
    return None


def _come_back(child: Child) -> tuple[str, str]:
    try:
        for line in child.lines():
            kind, _, text = line.partition(" ")
            return kind, text
    except TimeoutError:
        return "hang", ""
    finally:
        child.end()
    return "crash", "it told nothing"
