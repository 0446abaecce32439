"""The chunked transfer coding: cut anywhere, found again, and continued."""

from __future__ import annotations

import pytest

from durable_kernel.effects.http_chunks import ChunkScanner
from durable_kernel.effects.http_wire import AnswerChangedError

CONTENT = b"one, two and three"
WIRE = b'4;name="a"\r\none,\r\n1\r\n \r\nd\r\ntwo and three\r\n0\r\nExpires: never\r\n\r\n'


def content_of(wire: bytes) -> bytes:
    return b"".join(ChunkScanner().scan(wire))


def test_the_content_is_found_whatever_the_pieces() -> None:
    for size in range(1, len(WIRE) + 1):
        scanner = ChunkScanner()

        pieces = [scanner.scan(WIRE[at : at + size]) for at in range(0, len(WIRE), size)]

        assert b"".join(part for piece in pieces for part in piece) == CONTENT
        assert scanner.unsettled_bytes == 0


def test_what_is_settled_of_a_cut_body_can_be_continued() -> None:
    for cut in range(len(WIRE)):
        scanner = ChunkScanner()
        scanner.scan(WIRE[:cut])
        settled = WIRE[: cut - scanner.unsettled_bytes]
        second = ChunkScanner()
        seen = b"".join(second.scan(settled))
        assert second.unsettled_bytes == 0

        whole = settled + second.frame(CONTENT[len(seen) :]) + second.finish()

        assert content_of(whole) == CONTENT
        assert whole.endswith(b"\r\n0\r\n\r\n")


def test_a_continuation_in_pieces_is_the_same_content() -> None:
    scanner = ChunkScanner()
    scanner.scan(WIRE[:14])

    rest = b"".join(scanner.frame(bytes([byte])) for byte in CONTENT[2:])

    assert content_of(WIRE[:14] + rest + scanner.finish()) == CONTENT


def test_a_body_that_ends_inside_a_promised_chunk_has_changed() -> None:
    scanner = ChunkScanner()
    scanner.scan(WIRE[:14])

    with pytest.raises(AnswerChangedError, match="2 bytes short"):
        scanner.finish()


@pytest.mark.parametrize("wire", [b"zz\r\nabc", b"\r\n", b"-\r\nabc"])
def test_a_body_that_is_not_chunked_is_scanned_no_further(wire: bytes) -> None:
    scanner = ChunkScanner()

    assert scanner.scan(wire) == []
    assert scanner.unsettled_bytes == 0
