"""Branches: what was done behind them, and when that is a reason to ask (H14, H21)."""

from __future__ import annotations

import time

import pytest

from durable_kernel.errors import BranchRefusedError
from durable_kernel.ports import Repeat
from tests.runtime.notebooks import Notebook, Service


def test_an_act_that_may_be_done_again_is_no_reason_to_refuse_a_branch(
    notebook: Notebook, service: Service
) -> None:
    """H14: acts that cannot be undone and are not repeatable ask; this one is declared harmless."""
    notebook.names["REPEAT"] = Repeat(float("inf"), "declared idempotent")
    notebook.matched("x = 1", "service.ask('harmless', repeat=REPEAT)")

    session = notebook.matched("x = 2", "service.ask('harmless', repeat=REPEAT)")

    assert session.status == "ok"
    assert service.requests == ["harmless"]


def test_an_act_that_may_be_done_again_for_a_while_is_one_afterwards(
    notebook: Notebook, service: Service
) -> None:
    """H21: a PUT is repeated within five minutes; later others may have written there."""
    notebook.names["REPEAT"] = Repeat(300, "PUT is idempotent")
    notebook.matched("x = 1", "service.ask('put', repeat=REPEAT)")
    late_ns = time.time_ns() + 400 * 10**9

    with pytest.raises(BranchRefusedError, match="ask put"):
        notebook.matched("x = 2", "service.ask('put', repeat=REPEAT)", wall_ns=lambda: late_ns)

    assert service.requests == ["put"]
