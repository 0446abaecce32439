"""The journal against a list: append, sync, rotate, die, lose power, reopen, in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from durable_kernel.errors import JournalFullError
from durable_kernel.journal import BlobRef, Journal, Level
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.journal.written import contents, create, die, read, reopen, type_and_payload

frames = st.lists(
    st.tuples(st.integers(0, 127), st.binary(min_size=1, max_size=400)), min_size=1, max_size=4
)


class JournalAgainstList(RuleBasedStateMachine):
    """`written` is what was acknowledged; the first `safe` of it must survive a power cut."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="journal-model-"))
        self.folder = self.top / "run"
        self.written: list[type_and_payload] = []
        self.safe = 0
        self.epoch = 1
        self.blobs: dict[BlobRef, bytes] = {}
        self.disk = FaultyDisk()
        self.journal: Journal | None = None
        self.level = Level.DEFAULT

    @initialize(level=st.sampled_from(Level))
    def begin(self, level: Level) -> None:
        self.level = level
        self.journal = create(self.folder, self.disk, level=level)

    def teardown(self) -> None:
        if self.journal is not None:
            die(self.journal)
        shutil.rmtree(self.top)

    @rule(batch=frames, sync=st.booleans())
    def append(self, batch: list[type_and_payload], sync: bool) -> None:
        assert self.journal is not None
        segment = self.journal._tail.segment.number
        self.journal.append(batch, sync=sync)
        if self.journal._tail.segment.number != segment:
            self.safe = len(self.written)  # rotation synced the old segment
        self.written += batch
        if self.level is Level.STRICT or (sync and self.level is Level.DEFAULT):
            self.safe = len(self.written)

    @rule()
    def sync(self) -> None:
        assert self.journal is not None
        self.journal.sync()
        self.safe = len(self.written)

    @rule(batch=frames, room_bytes=st.integers(0, 200))
    def append_on_a_full_disk(self, batch: list[type_and_payload], room_bytes: int) -> None:
        assert self.journal is not None
        self.disk.room_bytes = room_bytes
        try:
            self.journal.append(batch)
            self.written += batch
        except JournalFullError:
            pass
        self.disk.room_bytes = None
        if self.level is Level.STRICT:
            self.safe = len(self.written)

    @precondition(lambda self: self.level is not Level.FAST)
    @rule(content=st.binary(max_size=300), compress=st.booleans())
    def put_blob(self, content: bytes, compress: bool) -> None:
        assert self.journal is not None
        self.blobs[self.journal.blobs.put(content, compress=compress)] = content

    @rule()
    def close_and_reopen(self) -> None:
        assert self.journal is not None
        self.journal.close()
        self.safe = len(self.written)
        self._reopen()

    @rule()
    def die_and_reopen(self) -> None:
        assert self.journal is not None
        die(self.journal)
        self._reopen()
        assert contents(read(self.folder)) == self.written

    @rule(batch=frames, fault=st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_HALFWAY]))
    def die_while_appending(self, batch: list[type_and_payload], fault: Fault) -> None:
        assert self.journal is not None
        self.disk.fault = fault
        self.disk.fail_at = len(self.disk.operations) + 1
        try:
            self.journal.append(batch)
            raise AssertionError("the crash did not come")
        except SimulatedCrash:
            die(self.journal)
        self._reopen()
        found = contents(read(self.folder))
        assert found[: len(self.written)] == self.written
        assert found[len(self.written) :] == batch[: len(found) - len(self.written)]
        self.written = found

    @rule(choices=st.data())
    def lose_power_and_reopen(self, choices: st.DataObject) -> None:
        assert self.journal is not None
        die(self.journal)
        self.disk.cut_power(lambda ways: choices.draw(st.integers(0, ways - 1)))
        self._reopen()
        found = contents(read(self.folder))
        assert len(found) >= self.safe
        assert found == self.written[: len(found)]
        self.written = found
        for ref, content in self.blobs.items():
            assert self.journal.blobs.read(ref) == content

    def _reopen(self) -> None:
        self.disk = FaultyDisk()
        self.journal = reopen(self.folder, self.disk, level=self.level)
        assert self.journal.next_lsn <= len(self.written) + 5

    @invariant()
    def the_next_lsn_counts_what_was_written(self) -> None:
        if self.journal is not None:
            assert self.journal.next_lsn == len(self.written) + 1


TestJournalAgainstList = JournalAgainstList.TestCase
TestJournalAgainstList.settings = settings(
    stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
