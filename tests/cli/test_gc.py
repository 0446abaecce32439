"""`durable gc`: it only tells, unless it is told to delete."""

from __future__ import annotations

import pytest

from durable_kernel.cli.gc import parse_age, parse_size
from durable_kernel.errors import UsageError
from durable_kernel.store import Store
from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook


def test_an_empty_store_has_nothing_to_delete(durable: Durable) -> None:
    said = durable("gc")

    assert (said.code, said.out) == (0, "There is nothing to delete.\n")
    assert durable("gc", "--json").document == {
        "is_deleted": False,
        "size_bytes": 0,
        "freed": [],
        "kept": [],
    }


def test_it_says_what_would_go_and_why_and_deletes_nothing(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived("x = service.look('rates')")

    said = durable("gc", RUN_ID)

    assert said.code == 0
    assert "the run (idle)" in said.out
    assert "you named it" in said.out
    assert "Nothing was deleted: --delete does it." in said.out
    assert Store(notebook.home).exists(RUN_ID)


def test_with_delete_it_deletes(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = service.look('rates')")

    document = durable("gc", RUN_ID, "--delete", "--json").document

    assert document["is_deleted"] is True
    assert [(each["run"], each["is_whole_run"]) for each in document["freed"]] == [(RUN_ID, True)]
    assert document["size_bytes"] > 0
    assert not notebook.folder.exists()


def test_a_run_in_doubt_is_kept_and_the_reason_is_said(
    durable: Durable, doubtful: Notebook
) -> None:
    said = durable("gc", "--older-than", "0d", "--delete")

    assert said.code == 0
    assert f"kept: run {RUN_ID}: 1 act is in doubt: decide first" in said.out
    assert durable("gc", "--older-than", "0d", "--delete", "--even-in-doubt").code == 0
    assert not doubtful.folder.exists()


def test_a_run_of_no_such_name_is_a_usage_error(durable: Durable) -> None:
    said = durable("gc", "nobody")

    assert said.code == 2
    assert "nobody" in said.err


@pytest.mark.parametrize(
    ("text", "expected"), [("30d", 2_592_000.0), ("12h", 43_200.0), ("1.5 w", 907_200.0)]
)
def test_an_age_is_a_number_and_a_unit(text: str, expected: float) -> None:
    assert parse_age(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("20GB", 20 * 10**9), ("500 m", 500 * 10**6), ("1024", 1024)]
)
def test_a_size_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "30 years"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="like 30d"):
        parse_age(text)


@pytest.mark.parametrize("text", ["", "GB", "-1", "3 pages"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="like 500MB"):
        parse_size(text)
