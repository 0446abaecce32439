"""Crash points: named moments at which a run's process can die, without a line in the product.

A *reach* is called at each moment with its name; it returns, or the process is no more. Two
vantage points see them all:

* `CrashDisk`, handed to `open_run`, sees every change of the disk. While a run is being opened
  each operation is a moment, "opening". Later a write of frames is named by what it is for:

      P.before   nothing is written             P.torn     a share of its bytes is
      P.written  all are, not synced            P.synced   they survive the machine

  where P is commit, announce, settle, resolve, withdraw, output, cell, part, observe, note: the
  first of these that a frame of the write stands for; rotate, for a new segment's header; blob, for
  a piece of one, and "blob.named" once it has its name.
* `watch_port` sees calls and draws being answered from the journal: "replay" after each, "switch"
  after the one that consumed the last hard record.

`die` is a real SIGKILL of the own process. It raises no audit event, as `os.kill` would: the
detector must not journal the campaign's own act.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from durable_kernel.history import (
    Announced,
    Branched,
    Called,
    Cell,
    Committed,
    Crossed,
    Finished,
    Head,
    Noted,
    Observed,
    Opened,
    Output,
    Part,
    Resolved,
    Resumed,
    Settled,
    Shutdown,
    Turned,
    Withdrawn,
)
from durable_kernel.journal import TYPE_MAX, RealDisk
from durable_kernel.journal.format import FRAME_HEADER, FRAME_HEADER_BYTES, MAGIC
from durable_kernel.journal.segments import BLOBS_NAME
from durable_kernel.runtime import Run

__all__ = ["CrashDisk", "Reach", "die", "watch_port"]

Reach = Callable[[str, Callable[[], None]], None]
"""Called with a moment's name and what has to be done first if the process is to die there."""

_PURPOSES = (
    ("commit", Committed),
    ("announce", Announced),
    ("settle", Settled),
    ("settle", Called),
    ("resolve", Resolved),
    ("withdraw", Withdrawn),
    ("output", Output),
    ("cell", Cell),
    ("cell", Resumed),
    ("part", Part),
    ("part", Head),
    ("observe", Observed),
    ("turn", Turned),
    ("note", Noted),
    ("note", Crossed),
    ("note", Opened),
    ("note", Branched),
    ("note", Shutdown),
    ("note", Finished),
)
_SEGMENT_SUFFIX = ".dkj"


def die() -> NoReturn:
    """Kill this process as the kernel of the operating system does: nothing is unwound."""
    signal.raise_signal(signal.SIGKILL)
    raise AssertionError("SIGKILL came back")


def nothing() -> None:
    """Do nothing before dying."""


class CrashDisk:
    """The real disk; `reach` is told of each operation. Starts as opening: see `is_opening`.

    `torn_share` of its bytes, from 0 to 1, is what a torn write leaves behind.
    """

    def __init__(self, reach: Reach, torn_share: float = 0.5) -> None:
        self.is_opening = True
        self._torn_share = torn_share
        self._reach = reach
        self._real = RealDisk()
        self._segments: set[int] = set()  # descriptors
        self._blobs: set[int] = set()
        self._purpose = ""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self._at_opening()
        fd = self._real.open(path, flags, mode)
        # The first bytes of a new segment go to a temporary name; frames come after its rename.
        if _SEGMENT_SUFFIX in path.name:
            self._segments.add(fd)
        if BLOBS_NAME in path.parts:
            self._blobs.add(fd)
        return fd

    def write(self, fd: int, content: bytes, /) -> int:
        return self._write(fd, content, partial(self._real.write, fd))

    def write_at(self, fd: int, content: bytes, place: int, /) -> int:
        return self._write(fd, content, lambda piece: self._real.write_at(fd, piece, place))

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        self._at_opening()
        self._real.allocate(fd, place, size_bytes)

    def _write(self, fd: int, content: bytes, write: Callable[[bytes], int]) -> int:
        def tear() -> None:
            write(content[: int(len(content) * self._torn_share)])

        if self.is_opening:
            self._reach("opening", nothing)
            self._reach("opening", tear)
            return write(content)
        purpose = _purpose(content) if fd in self._segments else ""
        self._purpose = purpose or self._purpose
        if fd in self._blobs:
            purpose = "blob"
        if purpose:
            self._reach(f"{purpose}.before", nothing)
            self._reach(f"{purpose}.torn", tear)
        written = write(content)
        if purpose:
            self._reach(f"{purpose}.written", nothing)
        return written

    def sync(self, fd: int) -> None:
        self._at_opening()
        self._real.sync(fd)
        if not self.is_opening and fd in self._segments:
            self._reach(f"{self._purpose}.synced", nothing)

    def truncate(self, fd: int, size_bytes: int, /) -> None:
        self._at_opening()
        self._real.truncate(fd, size_bytes)

    def close(self, fd: int, /) -> None:
        self._segments.discard(fd)
        self._blobs.discard(fd)
        self._real.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._at_opening()
        self._real.rename(old, new)
        if BLOBS_NAME in new.parts:
            self._reach("blob.named", nothing)

    def link(self, old: Path, new: Path) -> None:
        self._at_opening()
        self._real.link(old, new)

    def unlink(self, path: Path) -> None:
        self._at_opening()
        self._real.unlink(path)

    def remove_folder(self, path: Path) -> None:
        self._at_opening()
        self._real.remove_folder(path)

    def make_folder(self, path: Path) -> None:
        self._at_opening()
        self._real.make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self._at_opening()
        self._real.sync_folder(path)

    def _at_opening(self) -> None:
        if self.is_opening:
            self._reach("opening", nothing)


def _purpose(content: bytes) -> str:
    """Name what a write to a segment is for."""
    if content.startswith(MAGIC):
        return "rotate"
    types = set(_frame_types(content))
    return next((name for name, record in _PURPOSES if record.CODE in types), "")


def _frame_types(content: bytes) -> Iterator[int]:
    at = 0
    while at + FRAME_HEADER_BYTES <= len(content):
        length, _, _, _, _, stored, _ = FRAME_HEADER.unpack_from(content, at)
        yield stored & TYPE_MAX
        at += FRAME_HEADER_BYTES + length


def watch_port(run: Run, reach: Reach) -> None:
    """Tell `reach` of each call and draw that the journal answers."""
    port: Any = run.port
    begin, begin_async, draw = port.begin, port.begin_async, port.draw

    def tell_of_replay() -> None:
        reach("replay", nothing)
        if port.is_live:
            reach("switch", nothing)

    def watched_begin(*args: Any) -> Any:
        was_live = port.is_live
        step = begin(*args)
        if not was_live:
            tell_of_replay()
        return step

    async def watched_begin_async(*args: Any) -> Any:
        was_live = port.is_live
        step = await begin_async(*args)
        if not was_live:
            tell_of_replay()
        return step

    def watched_draw(*args: Any) -> Any:
        was_live = port.is_live
        value = draw(*args)
        if not was_live:
            tell_of_replay()
        return value

    port.begin, port.begin_async, port.draw = watched_begin, watched_begin_async, watched_draw
