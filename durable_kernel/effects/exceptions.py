"""Recorded endings, given back to user code. The names live in `ports`; effects look here."""

from durable_kernel.ports import ReplayedError, rebuild_error, recorded_error, value_of

__all__ = ["ReplayedError", "rebuild_error", "recorded_error", "value_of"]
