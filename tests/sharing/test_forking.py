"""Forking: the past is shared, the future is not, and the parent does not notice."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from durable_kernel.errors import JournalError, RunSuspendedError, UntrustedRunError, UsageError
from durable_kernel.history import Outline, RecordCodec
from durable_kernel.journal.copying import mentioned_digests
from durable_kernel.ports import Repeat
from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime import Allowed, rewind_of
from durable_kernel.sharing import Fork, fork_run, free_notebook
from durable_kernel.store import Store
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.runtime.notebooks import RUN_ID, Notebook, QuickDisk, Session

CELLS = (
    "import random, uuid, durable_kernel as durable\nx = service.look('rates'); print(x)",
    "print(random.random(), uuid.uuid4(), durable.run_id())",
    "y = service.ask('pay'); print(y)",
)


class Branching(Notebook):
    """A notebook whose sessions open a run that is chosen by its id."""

    def on(self, run_id: str, *sources: str) -> Session:
        """Replay a run, then run these cells. Returns the session, closed."""
        with self.session(run=run_id) as session:
            session.recover()
            assert session.execute(*sources)
        return session


@pytest.fixture
def notebook(tmp_path: Path) -> Branching:
    return Branching(tmp_path)


def forked(notebook: Notebook, at: int | None = None, run_id: str = RUN_ID) -> Fork:
    store = Store(notebook.home, disk=QuickDisk())
    return fork_run(store, store.get(run_id), at=at)


def outline_of(notebook: Notebook, run_id: str) -> Outline:
    store = Store(notebook.home)
    return Outline.of(store.frames(store.get(run_id)), RecordCodec())


def test_a_fork_shows_the_past_as_it_was_and_asks_nothing_of_it_again(notebook: Branching) -> None:
    lived = notebook.lived(*CELLS)

    fork = forked(notebook, at=2)
    session = notebook.on(fork.run_id)

    assert notebook.service.requests == ["rates", "pay"]
    assert (fork.parent, fork.position, fork.cells) == (RUN_ID, 2, 2)
    assert session.namespace["x"] == "rates: done"
    assert "y" not in session.namespace
    assert lived.text(1).split()[2] == RUN_ID


def test_the_parent_is_the_same_byte_for_byte(notebook: Branching) -> None:
    notebook.lived(*CELLS)
    before = notebook.journal_bytes()

    fork = forked(notebook, at=1)
    notebook.on(fork.run_id, "service.look('other')")

    assert notebook.journal_bytes() == before
    assert notebook.replayed().namespace["y"] == "pay: done"


def test_what_runs_in_the_fork_is_live_and_its_own(notebook: Branching) -> None:
    notebook.lived(*CELLS)
    fork = forked(notebook, at=2)

    session = notebook.on(fork.run_id, "y = service.ask('pay'); print(durable.run_id())")

    assert notebook.service.requests == ["rates", "pay", "pay"]
    assert len(set(notebook.service.keys)) == 3
    assert session.text(2).strip() == fork.run_id
    again = notebook.on(fork.run_id)
    assert notebook.service.requests == ["rates", "pay", "pay"]
    assert again.namespace["y"] == "pay: done"


def test_forks_draw_anew_and_replay_their_own_draws(notebook: Branching) -> None:
    draw = "print(random.random(), uuid.uuid4())"
    notebook.lived(CELLS[0], draw, draw)
    first, second = forked(notebook, at=2), forked(notebook, at=2)

    shown = [notebook.on(each.run_id, draw).text(2) for each in (first, second)]
    replayed = notebook.on(first.run_id, "print(random.random())")

    parent = notebook.replayed().namespace
    assert len({*shown, parent["random"]}) == 3
    assert replayed.run.latch is None
    position = outline_of(notebook, first.run_id).positions[2]
    assert position.committed is not None
    assert position.committed.status == "ok"


def test_what_user_code_seeded_goes_on_as_in_the_parent(notebook: Branching) -> None:
    draw = "print(random.random())"
    lived = notebook.lived("import random; random.seed(7)", draw)

    session = notebook.on(forked(notebook, at=1).run_id, draw)

    assert session.text(1) == lived.text(1)


def test_a_fork_can_be_forked_and_each_keeps_its_part_of_the_past(notebook: Branching) -> None:
    say = "import durable_kernel as durable\nprint(durable.run_id())"
    notebook.lived(say)
    child = forked(notebook)
    notebook.on(child.run_id, say)

    grandchild = forked(notebook, run_id=child.run_id)
    session = notebook.on(grandchild.run_id, say)

    assert grandchild.parent == child.run_id
    assert session.text(2).strip() == grandchild.run_id
    lineage = outline_of(notebook, grandchild.run_id).lineage
    owners = [lineage.owner_of(each, grandchild.run_id) for each in range(3)]
    assert owners == [RUN_ID, child.run_id, grandchild.run_id]
    assert notebook.on(grandchild.run_id).run.latch is None


def test_a_failed_cell_of_the_parent_is_begun_anew_and_reuses_what_it_did(
    notebook: Branching,
) -> None:
    """What it drew comes again, so it asks for the same; and an act is not done a second time."""
    notebook.lived("import random")
    broken = "y = service.ask(f'pay {random.random()}'); print(x)"
    with notebook.session() as session:
        session.recover()
        session.execute(broken)
    fork = forked(notebook)

    mended = notebook.matched(
        "import random", broken.replace("print(x)", "print(y)"), run=fork.run_id
    )

    assert mended.status == "ok"
    assert len(notebook.service.requests) == 1
    again = notebook.on(fork.run_id)
    assert "pay" in again.namespace["y"]
    assert again.run.latch is None


def test_a_fork_that_is_rewound_behind_its_beginning_replays(notebook: Branching) -> None:
    draw = "z = random.random()"
    notebook.lived("import random", draw, "a = service.look('a')")
    fork = forked(notebook, at=2)
    store = Store(notebook.home)
    rewind_of(store, store.get(fork.run_id), 1, Allowed.NONE)

    first = notebook.on(fork.run_id, draw, "b = random.random()")

    assert first.namespace["z"] == notebook.replayed().namespace["z"]
    again = notebook.on(fork.run_id)
    assert again.namespace["b"] == first.namespace["b"]
    assert again.run.latch is None


def test_a_running_parent_is_forked_behind_its_last_finished_cell(notebook: Branching) -> None:
    found: list[Fork] = []
    notebook.names["fork"] = lambda: found.append(forked(notebook))

    notebook.lived(*CELLS[:2], "y = service.ask('pay'); fork()")

    (fork,) = found
    assert (fork.position, fork.cells) == (2, 2)
    assert any("cell 2 is not finished in the parent" in each for each in fork.told)
    notebook.on(fork.run_id)
    assert notebook.service.requests == ["rates", "pay"]


@pytest.mark.parametrize(("at", "found"), [(-1, "no place -1"), (4, "no place 4")])
def test_a_place_that_is_not_there_is_refused(notebook: Branching, at: int, found: str) -> None:
    notebook.lived(*CELLS)

    with pytest.raises(UsageError, match=found):
        forked(notebook, at=at)


def test_behind_a_cell_that_is_not_finished_nothing_is_shared(notebook: Branching) -> None:
    notebook.die_during("pay")
    notebook.died(*CELLS)

    with pytest.raises(UsageError, match="cell 2 is not finished"):
        forked(notebook, at=3)

    fork = forked(notebook)
    assert fork.position == 2
    assert any("what it does stays the parent's: ask pay" in each for each in fork.told)
    assert notebook.on(fork.run_id).run.outline.status == "idle"


def test_the_empty_beginning_can_be_forked(notebook: Branching) -> None:
    notebook.lived(*CELLS)

    fork = forked(notebook, at=0)
    session = notebook.on(fork.run_id, *CELLS)

    assert fork.cells == 0
    assert session.text(1).split()[2] == fork.run_id
    assert notebook.service.requests == ["rates", "pay"] * 2


def test_acts_that_the_parent_did_behind_the_fork_are_told(notebook: Branching) -> None:
    notebook.lived(*CELLS)

    (told,) = forked(notebook, at=2).told

    assert "the parent has done 1 act behind this place (ask pay)" in told


def test_an_act_under_way_at_the_fork_is_never_repeated_unasked(notebook: Branching) -> None:
    """H29: a thread outlives its cell; the parent has its answer, the fork asks for one."""
    notebook.names.update(repeat=Repeat(3600.0, "harmless"), go=threading.Event())
    notebook.service.during = lambda name: notebook.names["go"].wait(120) and name
    thread = (
        "import threading\n"
        "worker = threading.Thread(target=lambda: service.ask('slow', repeat=repeat))\n"
        "worker.start()\n"
        "while not service.requests: pass"
    )
    notebook.lived(thread, "go.set(); worker.join()")

    fork = forked(notebook, at=1)
    with notebook.session(run=fork.run_id, in_doubt=InDoubtPolicy.STOP) as session:
        session.recover()
        with suppress(RunSuspendedError):  # it may be asked for before the cell is
            session.execute("worker.join()")

    assert fork.in_doubt == ("ask slow",)
    assert notebook.service.requests == ["slow"]
    assert notebook.left == [3]


def test_large_outcomes_are_there_when_the_parent_is_not(notebook: Branching) -> None:
    notebook.service.during = lambda _name: "z" * 300_000
    notebook.lived("x = service.look('large')")
    fork = forked(notebook)

    notebook.folder.rename(notebook.home / "elsewhere")

    assert len(notebook.on(fork.run_id).namespace["x"]) == 300_000
    assert notebook.service.requests == ["large"]


def test_where_there_are_no_links_blobs_are_copied(notebook: Branching) -> None:
    class Unlinked(QuickDisk):
        def link(self, old: Path, new: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

    notebook.service.during = lambda _name: "z" * 300_000
    notebook.lived("x = service.look('large')")
    store = Store(notebook.home, disk=Unlinked())

    fork = fork_run(store, store.get(RUN_ID))

    (blob,) = store.place(fork.run_id).folder.glob("blobs/??/*")
    assert (blob.stat().st_nlink, blob.stat().st_mode & 0o777) == (1, 0o444)
    assert len(notebook.on(fork.run_id).namespace["x"]) == 300_000


def test_what_was_sealed_in_the_parent_is_open_in_the_fork(notebook: Branching) -> None:
    """H18: passwords and tokens are under the key of the run that recorded them."""
    notebook.lived(
        "import durable_kernel as durable\n"
        "token = durable.secret('shop', read=lambda: 'from the vault')"
    )

    session = notebook.on(forked(notebook).run_id)

    assert session.namespace["token"] == "from the vault"
    assert session.run.latch is None


def test_what_was_sealed_is_open_in_a_fork_that_lost_its_meta(notebook: Branching) -> None:
    """The journal says whose keys sealed it; `durable trust` writes META anew from that."""
    notebook.lived(
        "import durable_kernel as durable\n"
        "token = durable.secret('shop', read=lambda: 'from the vault')"
    )
    child = forked(notebook)
    fork = forked(notebook, run_id=child.run_id)
    store = Store(notebook.home)
    (store.place(fork.run_id).folder / "META").write_bytes(b"damaged")

    store.trust(store.place(fork.run_id))

    assert store.place(fork.run_id).meta.forked_from == child.run_id
    assert notebook.on(fork.run_id).namespace["token"] == "from the vault"


def test_a_foreign_run_is_not_forked(notebook: Branching) -> None:
    """H1: what would be executed in the fork has to be the user's own."""
    notebook.lived(*CELLS)
    (notebook.home / "key").unlink()

    with pytest.raises(UntrustedRunError):
        forked(notebook)

    assert [each.run_id for each in Store(notebook.home).all()] == [RUN_ID]


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_HALFWAY, Fault.NO_SPACE])
def test_a_fork_is_there_whole_or_not_at_all(tmp_path: Path, fault: Fault) -> None:
    """At whichever operation of the disk it ends."""
    notebook = Branching(tmp_path)
    notebook.service.during = lambda _name: "z" * 100_000
    notebook.lived("x = service.look('large')", "y = 1")
    before, is_done, number = notebook.journal_bytes(), False, 0

    while not is_done:
        number += 1
        disk = FaultyDisk(fail_at=number, fault=fault)
        store = Store(notebook.home, disk=disk)
        try:
            fork_run(store, store.get(RUN_ID))
            is_done = not disk.has_failed
        except (SimulatedCrash, JournalError, UsageError):
            pass
        disk.close_all()

    assert number > 20
    assert notebook.journal_bytes() == before
    forks = [each.run_id for each in Store(notebook.home).all() if each.run_id != RUN_ID]
    assert forks
    for run_id in forks:
        assert outline_of(notebook, run_id).lineage.parent == RUN_ID
        assert notebook.on(run_id).namespace["y"] == 1


