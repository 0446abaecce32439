"""A recorded exception is raised again with its real type."""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import pytest

from durable_kernel.effects.exceptions import ReplayedError, rebuild_error, recorded_error, value_of
from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import Ending, ErrorFacts, Outcome, describe_error


class LoudError(ValueError):
    """Says more than its arguments."""

    def __init__(self, code: int, *, retry: bool) -> None:
        super().__init__(code)
        self.code, self.retry = code, retry

    def __str__(self) -> str:
        return f"code {self.code}, retry {self.retry}"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1, 2.5, None, b"x"),
        KeyError("a"),
        ConnectionRefusedError(111, "Connection refused"),
        FileNotFoundError(2, "No such file or directory"),
        TimeoutError(),
        OSError("only a text"),
        socket.gaierror(-2, "Name or service not known"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        StopIteration(5),
        KeyboardInterrupt(),
        SystemExit(3),
        asyncio.CancelledError("msg"),
        RequestInterrupted("GET /", "cell 3", "noon"),
    ],
)
def test_an_exception_comes_back_as_itself(error: BaseException) -> None:
    rebuilt = rebuild_error(describe_error(error))

    assert type(rebuilt) is type(error)
    assert (rebuilt.args, str(rebuilt)) == (error.args, str(error))


@pytest.mark.parametrize("error", [LoudError(5, retry=True), json.JSONDecodeError("bad", "{", 1)])
def test_a_class_with_a_constructor_of_its_own_is_still_caught_by_name(error: Exception) -> None:
    rebuilt = rebuild_error(describe_error(error))

    assert isinstance(rebuilt, type(error))
    assert type(rebuilt).__name__ == type(error).__name__
    assert str(rebuilt) == str(error)


@pytest.mark.parametrize(
    "type_path", ["not_loaded.anywhere:GoneError", "json:dumps", "builtins:dict", "", "json:", ":"]
)
def test_what_is_no_loaded_exception_becomes_a_replayed_error(type_path: str) -> None:
    """Nothing is imported, called or made for a name that stands in a journal."""
    rebuilt = rebuild_error(ErrorFacts(type_path, "it said this", ("x",)))

    assert isinstance(rebuilt, ReplayedError)
    assert str(rebuilt) == "it said this"
    assert "not_loaded" not in sys.modules


def test_a_replayed_error_is_named_like_the_original() -> None:
    rebuilt = rebuild_error(ErrorFacts("gone.lib:Client.GoneError", "x"))

    assert type(rebuilt).__qualname__ == "Client.GoneError"
    assert type(rebuilt).__module__ == "gone.lib"


def test_an_exception_group_at_least_says_what_it_said() -> None:
    error = ExceptionGroup("several", [ValueError("one")])

    assert str(rebuild_error(describe_error(error))) == str(error)


def test_an_act_marked_as_failed_raises_the_librarys_own_loss() -> None:
    with pytest.raises(ConnectionResetError, match="gone"):
        value_of(Outcome(Ending.FAILED), lambda: ConnectionResetError("gone"))


def test_a_recorded_value_is_the_value() -> None:
    assert value_of(Outcome.of_value([1]), AssertionError) == [1]


def test_an_interrupted_request_stays_a_stop() -> None:
    assert isinstance(recorded_error(Outcome(Ending.INTERRUPTED), ValueError), RequestInterrupted)
