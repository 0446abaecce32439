"""What is done with a cut call: repeat it in time, raise where code names it, else ask."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

import durable_kernel
from durable_kernel.history import Announced, CallHistory
from durable_kernel.ports import Act
from durable_kernel.replay import (
    Doubt,
    InDoubtPolicy,
    decide_doubt,
    may_repeat,
    names_interruption,
)
from tests.history.folding import act, look

S = 1_000_000_000
ASK, RAISE, STOP = InDoubtPolicy.ASK, InDoubtPolicy.RAISE, InDoubtPolicy.STOP


def post(**facts: Any) -> Announced:
    return act(**{"wall_ns": 1_000 * S, **facts})


# --- may it be repeated? --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("announced", "age_s", "expected"),
    [
        pytest.param(look(), 10**9, True, id="safe, always"),
        pytest.param(look(repeat_s=0.0), 5, True, id="an observation has no time"),
        pytest.param(post(repeat_s=0.0), 1, False, id="an act, never"),
        pytest.param(post(repeat_s=None), 10**9, True, id="declared idempotent, always"),
        pytest.param(post(repeat_s=300.0), 0, True, id="PUT at once"),
        pytest.param(post(repeat_s=300.0), 300, True, id="PUT at 5 min"),
        pytest.param(post(repeat_s=300.0), 301, False, id="PUT after 5 min"),
        pytest.param(post(repeat_s=86_400.0), 86_399, True, id="key within 24 h"),
        pytest.param(post(repeat_s=86_400.0), 86_401, False, id="key after 24 h"),
        pytest.param(post(repeat_s=300.0), -1, False, id="the clock ran back: age unknown"),
    ],
)
def test_a_call_is_repeated_within_its_time(
    announced: Announced, age_s: int, *, expected: bool
) -> None:
    """H21."""
    assert may_repeat(announced, announced.wall_ns + age_s * S) is expected


@pytest.mark.parametrize("kind", [Act.REMOTE, Act.PROCESS, Act.COMMIT, Act.FILE])
def test_every_class_of_act_needs_a_reason_to_be_repeated(kind: Act) -> None:
    announced = post(act=int(kind))

    assert not may_repeat(announced, announced.wall_ns)


# --- what happens to it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code_names_it", "expected"),
    [
        (ASK, False, Doubt.PARK),
        (ASK, True, Doubt.RAISE),
        (STOP, False, Doubt.STOP),
        (STOP, True, Doubt.RAISE),
        (RAISE, False, Doubt.RAISE),
        (RAISE, True, Doubt.RAISE),
    ],
)
def test_an_act_in_doubt_follows_code_and_policy(
    policy: InDoubtPolicy, *, code_names_it: bool, expected: Doubt
) -> None:
    """H4."""
    call = CallHistory(post())

    assert decide_doubt(call, 1_001 * S, policy, code_names_it=code_names_it) is expected


@pytest.mark.parametrize(
    ("policy", "can_ask", "expected"),
    [
        (None, True, Doubt.PARK),
        (None, False, Doubt.FAIL),
        (ASK, False, Doubt.PARK),
        (STOP, False, Doubt.STOP),
        (RAISE, False, Doubt.RAISE),
    ],
)
def test_where_nobody_can_be_asked_the_cell_fails_unless_the_user_said_otherwise(
    policy: InDoubtPolicy | None, *, can_ask: bool, expected: Doubt
) -> None:
    call = CallHistory(post())

    doubt = decide_doubt(call, 1_001 * S, policy, code_names_it=False, can_ask=can_ask)

    assert doubt is expected


def test_code_that_names_the_interruption_is_told_where_nobody_can_be_asked() -> None:
    """H4."""
    call = CallHistory(post())

    doubt = decide_doubt(call, 1_001 * S, None, code_names_it=True, can_ask=False)

    assert doubt is Doubt.RAISE


@pytest.mark.parametrize("policy", [*InDoubtPolicy, None])
@pytest.mark.parametrize("code_names_it", [False, True])
def test_what_may_be_repeated_is_never_asked_about(
    policy: InDoubtPolicy | None, *, code_names_it: bool
) -> None:
    """Rule 5: safe calls are repeated, so are idempotent ones within their time."""
    for announced in (look(), post(repeat_s=None), post(repeat_s=300.0)):
        doubt = decide_doubt(CallHistory(announced), 1_100 * S, policy, code_names_it=code_names_it)

        assert doubt is Doubt.REPEAT


# --- does the code name it? -----------------------------------------------------------------------


def is_named(source: str, module: str = "__main__") -> bool:
    """Execute user code that calls `ask()`, alone on a thread's stack; return what that found."""
    said: list[bool] = []

    def ask() -> None:
        said.append(names_interruption(sys._getframe(1), "durable_kernel"))

    names = {"__name__": module, "ask": ask, "durable": durable_kernel}
    thread = threading.Thread(target=exec, args=(source, names))
    thread.start()
    thread.join()
    (result,) = said
    return result


CATCHES_IT = """\
try:
    ask()
except durable.RequestInterrupted:
    pass"""
CATCHES_IT_BY_NAME = """\
from durable_kernel import RequestInterrupted
try:
    ask()
except RequestInterrupted:
    pass"""
A_CALLER_CATCHES_IT = f"""\
def inner():
    ask()
def outer():
    {CATCHES_IT.replace("ask()", "inner()").replace(chr(10), chr(10) + "    ")}
outer()"""
CATCHES_A_LOCAL_IMPORT = f"""\
def load():
    {CATCHES_IT_BY_NAME.replace(chr(10), chr(10) + "    ")}
load()"""
CATCHES_WHAT_ENCLOSES_IT = """\
def make():
    from durable_kernel import RequestInterrupted
    def load():
        try:
            ask()
        except RequestInterrupted:
            pass
    return load
make()()"""
IMPORTS_FOR_AN_INNER_FUNCTION = """\
def make():
    from durable_kernel import RequestInterrupted
    def later():
        raise RequestInterrupted
    try:
        ask()
    except BaseException:
        later()
make()"""
A_COROUTINE_CATCHES_IT = """\
import asyncio
async def load():
    ask()
async def main():
    try:
        await load()
    except durable.RequestInterrupted:
        pass
asyncio.run(main())"""


@pytest.mark.parametrize(
    "source",
    [
        CATCHES_IT,
        CATCHES_IT_BY_NAME,
        A_CALLER_CATCHES_IT,
        CATCHES_A_LOCAL_IMPORT,
        CATCHES_WHAT_ENCLOSES_IT,
        IMPORTS_FOR_AN_INNER_FUNCTION,
        A_COROUTINE_CATCHES_IT,
    ],
)
def test_code_on_the_stack_that_names_it_is_found(source: str) -> None:
    """H4: wherever the name comes from, and whichever caller catches it."""
    assert is_named(source)


@pytest.mark.parametrize(
    "source",
    [
        "ask()",
        "try:\n    ask()\nexcept BaseException:\n    raise",
        "def unused():\n    durable.RequestInterrupted\nask()",
        "'RequestInterrupted'\nask()  # RequestInterrupted",
    ],
)
def test_code_that_does_not_name_it_is_not_found(source: str) -> None:
    """H4: `finally` and `except BaseException` must not run for a doubt that nobody foresaw."""
    assert not is_named(source)


def test_our_own_frames_never_name_it() -> None:
    assert not is_named(CATCHES_IT, module="durable_kernel.runtime.port")
    assert is_named(CATCHES_IT, module="durable_kernel_of_somebody_else")


def test_an_empty_stack_names_nothing() -> None:
    assert not names_interruption(None, "durable_kernel")