# --- its notebook ---------------------------------------------------------------------------------


def test_the_copy_of_the_notebook_is_bound_to_the_fork(notebook: Branching, tmp_path: Path) -> None:
    """Outputs of cells that are not shared are taken away: the fork has not run them."""
    cells = [
        {
            "cell_type": "code",
            "id": str(at),
            "source": [source],
            "metadata": {},
            "execution_count": at + 1,
            "outputs": [{"output_type": "stream", "text": "shown"}],
        }
        for at, source in enumerate(CELLS)
    ]
    path = tmp_path / "story.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    notebook.lived(*CELLS)
    store = Store(notebook.home)
    store.bind(store.get(RUN_ID), notebook=path)

    fork = fork_run(store, store.get(RUN_ID), at=2, notebook=tmp_path / "other.ipynb")

    copy = json.loads((tmp_path / "other.ipynb").read_text())
    assert copy["metadata"]["durable"]["run_id"] == fork.run_id
    assert [bool(each["outputs"]) for each in copy["cells"]] == [True, True, False]
    found = store.lookup(kernel_id=None, notebook=tmp_path / "other.ipynb")
    assert found is not None
    assert found.run_id == fork.run_id
    known = store.lookup(kernel_id=None, notebook=path)
    assert known is not None
    assert known.run_id == RUN_ID


