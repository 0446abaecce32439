"""Kernels of these tests: those of the kernel's own."""

from tests.kernel.conftest import Start, start

__all__ = ["Start", "start"]
