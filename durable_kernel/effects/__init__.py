"""The world: hooks between the libraries that users call and `durable_kernel.ports`.

One file a library. A file knows its library and the ports, nothing else of ours; what several
files need stands in callers, stand_ins, exceptions, paths, whose_secrets and http_*, which know no
library above http.client.
Hooks are installed once, at the start of a kernel process and before IPython is imported, and stay:
without a lane they pass everything through. They are process-wide, so this room alone has
module-level state.
"""

from __future__ import annotations

from durable_kernel.effects import (
    aiohttp_client,
    asyncio_order,
    asyncio_tasks,
    asyncio_timers,
    clocks,
    detector,
    entropy,
    generators,
    http_client,
    httpx_transport,
    modules,
    prompts,
    requests_session,
    signals,
    sleeping,
    threads,
    urllib3_pool,
    usage,
)
from durable_kernel.ports import Witness

__all__ = ["install"]

# Clocks first: what is imported later then takes references to hooked ones. The detector last, so
# that it does not hear the others at work.
_HOOKED = (
    clocks,
    usage,
    entropy,
    generators,
    sleeping,
    signals,
    threads,
    asyncio_tasks,
    asyncio_timers,
    asyncio_order,
    prompts,
    modules,
    httpx_transport,
    urllib3_pool,
    requests_session,
    http_client,
    aiohttp_client,
    detector,
)


def install(witness: Witness) -> None:
    """Install every hook of this process. Again: only the witness is replaced."""
    for effect in _HOOKED:
        effect.install(witness)
