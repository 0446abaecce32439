"""Runs that leave this machine or their own past: export, import, verify, diff and fork."""

from durable_kernel.sharing.forking import Fork, fork_run, free_notebook

__all__ = ["Fork", "fork_run", "free_notebook"]
