"""The inbox: whole messages, in order, each name once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from durable_kernel.errors import DurableError, JournalFullError
from durable_kernel.journal import Inbox
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash

KEY = b"k" * 32


def test_messages_come_in_the_order_they_were_put(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    names = [f"message {serial}" for serial in (3, 1, 2)]

    for name in names:
        assert inbox.put(name, name.encode())

    assert inbox.pending() == [(name, name.encode()) for name in names]


def test_a_clock_set_back_does_not_change_the_order(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("first", b"1")
    (message,) = (path for path in inbox.folder.iterdir() if len(path.name) == 32)
    os.utime(message, (2**33, 2**33))  # put when the clock was far ahead

    inbox.put("second", b"2")

    assert [name for name, _ in inbox.pending()] == ["first", "second"]


def test_a_name_is_the_dedupe_key(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    assert inbox.put("paid", b"first")

    assert not inbox.put("paid", b"second")

    assert inbox.pending() == [("paid", b"first")]


def test_a_taken_name_is_never_put_again(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("paid", b"first")

    inbox.take("paid")
    inbox.take("paid")

    assert inbox.pending() == []
    assert not Inbox(tmp_path / "inbox", KEY).put("paid", b"once more")
    assert inbox.pending() == []


@pytest.mark.parametrize("name", ["../evil", ".", "a/b", "Ä" * 300, "A", "a", "x\0y", ".gate"])
def test_any_text_may_be_a_name(tmp_path: Path, name: str) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)

    assert inbox.put(name, b"payload")

    assert inbox.pending() == [(name, b"payload")]
    assert {path.name for path in tmp_path.iterdir()} == {"inbox"}


def test_a_name_has_a_byte_at_least(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name"):
        Inbox(tmp_path / "inbox", KEY).put("", b"payload")


def test_an_inbox_that_nobody_wrote_to_is_empty(tmp_path: Path) -> None:
    assert Inbox(tmp_path / "inbox", KEY).pending() == []


def message_of(inbox: Inbox) -> Path:
    (message,) = (path for path in inbox.folder.iterdir() if len(path.name) == 32)
    return message


def test_a_damaged_message_is_never_handed_out(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("paid", b"payload")
    message = message_of(inbox)
    whole = message.read_bytes()

    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        for damaged in (bytes(flipped), whole[:at]):
            message.write_bytes(damaged)

            assert inbox.pending() == []
            assert [each.why for each in inbox.refused()] == ["it is damaged"]


def test_a_damaged_message_hides_no_other(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("damaged", b"payload")
    message_of(inbox).write_bytes(b"")

    inbox.put("whole", b"payload")

    assert inbox.pending() == [("whole", b"payload")]


@pytest.mark.parametrize("key", [b"\1" * 32, None], ids=["another key", "no key"])
def test_a_message_is_believed_under_the_key_that_signed_it_alone(
    tmp_path: Path, key: bytes | None
) -> None:
    """Rule 8: who can write the folder could answer an act in doubt otherwise."""
    Inbox(tmp_path / "inbox", KEY).put("paid", b"payload")

    inbox = Inbox(tmp_path / "inbox", key)

    assert inbox.pending() == []
    assert [each.why for each in inbox.refused()] == ["it was not signed with your key"]


def test_a_message_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("paid", b"payload")
    message = message_of(inbox)

    message.rename(message.with_name("0" * 32))

    assert inbox.pending() == []
    assert [each.why for each in inbox.refused()] == ["it has the name of another message"]


SORTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "a FIFO stands where a file should be"),
    "folder": (Path.mkdir, "a folder stands where a file should be"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "a device stands where a file should"),
    "empty": (Path.touch, "it is damaged"),
}


@pytest.mark.parametrize(("make", "why"), SORTS.values(), ids=SORTS.keys())
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    inbox.put("whole", b"payload")

    make(inbox.folder / ("f" * 32))

    assert inbox.pending() == [("whole", b"payload")]
    (refused,) = inbox.refused()
    assert why in refused.why


def test_what_is_put_aside_is_kept_and_not_looked_at_again(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", KEY)
    kept = []

    for content in (b"first", b"second"):
        inbox.put("paid", b"payload")
        message_of(inbox).write_bytes(content)
        kept += [inbox.put_aside(each) for each in inbox.refused()]

    assert [path.read_bytes() for path in kept] == [b"first", b"second"]
    assert {path.suffix for path in kept} == {".refused"}
    assert inbox.refused() == []


def test_every_fault_leaves_the_whole_message_or_none(tmp_path: Path) -> None:
    """Putting once more under the same name always ends with exactly one message."""
    for fault in Fault:
        for fail_at in range(1, 100):
            folder = tmp_path / f"{fault.name}-{fail_at}"
            disk = FaultyDisk(fail_at=fail_at, fault=fault)
            try:
                Inbox(folder, KEY, disk=disk).put("paid", b"payload")
            except (DurableError, SimulatedCrash):
                assert disk.has_failed
            disk.close_all()
            assert Inbox(folder, KEY).pending() in ([], [("paid", b"payload")])

            Inbox(folder, KEY).put("paid", b"payload")

            assert Inbox(folder, KEY).pending() == [("paid", b"payload")]
            if not disk.has_failed:
                break
        else:
            pytest.fail("the loop never ended")


def test_a_full_disk_takes_no_message_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalFullError):
        Inbox(tmp_path / "inbox", KEY, disk=FaultyDisk(room_bytes=10)).put("paid", b"payload")


def put_in_a_race(folder: Path, sender: int) -> None:
    won = sum(Inbox(folder, KEY).put(f"{serial}", b"%d" % sender) for serial in range(20))
    (folder.parent / f"won-{sender}").write_text(str(won))


def test_of_racing_senders_each_name_is_won_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    spawning = multiprocessing.get_context("fork")
    senders = [spawning.Process(target=put_in_a_race, args=(folder, sender)) for sender in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    won = [int((tmp_path / f"won-{sender}").read_text()) for sender in range(3)]
    assert sum(won) == 20
    assert len(Inbox(folder, KEY).pending()) == 20
