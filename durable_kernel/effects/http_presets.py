"""Presets: acts that are mostly harmless, known by what the request says of itself.

    graphql-reads   a POST whose body is a GraphQL document with queries and no other operation
    search          a POST to …/_search, …/_msearch or …/_count
    oauth           a POST to a token endpoint, with a grant that may be used more than once
    llm             a POST to …/chat/completions, …/responses, …/messages or …/embeddings

A preset changes nothing by itself: it names what a user may allow for a host. What can't be told
for sure belongs to none. Knows no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from durable_kernel.ports import Preset

__all__ = ["PRESET_NAMES", "preset_of"]

PRESET_NAMES = {
    Preset.GRAPHQL_READS: "a GraphQL read",
    Preset.SEARCH: "a search",
    Preset.OAUTH: "a request for a token",
    Preset.LLM: "a call of a language model",
}
"""What a request of a preset is called, for people."""

_SEARCH_PATH = re.compile(r"/_(?:search|msearch|count)(?:/template)?$")
_LLM_PATH = re.compile(r"/(?:chat/completions|responses|v1/messages|v1/embeddings)$")
_TOKEN_PATH = re.compile(r"/(?:access_)?token/?$")
_GRANTS = frozenset(
    {
        "client_credentials",
        "password",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    }
)
"""Not the codes: one that is used twice has its tokens revoked (RFC 6749 §4.1.2)."""

_BODY_BYTES_MAX = 1 << 20
_GRAPHQL_NOISE = re.compile(
    r'"""(?:\\"""|.|\n)*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*', re.DOTALL
)  # strings and comments: what stands in them is no syntax
_OPENED_BY = {"}": "{", ")": "("}
_GRAPHQL_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[{}()]")


def preset_of(method: str, path: str, body: Callable[[], bytes], body_bytes: int) -> Preset | None:
    """Return the preset that a request belongs to. `path` is without query; `body` may be large."""
    if method != "POST":
        return None
    if _SEARCH_PATH.search(path):
        return Preset.SEARCH
    if _LLM_PATH.search(path):
        return Preset.LLM
    if not 0 < body_bytes <= _BODY_BYTES_MAX:
        return None
    if _TOKEN_PATH.search(path) and _grant_of(body()) in _GRANTS:
        return Preset.OAUTH
    return Preset.GRAPHQL_READS if _is_graphql_read(body()) else None


def _grant_of(body: bytes) -> str | None:
    parsed = _json(body)
    if isinstance(parsed, dict):
        grant = parsed.get("grant_type")
        return grant if isinstance(grant, str) else None
    grants = parse_qs(body.decode("latin-1")).get("grant_type", [])
    return grants[0] if len(grants) == 1 else None


def _is_graphql_read(body: bytes) -> bool:
    """Tell whether all operations of a body, or of a batch of them, are queries."""
    if b'"query"' not in body:
        return False
    parsed = _json(body)
    batch = parsed if isinstance(parsed, list) else [parsed]
    documents = [each.get("query") if isinstance(each, dict) else None for each in batch]
    return bool(documents) and all(
        isinstance(each, str) and _has_only_queries(each) for each in documents
    )


def _has_only_queries(document: str) -> bool:
    """Look at the definitions of a document: each a query, a fragment, or a bare selection."""
    depth = {"{": 0, "(": 0}
    is_between, has_query = True, False
    for match in _GRAPHQL_TOKEN.finditer(_GRAPHQL_NOISE.sub(" ", document)):
        word = match.group()
        if is_between and word not in {"query", "fragment", "{"}:
            return False
        if is_between:
            has_query = has_query or word != "fragment"
            is_between = False
        if word in depth:
            depth[word] += 1
        elif word in _OPENED_BY:
            opening = _OPENED_BY[word]
            depth[opening] -= 1
            if depth[opening] < 0:
                return False
            is_between = opening == "{" and not any(depth.values())
    return is_between and has_query


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
