"""Moments: a while in which this process has really run.

Who waits a while for something that may come asks, in truth, whether the threads that receive it
had their time. A process that stood still (a busy machine, a suspended one) wakes up with all its
timers due, before what came meanwhile is read. So a while is many short turns: a pause of any
length ends one of them.

Knows no Jupyter.
"""

from __future__ import annotations

import asyncio

__all__ = ["a_while"]

_TURN_S = 0.01


async def a_while(seconds: float) -> None:
    """Sleep for `seconds` in which this process runs."""
    for _ in range(round(seconds / _TURN_S)):
        await asyncio.sleep(_TURN_S)
