"""Takers: Output widgets, which take what belongs to a request as long as they name it.

ipywidgets' Output tells its front end so by a message of its comm: `msg_id` is that of the request,
and "" when it ceases. What it took stands in it and not in the cell, so who answers the cell from
the journal has to know which outputs those were. They are journaled with their widget's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["INSIDE", "OutputTakers", "taking"]

INSIDE = "durable_inside"
"""In the metadata of a journaled output: the comm of the Output widget that took it."""


class OutputTakers:
    """Which widget takes a request's outputs now. Safe from any thread."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def note(self, kind: str, content: Mapping[str, Any]) -> None:
        """Look at a message that the kernel sends for a widget."""
        if not kind.startswith("comm_"):
            return
        widget, told = str(content.get("comm_id")), content.get("data")
        state = told.get("state") if isinstance(told, Mapping) else None
        if kind == "comm_close":
            self._taken.pop(widget, None)
        elif isinstance(state, Mapping) and "msg_id" in state:
            self._taken.pop(widget, None)
            if state["msg_id"]:
                self._taken[widget] = str(state["msg_id"])

    def of(self, request: str) -> str | None:
        """Return the widget that began last to take what belongs to a request."""
        if not self._taken:
            return None
        found = [widget for widget, taken in list(self._taken.items()) if taken == request]
        return found[-1] if found else None


def taking(widget: str, request: str) -> dict[str, Any]:
    """Make the content of the message by which a widget begins to take; "": ceases."""
    return {"comm_id": widget, "data": {"method": "update", "state": {"msg_id": request}}}
