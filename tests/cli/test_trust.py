"""`durable trust`: what would run is shown before it is signed (rule 8, H1, H12)."""

from __future__ import annotations

import pytest

from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook


def test_trust_shows_what_would_be_executed_and_signs_it(
    durable: Durable, doubtful: Notebook
) -> None:
    (doubtful.home / "key").write_bytes(b"\x01" * 32)

    said = durable("trust", RUN_ID, "--yes")

    assert said.code == 0
    assert "y = service.ask('pay [now]')" in said.out
    assert "ask pay [now]" in said.out
    with doubtful.session() as session:
        assert session.run.state == "replaying"


def test_trust_that_is_not_confirmed_changes_nothing(
    durable: Durable, doubtful: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    (doubtful.home / "key").write_bytes(b"\x01" * 32)
    monkeypatch.setattr("typer.confirm", lambda *_args, **_more: False)

    said = durable("trust", RUN_ID)

    assert (said.code, "nothing was changed" in said.err) == (2, True)
    assert durable("resolve", RUN_ID, "--retry").code == 5


def test_trust_json_tells_what_would_run(durable: Durable, doubtful: Notebook) -> None:
    document = durable("trust", RUN_ID, "--yes", "--json").document

    assert document["run_id"] == RUN_ID
    assert document["cells"][1] == "y = service.ask('pay [now]')"
