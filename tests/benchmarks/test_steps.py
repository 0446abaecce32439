"""Row 5: which budget of a live step holds depends on the disk (ADR 0012)."""

from __future__ import annotations

from benchmarks.figures import Figure, Rounds
from benchmarks.steps import compare


def figures_of(*, bare: float, durable: float, **others: float) -> dict[str, Figure]:
    live, replay = Rounds("µs"), Rounds("µs")
    names = {name.replace("_", ", "): us for name, us in others.items()}
    for _ in range(3):
        live.add(**{"bare sync": bare, "durable": durable, **names})
        replay.add(durable=1.0, **dict.fromkeys(names, 300.0))
    return {each.what: each for each in compare(live, replay, 1.0)}


BARE = "step, live: durable / bare sync"
DBOS = "step, live: DBOS / durable"
WAL = "step, live: DBOS, WAL / durable"


def test_a_disk_that_leaves_no_room_for_ten_times_judges_by_the_bare_sync() -> None:
    found = figures_of(bare=280.0, durable=300.0, DBOS=2250.0, DBOS_WAL=1360.0)

    assert (found[BARE].verdict, found[DBOS].verdict, found[WAL].verdict) == ("pass", "", "")
    assert found[DBOS].value == 7.5
    assert found[DBOS].note == "a step of one bare sync would have 8.0 ×"


def test_a_step_that_costs_more_than_its_sync_allows_is_a_miss() -> None:
    found = figures_of(bare=280.0, durable=320.0, DBOS=2250.0, DBOS_WAL=1360.0)

    assert found[BARE].verdict == "miss"


def test_a_disk_with_room_for_ten_times_judges_by_ten_times() -> None:
    found = figures_of(bare=50.0, durable=100.0, DBOS=2700.0, DBOS_WAL=900.0)

    assert (found[BARE].verdict, found[DBOS].verdict, found[WAL].verdict) == ("", "pass", "miss")
    assert found[BARE].value == 2.0


def test_each_journal_mode_has_the_room_of_its_own() -> None:
    found = figures_of(bare=200.0, durable=215.0, DBOS=2500.0, DBOS_WAL=1500.0)

    assert (found[BARE].verdict, found[DBOS].verdict, found[WAL].verdict) == ("pass", "pass", "")


def test_without_dbos_the_bare_sync_judges() -> None:
    assert figures_of(bare=280.0, durable=300.0)[BARE].verdict == "pass"


def test_what_is_judged_by_the_disk_is_never_easier_than_ten_times_with_room() -> None:
    """At the border both budgets ask for the same."""
    for durable, verdict in ((219.9, "pass"), (220.1, "miss")):
        at_border = figures_of(bare=200.0, durable=durable, DBOS=2200.001)
        below = figures_of(bare=200.0, durable=durable, DBOS=2199.999)

        assert at_border[DBOS].verdict == below[BARE].verdict == verdict


def test_replay_is_always_judged_against_dbos() -> None:
    found = figures_of(bare=280.0, durable=300.0, DBOS=2250.0)

    assert found["step, replay: DBOS / durable"].verdict == "pass"
