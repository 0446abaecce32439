"""What a step raised is raised again: its type, attributes, notes, cause; objects are told as gone.

Code that handles an error looks at it: `error.status`, `error.response`. On replay it must see the
same, or to be stopped, never to see something else.
"""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import pytest
import requests

from durable_kernel.ports import ErrorFacts, describe_error, rebuild_raised
from tests.runtime.notebooks import Notebook


class RefusedError(Exception):
    """Has a constructor of its own, as many have."""

    def __init__(self, status: int, *, detail: dict[str, Any]) -> None:
        super().__init__(f"refused with {status}")
        self.status, self.detail = status, detail
        self.token = "a secret"
        self.connection = object()


class NestedError(ValueError):
    """Says something else than its arguments."""

    def __str__(self) -> str:
        return f"{len(self.args[0])} fields are wrong"


def fails(error: BaseException) -> Any:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def replayed(notebook: Notebook) -> Any:
    """Raise an error in a step, replay, and return what the cell caught then."""

    def run(error: BaseException) -> BaseException:
        notebook.names["fail"] = fails(error)
        source = "try: durable.step(fail)()\nexcept Exception as e: caught = e"
        live = notebook.lived(source).namespace["caught"]
        assert live is error
        again = notebook.replayed()
        assert again.run.latch is None
        caught = again.namespace["caught"]
        assert isinstance(caught, BaseException)
        assert caught is not error
        return caught

    return run


def test_attributes_come_back_with_the_real_type(replayed: Any) -> None:
    error = RefusedError(429, detail={"after": decimal.Decimal("1.5"), "ids": [uuid.UUID(int=7)]})

    caught = replayed(error)

    assert type(caught) is RefusedError
    assert (caught.status, caught.detail, str(caught)) == (429, error.detail, "refused with 429")


def test_an_object_is_gone_rather_than_something_else(replayed: Any) -> None:
    """Objects and secrets: an AttributeError is loud; None would take another way."""
    caught = replayed(RefusedError(429, detail={}))

    assert not hasattr(caught, "connection")
    assert not hasattr(caught, "token")
    assert caught.__notes__ == [
        "(served from the journal; not recorded, so not there: token, connection)"
    ]


def test_the_response_of_a_requests_error_is_not_there(replayed: Any) -> None:
    response = requests.Response()
    response.status_code = 404

    caught = replayed(requests.HTTPError("404 Client Error", response=response))

    assert type(caught) is requests.HTTPError
    assert not hasattr(caught, "response")
    assert "response" in caught.__notes__[0]


def test_an_attribute_that_is_none_stays_none(replayed: Any) -> None:
    caught = replayed(requests.ConnectionError("refused"))

    assert (caught.response, caught.request) == (None, None)
    assert not hasattr(caught, "__notes__")


def test_arguments_that_are_containers_come_back(replayed: Any) -> None:
    caught = replayed(NestedError({"a": [1, 2], "b": (3,)}))

    assert type(caught) is NestedError
    assert caught.args == ({"a": [1, 2], "b": (3,)},)
    assert str(caught) == "2 fields are wrong"


def test_notes_come_back(replayed: Any) -> None:
    error = ValueError("no")
    error.add_note("while reading page 3")

    assert replayed(error).__notes__ == ["while reading page 3"]


def test_cause_and_context_come_back(replayed: Any) -> None:
    error, cause, below = ValueError("no"), RefusedError(500, detail={}), KeyError("k")
    error.__cause__, cause.__context__ = cause, below

    caught = replayed(error)

    assert type(caught.__cause__) is RefusedError
    assert caught.__cause__.status == 500
    assert caught.__suppress_context__ is True
    assert repr(caught.__cause__.__context__) == "KeyError('k')"


def test_errors_that_lead_to_each_other_end_somewhere(replayed: Any) -> None:
    error, other = ValueError("no"), KeyError("k")
    error.__context__, other.__context__ = other, error

    assert repr(replayed(error).__context__) == "KeyError('k')"


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 100_000,
        list(range(100_000)),
        [[[[[[[[[[1]]]]]]]]]],
        {"a": object()},
        {"headers": {"Authorization": "Bearer x"}},
    ],
    ids=["long", "many", "deep", "an object inside", "a secret inside"],
)
def test_what_is_too_much_or_secret_is_left_out(replayed: Any, value: Any) -> None:
    error = ValueError("no")
    error.body = value  # type: ignore[attr-defined]
    error.kept = 1  # type: ignore[attr-defined]

    caught = replayed(error)

    assert (hasattr(caught, "body"), caught.kept) == (False, 1)


def test_a_list_that_holds_itself_is_left_out(replayed: Any) -> None:
    error, ring = ValueError("no"), list[Any]()
    ring.append(ring)
    error.ring = ring  # type: ignore[attr-defined]

    assert not hasattr(replayed(error), "ring")


def test_what_an_older_version_recorded_is_raised_as_before() -> None:
    facts = describe_error(ValueError("no"))

    error = rebuild_raised(
        ErrorFacts(facts.type_path, facts.message, facts.args, {"elapsed_us": 1})
    )

    assert repr(error) == "ValueError('no')"
