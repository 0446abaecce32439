"""The bytes of a segment. Reader and writer share this file and nothing else.

A segment is one header of 128 bytes and then frames without gaps. All integers are little-endian.

    segment header   magic 8 · version u16 · run id length u16 · run id 64 · number u32 ·
                     first lsn u64 · epoch u32 · tag 16 · zeros 16 · crc u32
    frame            length u32 · header crc u32 · payload crc u32 · tag 16 · lsn u64 · type u8 ·
                     epoch u32 · payload

`length` counts the payload; 0 is invalid, so a tail of zeros never parses. The header crc of a
frame covers its other 37 header bytes and is seeded with the segment header's crc, so that bytes of
another run or segment inside a payload are no frames here. The tag is a keyed BLAKE3 (16 bytes)
over the previous tag, length, lsn, type, epoch and payload: it vouches for the whole prefix. The
segment header is a link of the same chain. `docs/journal-format.md` says the same in tables; a test
compares both.

This file opens nothing and decides nothing about damage.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

from blake3 import blake3

MAGIC = b"DKJRNL\r\n"  # the line end shows a copy that went through a text mode
VERSION = 1
RUN_ID_BYTES_MAX = 64
PAYLOAD_BYTES_MAX = 64 << 20  # a longer length is damage; larger payloads are blobs
TYPE_MAX = 0x7F
PROMISED = 0x80  # bit in the type byte: the write that carried this frame was synced
TAG_BYTES = 16
NO_TAG = bytes(TAG_BYTES)  # what the first segment's header is chained to
LSN_FIRST = 1  # 0 says "before the first frame"
EPOCH_FIRST = 1
KEY_CONTEXT = "durable_kernel journal 1: tag key of one run"

SEGMENT_HEADER = struct.Struct("<8sHH64sIQI16s16xI")
SEGMENT_SIGNED_BYTES = 92  # what the tag of a segment header covers: all before the tag
FRAME_HEADER = struct.Struct("<III16sQBI")
FRAME_SIGNED = struct.Struct("<IQBI")  # length, lsn, type, epoch
FRAME_AFTER_CRC = struct.Struct("<I16sQBI")  # payload crc, tag, lsn, type, epoch
LENGTH = struct.Struct("<I")
LENGTH_AND_CRC = struct.Struct("<II")
LENGTH_BYTES = LENGTH.size
ALWAYS = 1 << 64  # beyond every lsn

SEGMENT_HEADER_BYTES = SEGMENT_HEADER.size
FRAME_HEADER_BYTES = FRAME_HEADER.size
FRAME_CRC_END = 8  # the header crc covers the length before it and everything from here on


class SegmentHeader(NamedTuple):
    """The meaning of a segment's first 128 bytes. `crc` seeds the header crc of its frames."""

    version: int
    run_id: str
    number: int
    first_lsn: int
    epoch: int
    tag: bytes
    crc: int


def tag_key(user_key: bytes, run_id: str) -> bytes:
    """Return the 32-byte key that tags the frames of one run."""
    material = LENGTH.pack(len(user_key)) + user_key + run_id.encode()
    return blake3(material, derive_key_context=KEY_CONTEXT).digest()


def run_id_bytes(run_id: str) -> bytes:
    """Return the run id as stored; ValueError when it does not fit its field."""
    raw = run_id.encode()
    if not raw or len(raw) > RUN_ID_BYTES_MAX or b"\0" in raw:
        raise ValueError(
            f"a run id has 1 to {RUN_ID_BYTES_MAX} bytes of UTF-8 without NUL, not {run_id!r}"
        )
    return raw


def encode_segment_header(
    run_id: str, *, number: int, first_lsn: int, epoch: int, previous_tag: bytes, key: bytes
) -> bytes:
    """Return the 128 bytes; the tag chains them to what stands before."""
    raw = run_id_bytes(run_id)
    fields = (MAGIC, VERSION, len(raw), raw, number, first_lsn, epoch)
    signed = SEGMENT_HEADER.pack(*fields, NO_TAG, 0)[:SEGMENT_SIGNED_BYTES]
    tag = segment_tag(signed, previous_tag, key)
    crc = crc32(SEGMENT_HEADER.pack(*fields, tag, 0)[:-4])
    return SEGMENT_HEADER.pack(*fields, tag, crc)


def segment_tag(raw_header: bytes, previous_tag: bytes, key: bytes) -> bytes:
    """Return the tag that the header must carry; only its signed bytes are looked at."""
    signed = raw_header[:SEGMENT_SIGNED_BYTES]
    return blake3(previous_tag + signed, key=key).digest(length=TAG_BYTES)


def decode_segment_header(raw: bytes) -> SegmentHeader | None:
    """Return the header's meaning, or None when its 128 bytes are damaged.

    A header of another version is returned with its version and otherwise unchecked fields: only
    that version's reader could check them.
    """
    if len(raw) < SEGMENT_HEADER_BYTES or not raw.startswith(MAGIC):
        return None
    _, version, id_length, run_id, number, first_lsn, epoch, tag, crc = SEGMENT_HEADER.unpack(
        raw[:SEGMENT_HEADER_BYTES]
    )
    if version != VERSION:
        return SegmentHeader(version, "", 0, 0, 0, NO_TAG, 0)
    if crc != crc32(raw[: SEGMENT_HEADER_BYTES - 4]) or id_length > RUN_ID_BYTES_MAX:
        return None
    name = run_id[:id_length].decode("utf-8", "replace")
    return SegmentHeader(version, name, number, first_lsn, epoch, tag, crc)


