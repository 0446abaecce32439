r"""A front end: what somebody sees in the end, after all messages of a kernel came in their order.

Knows the rules that JupyterLab, Notebook and nbclient share:

    stream                 goes to the end of the last output if that is text of the same stream
    clear_output           empties the cell, at once or (`wait`) when its next output comes
    update_display_data    changes what was displayed under that id, in whatever cell it is
    an Output widget       takes what belongs to a request, as long as its `msg_id` names that one
    \r and \b                what comes after them is written over what was there

Two kernels showed the same if what their front ends have `seen` is equal.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FrontEnd", "on_screen"]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass
class _Area:
    """The outputs of a cell, or of an Output widget."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    clears_next: bool = False

    def clear(self, *, wait: bool) -> None:
        self.clears_next = wait
        if not wait:
            self.outputs.clear()

    def add(self, output: dict[str, Any]) -> None:
        if self.clears_next:
            self.clear(wait=False)
        last = self.outputs[-1] if self.outputs else {}
        if output["kind"] == last.get("kind") == "stream" and output["name"] == last["name"]:
            last["text"] += output["text"]
        else:
            self.outputs.append(output)


class FrontEnd:
    """Cells by any name, and what is in them."""

    def __init__(self) -> None:
        self._cells: dict[Hashable, _Area] = {}
        self._requests: dict[str, Hashable] = {}
        self._widgets: dict[str, dict[str, Any]] = {}
        self._inside: dict[str, _Area] = {}

    def execute(self, cell: Hashable, request: str) -> None:
        """Send a cell: what it showed is gone, what this request brings is shown in it."""
        self._cells[cell] = _Area()
        self._requests[request] = cell

    def reconnect(self) -> None:
        """Go on with another process of the kernel: no Output widget waits for a request."""
        for state in self._widgets.values():
            state.pop("msg_id", None)

    def receive(self, request: str, kind: str, content: Mapping[str, Any]) -> None:
        """Take a message of IOPub that belongs to a request."""
        if kind in ("comm_open", "comm_msg"):
            self._take_state(content)
        elif kind == "clear_output":
            self._area(request).clear(wait=bool(content.get("wait")))
        elif kind == "update_display_data":
            self._update(content)
        elif kind == "stream":
            self._area(request).add(
                {"kind": kind, "name": content["name"], "text": content["text"]}
            )
        elif kind in ("display_data", "error", "execute_result"):
            self._area(request).add({"kind": kind, **content})

    def state(self, widget: str) -> Mapping[str, Any]:
        """Return what is known of a widget's state."""
        return self._widgets[widget]

    def seen(self, cell: Hashable) -> list[Any]:
        """Return what is in a cell in the end, in a form that can be compared.

        Text is as on a screen, addresses are masked, and a widget is all that it consists of.
        """
        return [self._plain(each) for each in self._cells[cell].outputs]

    def everything(self) -> Any:
        """Return what is in all cells, and all that is known of widgets."""
        widgets = {name: self._widget(name) for name in self._widgets}
        return {cell: self.seen(cell) for cell in self._cells}, widgets

    def _area(self, request: str) -> _Area:
        for widget, state in self._widgets.items():
            if state.get("msg_id") == request:
                return self._inside[widget]
        return self._cells.setdefault(self._requests.get(request, request), _Area())

    def _update(self, content: Mapping[str, Any]) -> None:
        sought = content["transient"]["display_id"]
        for area in [*self._cells.values(), *self._inside.values()]:
            for output in area.outputs:
                if (output.get("transient") or {}).get("display_id") == sought:
                    output.update(data=content["data"], metadata=content["metadata"])

    def _take_state(self, content: Mapping[str, Any]) -> None:
        widget, told = content["comm_id"], content.get("data") or {}
        if "target_name" in content:
            self._widgets[widget], self._inside[widget] = {}, _Area()
        if widget in self._widgets and told.get("method", "update") == "update":
            self._widgets[widget].update(told.get("state") or {})

    def _plain(self, output: Mapping[str, Any]) -> Any:
        if output["kind"] == "stream":
            return (output["name"], on_screen(output["text"]))
        if output["kind"] == "error":
            traceback = [_masked(each) for each in output["traceback"]]
            return ("error", output["ename"], _masked(output["evalue"]), traceback)
        data = {kind: _masked(value) for kind, value in output["data"].items()}
        if _VIEW in data:
            data = {_VIEW: self._widget(data[_VIEW]["model_id"])}
        return (output["kind"], data, output["metadata"])

    def _widget(self, widget: str) -> Any:
        """Return a widget with all that it consists of, its Output widgets with what is in them."""
        state = self._widgets.get(widget, {})
        parts = {name: self._part(value) for name, value in sorted(state.items())}
        parts.pop("outputs", None)
        inside = self._inside.get(widget, _Area())
        return parts, [self._plain(each) for each in inside.outputs]

    def _part(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("IPY_MODEL_"):
            return self._widget(value.removeprefix("IPY_MODEL_"))
        if isinstance(value, list):
            return [self._part(each) for each in value]
        return _masked(value)


def on_screen(text: str) -> str:
    r"""Return text as it looks in the end: after `\r` and `\b` what was there is written over."""
    return "\n".join(_line(each) for each in text.replace("\r\n", "\n").split("\n"))


def _line(text: str) -> str:
    shown: list[str] = []
    at = 0
    for character in text:
        if character == "\r":
            at = 0
        elif character == "\b":
            at = max(at - 1, 0)
        else:
            shown[at : at + 1] = [character]
            at += 1
    return "".join(shown)


def _masked(value: Any) -> Any:
    return _ADDRESS.sub("0x…", value) if isinstance(value, str) else value
