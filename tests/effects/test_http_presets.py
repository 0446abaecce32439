"""Which acts belong to a preset, and what follows for their repetition (H21)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from durable_kernel.effects.http_presets import preset_of
from durable_kernel.effects.http_wire import describe_headers, describe_request
from durable_kernel.ports import Act, HostRules, Preset, Repeat
from durable_kernel.testing.fake_port import FakePort


def graphql(document: str, **more: Any) -> bytes:
    return json.dumps({"query": document, **more}).encode()


def found(path: str, body: bytes = b"", method: str = "POST") -> Preset | None:
    return preset_of(method, path, lambda: body, len(body))


READS = [
    "{ user { name } }",
    "query { user { name } }",
    "query mutation { user { name } }",
    'query Q($a: I = {x: "}"}) @live { user(in: {b: {c: 1}}) { ...F } } fragment F on U { id }',
    'query { a(text: "mutation {") } # mutation { b }',
    'query { a(text: """ block " } mutation { """) }',
    "fragment F on U { id }\nquery { ...F }",
]
NO_READS = [
    "mutation { pay }",
    "subscription { ticks }",
    "query A { a } mutation B { b }",
    "query { a } } mutation { b",
    "query { a ",
    "query",
    "select * from t",
    "fragment F on U { id }",
    "",
]


@pytest.mark.parametrize("document", READS)
def test_a_document_of_queries_is_a_read(document: str) -> None:
    assert found("/any/path", graphql(document)) is Preset.GRAPHQL_READS


@pytest.mark.parametrize("document", NO_READS)
def test_a_document_with_anything_else_is_none(document: str) -> None:
    assert found("/graphql", graphql(document)) is None


def test_a_batch_is_a_read_if_all_of_it_is() -> None:
    read, write = {"query": "{ a }"}, {"query": "mutation { a }"}

    assert found("/graphql", json.dumps([read, read]).encode()) is Preset.GRAPHQL_READS
    assert found("/graphql", json.dumps([read, write]).encode()) is None


@pytest.mark.parametrize(
    "body", [b'{"query": {"match_all": {}}}', b'{"query"', b'"query"', b'["query"]', b"[]", b""]
)
def test_what_is_no_graphql_request_is_none(body: bytes) -> None:
    assert found("/graphql", body) is None


@pytest.mark.parametrize(
    ("path", "preset"),
    [
        ("/orders/_search", Preset.SEARCH),
        ("/_msearch", Preset.SEARCH),
        ("/orders/_search/template", Preset.SEARCH),
        ("/orders/_count", Preset.SEARCH),
        ("/orders/_search/scroll", None),
        ("/orders/_bulk", None),
        ("/v1/chat/completions", Preset.LLM),
        ("/openai/deployments/d/chat/completions", Preset.LLM),
        ("/v1/messages", Preset.LLM),
        ("/chat/messages", None),
        ("/v1/embeddings", Preset.LLM),
        ("/v1/responses", Preset.LLM),
        ("/v1/messages/batches", None),
        ("/orders", None),
    ],
)
def test_a_path_tells_searches_and_language_models(path: str, preset: Preset | None) -> None:
    assert found(path, b"{}") is preset


@pytest.mark.parametrize(
    ("path", "body", "is_oauth"),
    [
        ("/oauth/token", b"grant_type=client_credentials&scope=a", True),
        ("/o/token/", b"grant_type=refresh_token&refresh_token=r", True),
        ("/login/oauth/access_token", b'{"grant_type": "password"}', True),
        ("/token", b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", True),
        ("/token", b"grant_type=authorization_code&code=c", False),
        ("/token", b"grant_type=password&grant_type=authorization_code", False),
        ("/token", b"amount=5", False),
        ("/orders", b"grant_type=client_credentials", False),
    ],
)
def test_a_token_is_asked_for_by_its_grant(path: str, body: bytes, is_oauth: bool) -> None:
    """A code is used once; used twice, its tokens are revoked."""
    assert found(path, body) is (Preset.OAUTH if is_oauth else None)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_only_a_post_belongs_to_a_preset(method: str) -> None:
    assert found("/_search", method=method) is None


# --- what follows ---------------------------------------------------------------------------------


def repeat_of(rules: HostRules, *, method: str = "POST", **headers: str) -> Repeat:
    body = graphql("{ user { name } }")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    call = describe_request(
        FakePort(hosts=rules).make_lane(),
        method,
        "https://u:p@API.example:8443/graphql?page=2",
        describe_headers(raw),
        body="digest",
        body_bytes=len(body),
        read_body=lambda: body,
        timeout=None,
    )
    assert call.act is Act.REMOTE
    return call.repeat


@pytest.mark.parametrize(
    "rules",
    [
        HostRules(),
        HostRules(repeat={"other.example": {"any"}}),
        HostRules(repeat={"api.example:443": {"any"}}),
        HostRules(repeat={"api.example": {"search"}}),
        HostRules(repeat={"example": {"any"}, "*.api.example": {"any"}}),
    ],
    ids=["off", "another host", "another port", "another preset", "other names"],
)
def test_a_read_of_a_host_that_is_not_listed_is_not_repeated_and_the_preset_is_named(
    rules: HostRules,
) -> None:
    repeat = repeat_of(rules)

    assert repeat.seconds_max == 0
    assert repeat.why == (
        "a GraphQL read: `--repeat api.example:8443:graphql-reads` would repeat such calls unasked"
    )
    assert not repeat.is_listed


@pytest.mark.parametrize("host", ["api.example", "api.example:8443", "*.example"])
@pytest.mark.parametrize("preset", ["graphql-reads", "any"])
def test_a_read_of_a_listed_host_is_repeated_at_any_age(host: str, preset: str) -> None:
    repeat = repeat_of(HostRules(repeat={host: {preset}}))

    assert repeat.seconds_max == math.inf
    assert repeat.is_listed


def test_a_host_listed_for_any_call_is_asked_about_nothing() -> None:
    rules = HostRules(repeat={"api.example": {"any"}})

    assert repeat_of(rules, method="PATCH").seconds_max == math.inf
    assert repeat_of(rules, method="PUT", If_Match="x").seconds_max == math.inf


def test_a_host_may_remember_keys_for_another_time_than_a_day() -> None:
    rules = HostRules(key_s={"api.example": 3600.0}, put_s=60.0)

    keyed = repeat_of(rules, Idempotency_Key="k")

    assert (keyed.seconds_max, keyed.why) == (3600, "Idempotency-Key, within 1 h")
    assert repeat_of(HostRules(), Idempotency_Key="k").seconds_max == 86_400
    assert repeat_of(rules, method="DELETE").seconds_max == 60