def frame_hasher(key: bytes) -> blake3:
    """Make what `encode_frames` tags with, for one thread at a time.

    It takes 2 KB, and longer to make than to use: whoever writes often keeps one.
    """
    return blake3(key=key)


def encode_frames(
    frames: Sequence[tuple[int, bytes]],
    *,
    first_lsn: int,
    epoch: int,
    previous_tag: bytes,
    key: bytes,
    seed: int,
    promised: bool,
    hasher: blake3 | None = None,
) -> tuple[bytes, bytes]:
    """Return the bytes of the frames and the last tag. `hasher`: that of the key, if there is one.

    Only the last frame carries PROMISED: it is the witness for everything before it (H33). One bit
    per write keeps a power cut inside that very sync from looking like lost promised data.
    """
    tag = previous_tag
    lsn = first_lsn
    unpromised_before = first_lsn + len(frames) - 1 if promised else ALWAYS
    pieces: list[bytes] = []
    tagging = frame_hasher(key) if hasher is None else hasher
    for kind, payload in frames:
        length = len(payload)
        if not 0 < length <= PAYLOAD_BYTES_MAX or not 0 <= kind <= TYPE_MAX:
            raise ValueError(
                f"a frame has a type of 0 to {TYPE_MAX} and a payload of 1 to {PAYLOAD_BYTES_MAX} "
                f"bytes, not type {kind} and {length} bytes"
            )
        stored = kind if lsn < unpromised_before else kind | PROMISED
        signed = FRAME_SIGNED.pack(length, lsn, stored, epoch)
        tagging.reset()
        tagging.update(tag + signed + payload)
        tag = tagging.digest(TAG_BYTES)
        after_crc = FRAME_AFTER_CRC.pack(crc32(payload), tag, lsn, stored, epoch)
        header_crc = crc32(after_crc, crc32(signed[:LENGTH_BYTES], seed))
        pieces.append(LENGTH_AND_CRC.pack(length, header_crc) + after_crc + payload)
        lsn += 1
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), tag


def header_crc_of(buffer: bytes, at: int, seed: int) -> int:
    """Return the crc that the frame header at `at` must carry."""
    length = crc32(buffer[at : at + 4], seed)
    return crc32(buffer[at + FRAME_CRC_END : at + FRAME_HEADER_BYTES], length)


def has_valid_header(buffer: bytes, at: int, seed: int) -> bool:
    """Tell whether an undamaged frame header stands at `at`; its payload is not looked at."""
    if at + FRAME_HEADER_BYTES > len(buffer):
        return False
    length, header_crc = struct.unpack_from("<II", buffer, at)
    if not 0 < length <= PAYLOAD_BYTES_MAX:
        return False
    return bool(header_crc == header_crc_of(buffer, at, seed))


class RawFrame(NamedTuple):
    """One undamaged frame in a window of bytes: `window[start:stop]`."""

    lsn: int
    stored_type: int  # with the PROMISED bit
    epoch: int
    tag: bytes
    payload: bytes
    start: int
    stop: int


def whole_frames(window: bytes, seed: int) -> Iterator[RawFrame]:
    """Yield the undamaged whole frames that follow each other from the window's first byte.

    Stops at the first byte that begins no such frame; `missing_bytes` tells why.
    """
    unpack = FRAME_HEADER.unpack_from
    at = 0
    body_stop_max = len(window)
    while at + FRAME_HEADER_BYTES <= body_stop_max:
        length, header_crc, payload_crc, tag, lsn, stored, epoch = unpack(window, at)
        body = at + FRAME_HEADER_BYTES
        stop = body + length
        if not 0 < length <= PAYLOAD_BYTES_MAX or stop > body_stop_max:
            return
        if header_crc != crc32(window[at + FRAME_CRC_END : body], crc32(window[at : at + 4], seed)):
            return
        payload = window[body:stop]
        if crc32(payload) != payload_crc:
            return
        yield RawFrame(lsn, stored, epoch, tag, payload, at, stop)
        at = stop


def missing_bytes(window: bytes, at: int, seed: int) -> int:
    """Return how many bytes must follow the window to complete the frame at `at`; 0 if damaged."""
    there = len(window) - at
    if there < FRAME_HEADER_BYTES:
        return FRAME_HEADER_BYTES - there
    if not has_valid_header(window, at, seed):
        return 0
    (length,) = LENGTH.unpack_from(window, at)
    return max(0, FRAME_HEADER_BYTES + int(length) - there)


def frame_tag(raw: RawFrame, previous_tag: bytes, key: bytes) -> bytes:
    """Return the tag that the frame must carry."""
    signed = FRAME_SIGNED.pack(len(raw.payload), raw.lsn, raw.stored_type, raw.epoch)
    return blake3(previous_tag + signed + raw.payload, key=key).digest(length=TAG_BYTES)