def test_a_notebook_that_is_gone_is_made_of_its_cells(notebook: Branching, tmp_path: Path) -> None:
    notebook.lived(*CELLS)
    store = Store(notebook.home)

    fork_run(store, store.get(RUN_ID), at=2, notebook=tmp_path / "other.ipynb")

    copy = json.loads((tmp_path / "other.ipynb").read_text())
    assert [each["source"] for each in copy["cells"]] == list(CELLS[:2])


def test_a_free_name_is_beside_the_notebook(notebook: Branching, tmp_path: Path) -> None:
    notebook.lived(*CELLS)
    store = Store(notebook.home)
    assert free_notebook(store.get(RUN_ID)) is None
    path = tmp_path / "story.ipynb"
    path.touch()
    place = store.bind(store.get(RUN_ID), notebook=path)

    first = free_notebook(place)
    (tmp_path / "story-fork.ipynb").touch()
    second = free_notebook(place)

    assert first == tmp_path / "story-fork.ipynb"
    assert second == tmp_path / "story-fork-2.ipynb"


def test_a_file_that_is_there_is_not_written_over(notebook: Branching, tmp_path: Path) -> None:
    notebook.lived(*CELLS)
    path = tmp_path / "mine.ipynb"
    path.write_text("mine")
    store = Store(notebook.home)

    with pytest.raises(UsageError, match="is there already"):
        fork_run(store, store.get(RUN_ID), notebook=path)

    assert path.read_text() == "mine"
    assert [each.run_id for each in store.all()] == [RUN_ID]


# --- names of blobs in frames ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", b"\xd9\x40", b"abcf"])
@pytest.mark.parametrize("behind", [b"", b"\xce\x00\x01\x00\x00", b"0f", b"1"])
def test_a_blob_is_found_whatever_stands_around_its_name(before: bytes, behind: bytes) -> None:
    """The byte behind a name is its size, which may look like a digit."""
    digest = "0123456789abcdef" * 4

    assert mentioned_digests(before + digest.encode() + behind, {digest}) == {digest}
    assert mentioned_digests(before + digest.encode()[1:] + b"\xce", {digest}) == set()
