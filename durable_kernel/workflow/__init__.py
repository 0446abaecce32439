"""workflow: durable primitives, effects that the user calls by name.

Sees ports only. Outside a durable cell they work plainly, and warn once.
"""

from durable_kernel.workflow.context import idempotency_key, is_replaying, run_id
from durable_kernel.workflow.idempotence import idempotent
from durable_kernel.workflow.secrets import register_secret, secret
from durable_kernel.workflow.steps import step

__all__ = [
    "idempotency_key",
    "idempotent",
    "is_replaying",
    "register_secret",
    "run_id",
    "secret",
    "step",
]
