"""botocore, which sits on urllib3 with connections of its own, against a made-up object store."""

from __future__ import annotations

from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest

from durable_kernel.errors import RequestInterrupted
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import record_and_replay, run


@pytest.fixture
def client(service: HttpService, hooked: FakeWitness) -> Any:
    session = botocore.session.Session()
    session.set_credentials("AKIAMADEUP", "made-up-secret")
    made = session.create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=service.origin,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
    hooked.crossings.clear()  # models and certificates are read while a client is made
    yield made
    made.close()


def facts_of(answer: dict[str, Any]) -> dict[str, Any]:
    body = answer.get("Body")
    return {**answer, "Body": None if body is None else (type(body), body.read())}


def test_objects_are_put_and_got_again(
    client: Any, service: HttpService, hooked: FakeWitness
) -> None:
    def scenario() -> Any:
        put = facts_of(client.put_object(Bucket="bucket", Key="table.csv", Body=b"a,b\n" * 1000))
        got = facts_of(client.get_object(Bucket="bucket", Key="table.csv"))
        return put, got

    (_, got), port = record_and_replay(service, scenario)

    assert got["Body"][1] == b"a,b\n" * 1000
    assert [call.identity["method"] for call in port.calls] == ["PUT", "GET"]
    assert "made-up-secret" not in repr(port.journal())
    assert hooked.acts == []


def test_an_error_of_the_store_is_raised_again(client: Any, service: HttpService) -> None:
    def scenario() -> Any:
        try:
            client.get_object(Bucket="bucket", Key="none")
        except botocore.exceptions.ClientError as error:
            return str(error), error.response

    (message, _), _ = record_and_replay(service, scenario)

    assert "NoSuchKey" in message


def test_a_body_is_streamed_in_pieces(client: Any, service: HttpService) -> None:
    def scenario() -> Any:
        client.put_object(Bucket="bucket", Key="lines", Body=b"one\ntwo\n" * 500)
        body = client.get_object(Bucket="bucket", Key="lines")["Body"]
        return [next(body.iter_chunks(100)), *body.iter_lines()]

    found, _ = record_and_replay(service, scenario)

    assert found[-1] == b"two"


def test_retries_of_botocore_do_not_repeat_an_act_in_doubt(
    client: Any, service: HttpService
) -> None:
    """A PUT may be repeated within minutes; a POST may not, however often botocore tries."""

    def scenario() -> Any:
        return client.create_multipart_upload(Bucket="bucket", Key="large")

    live = FakePort()
    run(live, scenario)
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    assert service.hits() == hits
