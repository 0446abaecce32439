"""Frames: pandas' DataFrame and Series as Arrow streams, only where the user has loaded pyarrow."""

from __future__ import annotations

from typing import Final

from durable_kernel.codec.layout import Foreign

__all__ = ["FRAMES"]

FRAMES: Final[tuple[Foreign, ...]] = ()
