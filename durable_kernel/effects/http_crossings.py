"""What a hook of an HTTP library sees and does not record: the witness is told.

Each is a clause behind "cell 3: it …". Shared by the hooks and knows no library.
"""

from __future__ import annotations

from durable_kernel.effects.http_repeat import SAFE_METHODS
from durable_kernel.effects.http_wire import redact_url
from durable_kernel.ports import INSIDE_EFFECT, Witness

__all__ = ["SWITCHING_PROTOCOLS", "Crossings"]

SWITCHING_PROTOCOLS = 101


class Crossings:
    """Tells of one library. `witness` may be exchanged, and may raise: see `ports.Witness`."""

    def __init__(self, library: str, witness: Witness) -> None:
        self.library = library
        self.witness = witness

    def passed(self, method: str, url: str) -> None:
        """Tell of a request that passes the hook: it has no lane, or is of an unknown kind."""
        if not INSIDE_EFFECT.get():
            what = f"sends {method} {redact_url(url)} through {self.library}"
            self.witness.crossing(what, is_act=method not in SAFE_METHODS)

    def upgraded(self, label: str) -> None:
        """Tell that another protocol is spoken from here on, as with web sockets."""
        what = f"talks over a connection of {self.library} that {label} upgraded"
        self.witness.crossing(what, is_act=True)

    def taken(self, label: str) -> None:
        """Tell that somebody takes the connection out of a response."""
        what = f"takes over a connection of {self.library} after {label}"
        self.witness.crossing(what, is_act=True)

    def unknown(self, label: str) -> None:
        """Tell of an answer that was built from another connection than those we know."""
        self.witness.crossing(f"gets an unknown kind of answer to {label}", is_act=True)
