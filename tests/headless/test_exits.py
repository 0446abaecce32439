"""Exit codes are public contract (DESIGN §18); each error of ours has one."""

from __future__ import annotations

import pytest

from durable_kernel import errors
from durable_kernel.headless import EXIT_OF_ERROR, Exit
from durable_kernel.headless.runner import _Deaths
from durable_kernel.history import Cell, Committed, Outline, PositionOutline, RecordCodec


def test_the_codes_are_those_of_the_contract() -> None:
    assert {each.name: each.value for each in Exit} == {
        "DONE": 0,
        "CELL_RAISED": 1,
        "REFUSED": 2,
        "IN_DOUBT": 3,
        "DIVERGED": 4,
        "CANNOT_CONTINUE": 5,
        "SUSPENDED": 75,
        "INTERRUPTED": 130,
    }


def test_every_named_error_exists() -> None:
    assert [name for name in EXIT_OF_ERROR if not hasattr(errors, name)] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("RequestInterrupted", 3),
        ("DivergenceError", 4),
        ("WorldClosedError", 4),
        ("BranchRefusedError", 4),
        ("JournalCorruptError", 5),
        ("UntrustedRunError", 5),
        ("RunLockedError", 5),
        ("JournalPoisonedError", 5),
        ("JournalFullError", 5),
        ("UsageError", 2),
        ("RunMovedError", 2),
    ],
)
def test_an_error_has_the_code_of_its_kind(name: str, code: int) -> None:
    assert EXIT_OF_ERROR[name] == code


def test_every_error_that_ends_a_run_has_a_code() -> None:
    """A leaf that is forgotten here would be reported as a cell that raised."""
    ends_runs = (errors.RunError, errors.JournalError, errors.Stop)
    leaves = {
        each.__name__
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, ends_runs) and not _has_children(each)
    }

    assert leaves - set(EXIT_OF_ERROR) == set()


def _has_children(kind: type) -> bool:
    children: list[type] = kind.__subclasses__()
    return any(child.__module__ == kind.__module__ for child in children)


# --- poison (H36) ---------------------------------------------------------------------------------


def _outline(done: int, calls: int) -> Outline:
    outline = Outline(RecordCodec())
    for position in range(done + 1):
        cell = Cell(position=position, source="", wall_ns=0)
        each = PositionOutline(position, cell)
        if position < done:
            each.committed = Committed(position=position, status="ok", wall_ns=0)
        outline.positions.append(each)
    outline.positions[-1].calls = calls
    return outline


def test_the_second_death_in_a_row_without_a_step_forward_is_poison() -> None:
    deaths = _Deaths()

    assert not deaths.is_poison(_outline(1, 5), now=1.0)
    assert deaths.is_poison(_outline(1, 5), now=2.0)


@pytest.mark.parametrize("second", [_outline(1, 6), _outline(2, 5)], ids=["a call", "a cell"])
def test_a_step_forward_between_two_deaths_is_no_poison(second: Outline) -> None:
    """H36: spot machines die often; cells that only compute are a step too."""
    deaths = _Deaths()
    deaths.is_poison(_outline(1, 5), now=1.0)

    assert not deaths.is_poison(second, now=2.0)
    assert deaths.is_poison(second, now=3.0)


def test_a_death_after_a_minute_of_work_is_no_poison() -> None:
    """H36: two deaths within 60 s of live time."""
    deaths = _Deaths()
    deaths.is_poison(_outline(1, 5), now=1.0)
    deaths.started_at = 2.0

    assert not deaths.is_poison(_outline(1, 5), now=62.5)
