"""A side in a process of its own, which takes its turn when it is asked.

For sides that can't share a process: hooks and other engines stay where they were installed. The
process is started once; a turn is one line to its input and one line of JSON back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

__all__ = ["Aside", "Turns"]


class Aside:
    """The caller's end."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.turn(0)  # returns once it is ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def turn(self, count: int) -> dict[str, Any]:
        """Let it do `count` of whatever it does. Blocks until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{count}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._log.read_text(errors="replace")) from None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._log.read_text(errors="replace"))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


class Turns:
    """The process's end: iterate over counts, answer each. What else is printed goes to the log."""

    def __init__(self) -> None:
        self._answers = os.dup(1)
        os.dup2(2, 1)

    def __iter__(self) -> Iterator[int]:
        while line := sys.stdin.buffer.readline():
            yield int(line)

    def answer(self, **found: Any) -> None:
        """End a turn."""
        os.write(self._answers, json.dumps(found).encode() + b"\n")
