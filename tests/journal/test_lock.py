"""One writer: the lock, across processes, forks and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from durable_kernel.errors import RunLockedError
from durable_kernel.journal import RunLock, is_locked
from tests.journal.written import create, reopen

HOLD = """
import sys
from pathlib import Path
from durable_kernel.journal import RunLock
lock = RunLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def end(holder: subprocess.Popen[bytes]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.close()
    holder.stdout.close()
    holder.wait()


def test_a_second_process_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    holder = hold_elsewhere(tmp_path)

    with pytest.raises(RunLockedError) as caught:
        RunLock.acquire(tmp_path)

    assert f"pid {holder.pid}," in caught.value.holder
    assert f"pid {holder.pid}," in (is_locked(tmp_path) or "")
    end(holder)


def test_kill_9_releases_the_lock(tmp_path: Path) -> None:
    holder = hold_elsewhere(tmp_path)
    holder.send_signal(signal.SIGKILL)
    end(holder)

    assert is_locked(tmp_path) is None
    RunLock.acquire(tmp_path).release()


def test_a_writer_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with create(tmp_path / "run"), pytest.raises(RunLockedError):
        reopen(tmp_path / "run")


def test_a_waiting_opener_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    lock = RunLock.acquire(tmp_path)
    waiting: list[RunLock] = []
    opener = threading.Thread(
        target=lambda: waiting.append(RunLock.acquire(tmp_path, timeout_s=30))
    )
    opener.start()

    lock.release()
    opener.join()

    assert waiting[0].is_held
    waiting[0].release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = RunLock.acquire(tmp_path)
    until_told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        os.read(until_told, 1)  # lives on until the parent has looked
        os._exit(0)

    lock.release()
    second = RunLock.acquire(tmp_path)

    assert second.is_held
    second.release()
    os.close(tell)
    os.close(until_told)
    os.waitpid(pid, 0)


def test_a_forked_child_that_ends_does_not_release_the_parents_lock(tmp_path: Path) -> None:
    lock = RunLock.acquire(tmp_path)
    pid = os.fork()
    if pid == 0:
        lock.release()
        os._exit(0)
    os.waitpid(pid, 0)

    assert is_locked(tmp_path) is not None
    lock.release()


def test_the_lock_of_a_killed_parent_is_free_though_its_forked_child_lives(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from durable_kernel.journal import RunLock
lock = RunLock.acquire(Path({str(tmp_path)!r}))
if os.fork() == 0:
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"child\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert is_locked(tmp_path) is None
    end(parent)


def test_a_subprocess_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = RunLock.acquire(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"

    lock.forget_in_child()  # as at the death of this process: no explicit unlock

    assert is_locked(tmp_path) is None
    end(child)


def test_the_lock_file_is_never_deleted(tmp_path: Path) -> None:
    with create(tmp_path / "run"):
        inode = (tmp_path / "run" / "LOCK").stat().st_ino
    with reopen(tmp_path / "run"):
        assert (tmp_path / "run" / "LOCK").stat().st_ino == inode

    assert (tmp_path / "run" / "LOCK").exists()


def test_nobody_holds_the_lock_of_a_folder_without_one(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_looking_at_the_lock_does_not_refuse_an_opener(tmp_path: Path) -> None:
    """`is_locked` takes a shared lock for an instant; an opener waits that instant out."""
    RunLock.acquire(tmp_path).release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_locked(tmp_path)

    onlooker = threading.Thread(target=look)
    onlooker.start()
    for _ in range(50):
        RunLock.acquire(tmp_path).release()
    stop.set()
    onlooker.join()
