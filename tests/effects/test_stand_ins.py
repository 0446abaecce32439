"""What stands where a builtin stood behaves like one."""

from __future__ import annotations

import copy
import datetime
import inspect
import os
import pickle
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from durable_kernel.effects.stand_ins import replace_reader
from tests.effects.sessions import in_module

pytestmark = pytest.mark.usefixtures("hooked")


def hooks() -> list[Any]:
    return [time.time, time.monotonic_ns, time.localtime, os.urandom, time.sleep]


def test_a_hook_stored_on_a_class_is_no_method() -> None:
    """`class Retry: sleep = time.sleep` is everyday code."""

    class Holder:
        clock: Any = time.time
        sleep: Any = time.sleep
        draw: Any = os.urandom

    held = Holder()

    assert held.clock() > 0
    assert held.sleep(0) is None
    assert len(held.draw(3)) == 3


def test_a_hook_is_named_as_what_it_replaces() -> None:
    names = [(hook.__module__, hook.__name__, bool(hook.__doc__)) for hook in hooks()]

    assert names == [
        ("time", "time", True),
        ("time", "monotonic_ns", True),
        ("time", "localtime", True),
        ("os", "urandom", True),
        ("time", "sleep", True),
    ]
    assert repr(time.time) == "<hooked function time>"


def test_a_hook_has_the_signature_of_what_it_replaces() -> None:
    """Completion and validating decorators look at it."""

    class Own(datetime.datetime): ...

    assert str(inspect.signature(os.urandom)) == "(size, /)"
    assert str(inspect.signature(datetime.datetime.now)) == "(tz=None)"
    assert str(inspect.signature(Own.now)) == "(tz=None)"


def test_a_hook_is_copied_as_a_reference() -> None:
    for hook in hooks():
        assert copy.copy(hook) == copy.deepcopy(hook) == hook


def test_a_function_that_holds_a_hook_pickles_for_a_process_without_hooks() -> None:
    """A worker, or a checkpoint that is read by something else."""
    clock, sleep = time.time, time.sleep
    held = in_module("__main__", "def f(): return clock(), sleep(0)", clock=clock, sleep=sleep)

    packed = [cloudpickle.dumps(held), *(pickle.dumps(hook) for hook in hooks())]
    shown = subprocess.run(
        [sys.executable, "-c", f"import pickle\nfor p in {packed!r}: print(pickle.loads(p))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert shown.count("<built-in function") == len(hooks())


def reader_of(hook: Any) -> Any:
    module = ModuleType("a_module")
    module.clock = time.time  # type: ignore[attr-defined]
    replace_reader(module, "clock", hook)
    return module.clock


def test_a_reader_learns_the_globals_of_its_caller() -> None:
    seen: list[Any] = []

    def read(caller: Any) -> int:
        seen.append(caller["__name__"])
        return 5

    reader = reader_of(read)

    found = [in_module(name, "def f(): return clock()", clock=reader)() for name in ("a", "b.c")]
    mapped = in_module("d", "def f(): return [*map(lambda _: clock(), [1])]", clock=reader)()

    assert (found, mapped) == ([5, 5], [5])
    assert seen == ["a", "b.c", "d"]


def test_an_exception_in_a_reader_does_not_wear_it_out() -> None:
    answers: list[Any] = [ValueError("once"), StopIteration("twice"), 7]

    def answer(_caller: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    reader = reader_of(answer)

    with pytest.raises(ValueError, match="once"):
        reader()
    with pytest.raises(StopIteration):
        reader()
    assert reader() == 7
