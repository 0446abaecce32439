"""SDKs as they come from the index: openai over httpx2, boto3 over urllib3. No code knows of them.

Recorded against a service in another process, replayed with that service switched off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import openai
import pytest

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import HostRules
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run
from tests.effects.sdk_service import WORDS

Replayed = Callable[[Callable[[], Any]], Any]

ASKED: Any = [{"role": "user", "content": "Erzähl!"}]


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """One for each test, because it is switched off in it."""
    folder = tmp_path_factory.mktemp("service")
    running = HttpService.start(folder, module="tests.effects.sdk_service")
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


@pytest.fixture
def replayed(service: HttpService, witness: FakeWitness) -> Replayed:
    """Run live; switch the service off; run again from the journal, and see the same."""
    return lambda scenario: _replayed(service, witness, scenario)


def _replayed(service: HttpService, witness: FakeWitness, scenario: Callable[[], Any]) -> Any:
    live = FakePort()
    witness.crossings.clear()
    first = run(live, scenario)
    assert witness.acts == []
    service.stop()
    witness.crossings.clear()
    again = FakePort(live.journal())

    second = run(again, scenario)

    assert second == first
    assert (again.made, again.answered) == (0, live.made)
    assert witness.acts == []
    return first


# --- openai ---------------------------------------------------------------------------------------


def model_of(service: HttpService, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-made-up", base_url=service.url("/v1"), **options)


def complete(service: HttpService, model: str = "m", **options: Any) -> Any:
    with model_of(service, **options) as client:
        answer = client.chat.completions.create(model=model, messages=ASKED)
        return type(answer), answer.model_dump(), answer._request_id


def stream(service: HttpService) -> Any:
    with model_of(service) as client:
        answer = client.chat.completions.create(model="m", messages=ASKED, stream=True)
        return type(answer), [(type(each), each.choices[0].delta.content) for each in answer]


def complete_asynchronously(service: HttpService) -> Any:
    async def go() -> Any:
        async with openai.AsyncOpenAI(api_key="k", base_url=service.url("/v1")) as client:
            whole = await client.chat.completions.create(model="m", messages=ASKED)
            answer = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
            return whole.model_dump(), [each.choices[0].delta.content async for each in answer]

    return asyncio.run(go())


def read_raw(service: HttpService) -> Any:
    with model_of(service) as client:
        raw = client.embeddings.with_raw_response.create(
            model="m", input="x", encoding_format="float"
        )
        return type(raw), raw.headers.raw, raw.http_response.content, raw.parse().model_dump()


OPENAI = [complete, stream, complete_asynchronously, read_raw]


@pytest.mark.parametrize("scenario", OPENAI, ids=lambda each: each.__name__)
def test_openai_sees_the_same_without_its_server(
    scenario: Callable[[HttpService], Any], service: HttpService, replayed: Replayed
) -> None:
    assert replayed(lambda: scenario(service))


def test_a_stream_of_openai_is_replayed_word_by_word(
    service: HttpService, replayed: Replayed
) -> None:
    _, words = replayed(lambda: stream(service))

    assert [text for _, text in words] == [f"{word}(1)" for word in WORDS]


def test_an_error_of_openai_is_raised_again(service: HttpService, replayed: Replayed) -> None:
    error = replayed(lambda: complete(service, "unknown"))

    assert error[1] is openai.NotFoundError


def test_attempts_of_openai_are_calls_of_their_own(
    service: HttpService, replayed: Replayed
) -> None:
    answer = replayed(lambda: complete(service, "busy", max_retries=5))

    assert answer[1]["choices"][0]["message"]["content"] == "answer 3"


def test_a_server_that_is_not_there_is_the_same_error_again(
    service: HttpService, witness: FakeWitness, replayed: Replayed
) -> None:
    service.stop()
    witness.crossings.clear()

    error = replayed(lambda: complete(service, max_retries=1))

    assert error[1] is openai.APIConnectionError


def test_openai_does_not_repeat_a_call_in_doubt_however_often_it_retries(
    service: HttpService,
) -> None:
    live = FakePort()
    run(live, lambda: complete(service, max_retries=5))
    cut = live.journal().cut(0, head=False, parts=0)

    with pytest.raises(RequestInterrupted):
        run(FakePort(cut), lambda: complete(service, max_retries=5))

    assert service.hits() == ["POST /v1/chat/completions"]


def test_a_call_of_a_listed_language_model_is_repeated_unasked(service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: complete(service))
    cut = live.journal().cut(0, head=False, parts=0)
    listed = HostRules(repeat={"127.0.0.1": {"llm"}})

    answer = run(FakePort(cut, hosts=listed), lambda: complete(service))

    assert answer[1]["id"] == "c2"
    assert "a call of a language model: `--repeat 127.0.0.1:" in live.calls[0].repeat.why


# --- boto3 ----------------------------------------------------------------------------------------


@pytest.fixture
def store(service: HttpService, witness: FakeWitness) -> Any:
    made = boto3.session.Session("AKIAMADEUP", "made-up-secret", region_name="us-east-1").client(
        "s3",
        endpoint_url=service.origin,
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"}
        ),
    )
    witness.crossings.clear()  # models and certificates are read while a client is made
    yield made
    made.close()


def whole(answer: dict[str, Any]) -> dict[str, Any]:
    body = answer.get("Body")
    return {**answer, "Body": None if body is None else (type(body), body.read())}


def test_boto3_sees_the_same_without_its_server(store: Any, replayed: Replayed) -> None:
    def scenario() -> Any:
        for key in ("a.csv", "b.csv"):
            put = store.put_object(Bucket="bucket", Key=key, Body=b"a,b\n" * 1000)
        head = store.head_object(Bucket="bucket", Key="a.csv")
        got = whole(store.get_object(Bucket="bucket", Key="a.csv"))
        pages = list(store.get_paginator("list_objects_v2").paginate(Bucket="bucket"))
        deleted = store.delete_object(Bucket="bucket", Key="a.csv")
        return put, head, got, pages, deleted

    _, head, got, pages, _ = replayed(scenario)

    assert got["Body"][1] == b"a,b\n" * 1000
    assert head["Metadata"] == {"kind": "made up"}
    assert [each["Contents"][0]["Key"] for each in pages] == ["a.csv", "b.csv"]


def test_an_error_of_boto3_is_raised_again(store: Any, replayed: Replayed) -> None:
    error = replayed(lambda: store.get_object(Bucket="bucket", Key="none"))

    assert issubclass(error[1], botocore.exceptions.ClientError)
    assert "NoSuchKey" in error[2]


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_boto3_does_not_repeat_an_act_in_doubt_however_often_it_retries(
    mode: str, service: HttpService
) -> None:
    """A PUT may be repeated within minutes; a POST may not."""
    retries: Any = {"max_attempts": 5, "mode": mode}
    config = botocore.config.Config(s3={"addressing_style": "path"}, retries=retries)
    session = boto3.session.Session("AKIAMADEUP", "made-up-secret", region_name="us-east-1")
    client = session.client("s3", endpoint_url=service.origin, config=config)

    def scenario() -> Any:
        return client.create_multipart_upload(Bucket="bucket", Key="large")

    live = FakePort()
    run(live, scenario)

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    client.close()
    assert service.hits() == ["POST /bucket/large?uploads"]
