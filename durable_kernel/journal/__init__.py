"""Bytes on disk: the append-only frames of one run, its blobs, its lock and its inbox.

A frame is (lsn, type, epoch, payload). What types and payloads mean is said in `history`; this room
knows no cell, no effect and no kernel. One process writes a run (`Journal`), any may read (`scan`).

    format    the bytes of a segment                 reader   scan, authenticity, the trusted prefix
    disk      the port to the disk                   damage   torn or corrupt
    segments  names of files                         repair   copy aside, then cut
    tail      append, rotate, poison                 writer   lock, levels, threads, forks, recovery
    lock      one writer                             ballast  room for the last words on a full disk
    blobs     large payloads                         inbox    messages from other processes
"""

from durable_kernel.journal.blobs import BlobRef, BlobStore, BlobWriter
from durable_kernel.journal.damage import TornTail
from durable_kernel.journal.disk import REAL_DISK, Disk, RealDisk
from durable_kernel.journal.format import PAYLOAD_BYTES_MAX, PROMISED, RUN_ID_BYTES_MAX, TYPE_MAX
from durable_kernel.journal.inbox import Inbox, RefusedMessage
from durable_kernel.journal.lock import RunLock, is_locked
from durable_kernel.journal.reader import (
    Anchor,
    Frame,
    collector_paused,
    measure_anchor,
    read_extent,
    scan,
)
from durable_kernel.journal.segments import INBOX_NAME
from durable_kernel.journal.writer import Journal, Level

__all__ = [
    "INBOX_NAME",
    "PAYLOAD_BYTES_MAX",
    "PROMISED",
    "REAL_DISK",
    "RUN_ID_BYTES_MAX",
    "TYPE_MAX",
    "Anchor",
    "BlobRef",
    "BlobStore",
    "BlobWriter",
    "Disk",
    "Frame",
    "Inbox",
    "Journal",
    "Level",
    "RealDisk",
    "RefusedMessage",
    "RunLock",
    "TornTail",
    "collector_paused",
    "is_locked",
    "measure_anchor",
    "read_extent",
    "scan",
]
