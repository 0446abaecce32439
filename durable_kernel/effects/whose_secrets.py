"""Whose secrets: those of the run to which the running code belongs. Knows no library."""

from __future__ import annotations

from durable_kernel.ports import CURRENT_LANE, SECRETS, Secrets

__all__ = ["current_secrets"]


def current_secrets() -> Secrets | None:
    """Return the secrets of the run that the running code belongs to; None outside a cell."""
    lane = CURRENT_LANE.get()
    return lane.port.secrets if lane is not None else SECRETS.get()
