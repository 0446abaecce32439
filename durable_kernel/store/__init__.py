"""store: where runs live. Folders, ids, the user's key, the index, trust, what `ls` shows."""

from durable_kernel.store.meta import Meta
from durable_kernel.store.places import current_boot_id
from durable_kernel.store.shelf import RunPlace
from durable_kernel.store.standing import Standing
from durable_kernel.store.status import RunSummary, known_summary, summary
from durable_kernel.store.store import Store
from durable_kernel.store.trust import TrustFacts

__all__ = [
    "Meta",
    "RunPlace",
    "RunSummary",
    "Standing",
    "Store",
    "TrustFacts",
    "current_boot_id",
    "known_summary",
    "summary",
]
