"""A Jupyter kernel whose notebooks survive. In a notebook: `import durable_kernel as durable`.

Ordinary notebooks need none of these names; they are for what only the author can know.
"""

from durable_kernel.errors import (
    DivergenceError,
    DurableError,
    JournalCorruptError,
    RequestInterrupted,
    UntrustedRunError,
)
from durable_kernel.workflow import (
    idempotency_key,
    idempotent,
    is_replaying,
    register_secret,
    run_id,
    secret,
    step,
)

__version__ = "0.1.0"

__all__ = [
    "DivergenceError",
    "DurableError",
    "JournalCorruptError",
    "RequestInterrupted",
    "UntrustedRunError",
    "idempotency_key",
    "idempotent",
    "is_replaying",
    "register_secret",
    "run_id",
    "secret",
    "step",
]
