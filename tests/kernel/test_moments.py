"""A while is one in which the process has run: what it slept through is not counted."""

from __future__ import annotations

import asyncio

from durable_kernel.kernel.moments import a_while


class _Jumping(asyncio.SelectorEventLoop):
    """A loop whose process stands still once, for an hour, as soon as somebody waits."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s

    def stand_still(self) -> None:
        self.ahead_s = 3600.0


def test_who_waits_a_while_goes_on_behind_what_came_while_the_process_stood_still() -> None:
    """What is read takes several turns of the loop; all timers are due at once."""
    read: list[int] = []

    async def receive() -> None:
        for number in range(5):
            await asyncio.sleep(0)
            read.append(number)

    async def wait() -> int:
        loop.call_soon(loop.stand_still)
        loop.call_later(0.005, lambda: tasks.append(loop.create_task(receive())))
        await a_while(0.2)
        return len(read)

    tasks: list[asyncio.Task[None]] = []
    loop = _Jumping()
    try:
        found = loop.run_until_complete(wait())
    finally:
        loop.close()

    assert found == 5
