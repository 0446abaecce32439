"""The content of kernel.json: which command starts this kernel. Imports nothing of Jupyter.

The wheel brings a specification along that says `python`, which servers replace by their own; what
is made here names this very interpreter.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import Any

__all__ = ["PROVISIONER", "PROVISIONER_HELP", "specification"]

PROVISIONER = "durable"
"""Name of the entry point of `provisioner.DurableProvisioner`, which only servers import."""

PROVISIONER_HELP = (
    "let the server tell a kernel how the last one ended; durable-kernel must be installed in the "
    "server's environment, else it can't start this kernel"
)


def specification(
    display_name: str | None = None, *, has_provisioner: bool = False
) -> dict[str, Any]:
    """Make the content of kernel.json for this interpreter."""
    text = resources.files("durable_kernel.kernel").joinpath("resources/kernel.json").read_text()
    content: dict[str, Any] = json.loads(text)
    content["argv"] = [sys.executable, "-m", "durable_kernel", "-f", "{connection_file}"]
    if display_name:
        content["display_name"] = display_name
    if has_provisioner:
        content["metadata"]["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
    return content
