"""Codec: every value that crosses the boundary as canonical bytes, and back. Public names only.

It owns the format (`layout`), what is secret in it (`sealing`, `redaction`, `known`), and how it
is shown (`plain`). It knows no file, no frame and no effect, and cannot unpickle: what the format
has no type for is class *object*, whose bytes come from and go to callables that the runtime
injects.
"""

from durable_kernel.codec.decoding import StoredObject, decode
from durable_kernel.codec.encoding import (
    digest,
    encode,
    encode_small_tree,
    is_small_tree,
    is_storable,
    small_tree_packer,
)
from durable_kernel.codec.known import VALUE_CHARS_MIN, BodyHash, KnownSecrets, secrets_of_variable
from durable_kernel.codec.plain import plain
from durable_kernel.codec.redaction import (
    SAFE_REQUEST_HEADERS,
    keyed_hash,
    redact_headers,
    redact_url,
)
from durable_kernel.codec.sealing import Sealed, Sealer

__all__ = [
    "SAFE_REQUEST_HEADERS",
    "VALUE_CHARS_MIN",
    "BodyHash",
    "KnownSecrets",
    "Sealed",
    "Sealer",
    "StoredObject",
    "decode",
    "digest",
    "encode",
    "encode_small_tree",
    "is_small_tree",
    "is_storable",
    "keyed_hash",
    "plain",
    "redact_headers",
    "redact_url",
    "secrets_of_variable",
    "small_tree_packer",
]
