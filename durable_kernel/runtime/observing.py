"""Observing: the straight way of an observation from its beginning into one record (ADR 0009).

Most calls are observations of a cell that is alone and live, which nothing else is recorded beside:
a GET in a loop. Between two requests every function that is entered costs several times what it
costs in a loop of its own, so the two halves here do in one go what `port`, `recording`, `pending`
and `storing` do for all other calls. Whenever something is not as usual they do nothing and say
so; the long way then does it all. What both write means the same, which a test shows.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from durable_kernel.codec import KnownSecrets, encode_small_tree, is_small_tree, small_tree_packer
from durable_kernel.effects.http_answers import is_harmless_text
from durable_kernel.effects.http_tokens import is_secret_target
from durable_kernel.errors import JournalFullError
from durable_kernel.history import INLINE_BYTES_MAX, Called, RecordCodec
from durable_kernel.ports import Call, Lane
from durable_kernel.runtime.steps import LiveStep

if TYPE_CHECKING:
    from durable_kernel.journal import Journal
    from durable_kernel.runtime.pending import Pending
    from durable_kernel.runtime.port import RunPort

__all__ = ["Observing"]

_RECORD_BYTES_MAX = 2 * INLINE_BYTES_MAX
_SOFT_MAX = 16
"""Values of a kind that may stand in the record of a call; more of them have a record each."""


class Observing:
    """Begins and ends plain observations of one run. `replay` is that of its position."""

    def __init__(
        self,
        port: RunPort,
        pending: Pending,
        journal: Journal,
        secrets: KnownSecrets,
        wall_ns: Callable[[], int],
        is_foreign: Callable[[Lane], bool],
    ) -> None:
        self._port = port
        self._pending = pending
        self._journal = journal
        self._wall_ns = wall_ns
        self._is_foreign = is_foreign
        self._secrets = secrets
        self._turnstile = port.crowd.turnstile
        self._packer = small_tree_packer()
        self.replay = port.replay
        # A hook that can, gives the same objects again: they need not be looked at twice.
        self._last_call: Call | None = None
        self._small_details: Any = None

    def begin(self, lane: Lane, call: Call) -> LiveStep | None:
        """Begin a plain observation. None: it is something else, and nothing was done.

        What its lane has observed so far is taken along; anything else that waits has to be written
        first, which is the long way.
        """
        port, pending, replay = self._port, self._pending, self.replay
        if (
            call.act
            or call.runs_user_code
            or (lane.root_task is not None and self._is_foreign(lane))
            or lane.root_thread != get_ident()
            or self._secrets.is_armed
            or self._turnstile.is_crowded
            or not replay.is_plain
        ):
            return None
        with port.interrupts, port.lock:
            if (
                lane is not port.main
                or lane.has_ended
                or port.latch is not None
                or port.closed is not None
                or pending.whole is not None
                or pending.draws
                or pending.packed
                or pending.reused
                or pending.stream
            ):
                return None
            soft = lane.take_few(_SOFT_MAX)
            if soft is None:
                return None
            path = lane.path
            ordinal = replay.next_ordinal(path)
            key = (port.run_id, port.position, path, ordinal)
            step = LiveStep(port, call, self._wall_ns(), lane, ordinal, key)
            step.soft = soft
            port.cut_call = None
            port.open_steps.append(step)
            pending.whole = step
            counts, kind = pending.counts, call.kind
            counts[kind] = counts.get(kind, 0) + 1
            return step

    def end(self, step: LiveStep, value: Any) -> bool:
        """Write an observation in one record. False: it is not a plain one, nothing was written."""
        port, pending = self._port, self._pending
        with port.interrupts, port.lock:
            if (
                pending.whole is not step
                or pending.draws
                or pending.packed
                or pending.reused
                or pending.stream
                or self._secrets.is_armed
                or self._turnstile.is_crowded
                or port.closed is not None
            ):
                return False
            later = step.owner.take_few(_SOFT_MAX)
            if later is None:
                return False
            if later:
                step.soft = _joined(step.soft, later) if step.soft else later
            payload = self._payload(step, value)
            if payload is None:
                return False
            try:
                self._journal.append(((Called.CODE, payload),))
            except JournalFullError:
                return False
            pending.whole = None
            port.open_steps.remove(step)
            counts = pending.counts
            for kind, values in (step.soft or {}).items():
                counts[kind] = counts.get(kind, 0) + len(values)
            return True

    def _payload(self, step: LiveStep, value: Any) -> bytes | None:
        """Pack the fields of a `Called`; None where `Storing.whole` has to look closer."""
        call, head, pieces, soft = step.call, step.told, step.pieces, step.soft
        is_known = call is self._last_call
        content = b""
        if pieces:
            content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if head is not None and not (
            is_harmless_text(content) and (is_known or not is_secret_target(call.label))
        ):
            return None
        identity, details = call.identity, call.details
        if not is_known and not (
            is_small_tree(identity) and (details is self._small_details or is_small_tree(details))
        ):
            return None
        if not (is_small_tree(value) and (not soft or is_small_tree(soft))):
            return None
        self._last_call, self._small_details = call, details
        fields = [step.ordinal, step.lane, call.kind, call.label, step.wall_ns, identity, details]
        fields += [value, head, list(map(len, pieces)) or None, content, soft or None]
        if not soft:
            RecordCodec.cut_defaults(Called, fields)
        payload = encode_small_tree(fields, self._packer)
        return None if payload is None or len(payload) > _RECORD_BYTES_MAX else payload


def _joined(first: dict[str, list[Any]], then: dict[str, list[Any]]) -> dict[str, list[Any]]:
    both = dict(first)
    for kind, values in then.items():
        both[kind] = [*both.get(kind, ()), *values]
    return both
