"""Lineage: whose a position is, in runs that were forked from each other."""

from __future__ import annotations

from durable_kernel.history import Branched, Finished, Forked, Lineage, Opened, Shutdown
from tests.history.folding import act, cell, committed, outline_of


def forked(
    position: int, parent: str = "a", lineage: list[list[int | str]] | None = None
) -> Forked:
    owners: list[list[int | str]] = [[0, parent]] if lineage is None else lineage
    genesis = f"{parent}{position}".encode()
    return Forked(position=position, wall_ns=0, parent=parent, genesis=genesis, lineage=owners)


def owners(lineage: Lineage, own_id: str, positions: int = 6) -> str:
    return "".join(lineage.owner_of(position, own_id) for position in range(positions))


def test_a_run_that_was_not_forked_owns_all_of_its_positions() -> None:
    lineage = Lineage()

    assert not lineage
    assert lineage.parent is None
    assert owners(lineage, "a") == "aaaaaa"
    assert lineage.owners_before(3, "a") == [[0, "a"]]
    assert lineage.seed_of(0) is None


def test_the_positions_before_the_fork_stay_those_of_the_parent() -> None:
    lineage = Lineage()

    lineage.fork(forked(3))

    assert lineage.parent == "a"
    assert owners(lineage, "b") == "aaabbb"
    assert [lineage.seed_of(each) for each in range(5)] == [None, None, None, b"a3", None]


def test_a_fork_of_a_fork_names_each_of_its_ancestors() -> None:
    child = Lineage()
    child.fork(forked(2))
    lineage = Lineage()
    lineage.fork(forked(2))

    lineage.fork(forked(4, "b", child.owners_before(4, "b")))

    assert owners(lineage, "c") == "aabbcc"
    assert lineage.owners_before(5, "c") == [[0, "a"], [2, "b"], [4, "c"]]
    assert (lineage.seed_of(2), lineage.seed_of(4)) == (b"a2", b"b4")


def test_a_fork_before_the_fork_of_its_parent_names_the_grandparent_alone() -> None:
    child = Lineage()
    child.fork(forked(4))
    lineage = Lineage()

    lineage.fork(forked(1, "b", child.owners_before(1, "b")))

    assert owners(lineage, "c") == "accccc"
    assert lineage.parent == "b"


def test_what_is_rewound_behind_the_fork_is_the_runs_own() -> None:
    lineage = Lineage()
    lineage.fork(forked(4))

    lineage.branch(2)

    assert owners(lineage, "b") == "aabbbb"
    assert lineage.seed_of(2) is None
    assert lineage.seed_of(4) == b"a4"
    assert lineage.owners_before(3, "b") == [[0, "a"], [2, "b"]]


def test_a_branch_behind_the_fork_changes_nobodys_positions() -> None:
    lineage = Lineage()
    lineage.fork(forked(2))

    lineage.branch(5)

    assert owners(lineage, "b") == "aabbbb"


def test_the_outline_drops_what_was_copied_from_the_fork_on() -> None:
    opened = Opened(wall_ns=0, pid=1, boot_id="b", host="h", genesis=b"seed")
    records = [opened, cell(), committed(), cell(1), act(), Shutdown(wall_ns=1, restart=True)]

    outline = outline_of(*records, Finished(wall_ns=2), forked(1))

    assert [each.position for each in outline.positions] == [0]
    assert outline.status == "idle"
    assert outline.genesis == b"seed"
    assert (outline.lives, outline.waiting, outline.shutdown) == ([], [], None)


def test_the_outline_tells_branches_to_the_lineage() -> None:
    branched = Branched(position=0, wall_ns=0)

    outline = outline_of(cell(), committed(), forked(1), branched, cell(), committed())

    assert owners(outline.lineage, "b") == "bbbbbb"
