"""Outputs: journaled before they are shown; late, large, superseded, compared (rules 3, 4, H20)."""

from __future__ import annotations

from durable_kernel.history import PositionHistory, position_history
from durable_kernel.runtime import CellRequest, CellResult
from tests.runtime.notebooks import Notebook, Session

LARGE = "x" * 100_000


def _history(session: Session, position: int) -> PositionHistory:
    run = session.run
    outline = run.read_outline().positions[position]
    return position_history(run.place.folder, outline, run._records)


def _texts(session: Session, position: int) -> list[str]:
    run = session.run
    found = [run.storing.content_of(each) for each in _history(session, position).outputs]
    return [content.get("text", "") for content in found]


def test_an_output_is_on_disk_when_it_is_shown(notebook: Notebook) -> None:
    """Rule 3: what a person saw survives any death."""
    seen_in_journal: list[bool] = []
    with notebook.session() as session:
        session.driver._show = lambda _position, kind, text: (
            seen_in_journal.append(text.encode() in notebook.journal_bytes())
            if kind == "stdout"
            else None
        )
        session.execute("print('a sentence that is looked for')")

    assert seen_in_journal == [True, True]


def test_what_was_observed_before_an_output_is_on_disk_with_it(notebook: Notebook) -> None:
    """Rule 3: the shown value rests on the draw; both are there or none."""
    died = notebook.died("import uuid; print(uuid.uuid4()); die()")

    assert notebook.replayed().text() == died.text()


def test_a_large_output_is_a_blob_and_comes_back(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("print('x' * 100_000)")
        texts = _texts(session, 0)

    assert texts == [LARGE, "\n"]
    assert len(notebook.journal_bytes()) < len(LARGE)
    assert notebook.replayed().run.take_notices() == []


def test_large_text_is_compressed_though_its_length_stands_before_it(notebook: Notebook) -> None:
    """The length of a text below 16 MB has a zero byte, as numbers have."""
    with notebook.session() as session:
        session.execute("print('a line of a log\\n' * 100_000)")
        blobs = (session.run.place.folder / "blobs").rglob("*")

        size = sum(each.stat().st_size for each in blobs if each.is_file())

    assert 0 < size < 160_000


def test_late_text_belongs_to_the_cell_that_printed_it(notebook: Notebook) -> None:
    """H20: it came after the commit; the next cell's outputs stay the next cell's."""
    with notebook.session() as session:
        session.execute("print('in time')")
        session.run.late_output(0, "stream", {"name": "stdout", "text": "too late"}, {})
        session.execute("print('next')")
        first, second = _history(session, 0), _history(session, 1)

    assert [each.late for each in first.outputs] == [None, None, 0]
    assert [each.late for each in second.outputs] == [None, None]
    assert notebook.replayed().run.take_notices() == []


def test_late_text_during_the_next_cell_is_not_the_next_cells(notebook: Notebook) -> None:
    """H20: it names its position, wherever it stands."""
    with notebook.session() as session:
        session.namespace["late"] = lambda: session.run.late_output(
            0, "stream", {"name": "stdout", "text": "too late"}, {}
        )
        session.execute("print('in time')", "late(); print('next')")

        assert "too late" not in _texts(session, 1)


def test_outputs_of_a_cut_attempt_are_superseded(notebook: Notebook) -> None:
    """The cell printed its beginning twice; one of them is its output."""
    notebook.died("print('begun'); die(); print('done')")
    with notebook.session() as session:
        session.recover()
        history = _history(session, 0)
        texts = _texts(session, 0)

    assert history.attempts == 2
    assert "".join(texts) == "begun\ndone\n"
    assert [each.content["text"] for each in history.superseded if each.content] == ["begun", "\n"]


def test_another_output_than_recorded_is_told_and_the_recorded_one_stands(
    notebook: Notebook,
) -> None:
    notebook.names["word"] = "one"
    notebook.lived("print(word)")
    notebook.names["word"] = "two"
    with notebook.session() as session:
        done = session.recover()
        texts = _texts(session, 0)

    assert done == 1
    (notice,) = session.run.take_notices()
    assert "cell 0 printed something else than the journal recorded" in notice
    assert texts == ["one", "\n"]


def test_addresses_are_no_difference(notebook: Notebook) -> None:
    """H20: `0x…` is another one in each process."""
    notebook.names["address"] = "<object at 0x7f52e506eb10>"
    notebook.lived("print(address)")
    notebook.names["address"] = "<object at 0x7f0000000000>"

    assert notebook.replayed().run.take_notices() == []


def test_streams_are_compared_as_whole_texts(notebook: Notebook) -> None:
    """H20: how text was cut into messages depends on timing."""
    notebook.names["pieces"] = ["ab", "c"]
    notebook.lived("import sys\nfor piece in pieces: sys.stdout.write(piece)")
    notebook.names["pieces"] = ["a", "bc"]

    assert notebook.replayed().run.take_notices() == []


def test_the_order_between_the_two_streams_is_no_difference(notebook: Notebook) -> None:
    """H20: stdout and stderr come through different buffers."""
    notebook.names["names"] = ["stdout", "stderr"]
    source = "import sys\nfor name in names: getattr(sys, name).write(name)"
    notebook.lived(source)
    notebook.names["names"] = ["stderr", "stdout"]

    assert notebook.replayed().run.take_notices() == []


def test_a_displayed_value_is_compared_by_its_plain_text(notebook: Notebook) -> None:
    def display(session: Session, text: str, image: str) -> None:
        execution = (
            session.run.start_cell(CellRequest("display"))
            if (history := session.run.next_recorded()) is None
            else session.run.replay_cell(history)
        )
        with execution:
            content = {"data": {"text/plain": text, "image/png": image}}
            execution.output("display_data", content)
            execution.finish(CellResult("ok", {"status": "ok"}))

    with notebook.session() as session:
        display(session, "<Figure at 0x7f01234567>", "one rendering")
    with notebook.session() as same:
        display(same, "<Figure at 0x7f76543210>", "another rendering")
    with notebook.session() as other:
        display(other, "<Table>", "one rendering")

    assert same.run.take_notices() == []
    assert len(other.run.take_notices()) == 1


def test_a_cell_is_committed_before_its_reply(notebook: Notebook) -> None:
    """Rule 4: the commit is synced and in the journal when the reply leaves."""
    committed: list[bool] = []
    with notebook.session() as session:
        session.driver._probe = lambda point: committed.append(
            session.run.read_outline().positions[0].committed is not None
        )
        session.execute("x = 1")

    assert committed == [False, True]
