"""Who asks for the wakeup fd of signals finds what is there without the kernel: none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from durable_kernel.effects import signals
from durable_kernel.testing.fake_port import FakeWitness

_NONE = -1


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Two ends of pipes to write to: the kernel's and a loop's."""
    signals.install(FakeWitness())
    pipes = os.pipe(), os.pipe()
    for _, end in pipes:
        os.set_blocking(end, False)
    found = signals._real_set(_NONE)
    yield pipes[0][1], pipes[1][1]
    signals._real_set(found)
    for each in (*pipes[0], *pipes[1]):
        os.close(each)


def test_a_loop_finds_none_and_the_kernels_is_back_afterwards(ends: tuple[int, int]) -> None:
    ours, theirs = ends
    assert signals.keep(ours)

    found = [signal.set_wakeup_fd(theirs), signal.set_wakeup_fd(_NONE)]

    assert found == [_NONE, theirs]
    assert signals._real_set(ours, warn_on_full_buffer=False) == ours
    signals.forget(ours)
    assert signals._real_set(_NONE) == _NONE


def test_the_kernels_gives_way_to_one_that_is_there(ends: tuple[int, int]) -> None:
    ours, theirs = ends
    signal.set_wakeup_fd(theirs)

    assert not signals.keep(ours)

    assert signal.set_wakeup_fd(_NONE) == theirs


def test_without_the_kernels_nothing_is_other(ends: tuple[int, int]) -> None:
    _, theirs = ends

    assert signal.set_wakeup_fd(theirs) == _NONE
    assert signal.set_wakeup_fd(_NONE) == theirs
