"""What a user lists about hosts, and a DELETE that was repeated: with deaths, and on disk (H21)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from durable_kernel.errors import RunSuspendedError, UsageError
from durable_kernel.ports import HostRules
from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime import Settings
from tests.runtime.notebooks import Notebook, Session
from tests.runtime.sites import Site

DELETES = "import httpx\nr = httpx.delete(url + '/order/7')\nprint(r.status_code, r.text)"
DELETES_BY = {
    "httpx": DELETES,
    "requests": (
        "import requests\nr = requests.delete(url + '/order/7')\nprint(r.status_code, r.text)"
    ),
    "http.client": (
        "import http.client\nc = http.client.HTTPConnection(url.removeprefix('http://'))\n"
        "c.request('DELETE', '/order/7')\n"
        "with c.getresponse() as r: print(r.status, r.read().decode())\nc.close()"
    ),
    "aiohttp": (
        "import aiohttp, asyncio\n"
        "async def delete():\n"
        "    async with aiohttp.ClientSession() as s, s.delete(url + '/order/7') as r:\n"
        "        print(r.status, await r.text())\n"
        "asyncio.run(delete())"
    ),
}
READS = "import httpx\nr = httpx.post(url + '/graphql', json={'query': '{ me { name } }'})"
PAYS = "import httpx\nr = httpx.post(url + '/pay', json={'n': 1})"


@pytest.fixture
def site(notebook: Notebook) -> Iterator[Site]:
    found = Site()
    notebook.names["url"] = found.url
    yield found
    found.close()


def die_behind_the_request(notebook: Notebook, source: str, **settings: Any) -> None:
    """Die when the answer is there and not written: the widest moment of doubt."""
    with notebook.session(may_die=True, **settings) as session:
        session.run.port.record_end = lambda *_: session.die()  # type: ignore[method-assign]
        session.execute(source)
    assert session.image is not None


def resolved(notebook: Notebook, *decision: Any) -> Session:
    with notebook.session() as session:
        session.when_parked(lambda: session.run.resolve(None, *decision))
        session.recover()
    return session


# --- a repeated DELETE ----------------------------------------------------------------------------


def test_a_repeated_delete_that_finds_nothing_stops_a_run_that_may_not_ask(
    notebook: Notebook, site: Site
) -> None:
    die_behind_the_request(notebook, DELETES)

    stopped = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == [3]
    assert isinstance(stopped.run.latch, RunSuspendedError)
    assert "It was repeated, and was answered 404 Not Found" in str(stopped.run.latch)
    assert stopped.run.read_outline().status == "in doubt"
    assert site.asked == ["DELETE /order/7"] * 2


@pytest.mark.parametrize("source", DELETES_BY.values(), ids=DELETES_BY)
def test_a_repeated_delete_waits_and_shows_what_came_back(
    source: str, notebook: Notebook, site: Site
) -> None:
    die_behind_the_request(notebook, source)
    statuses: list[dict[str, Any]] = []

    with notebook.session() as session:

        def look() -> None:
            statuses.append(session.run.status())
            session.run.resolve(None, "answer", b'{"status": 204}')

        session.when_parked(look)
        session.recover()

    (waiting,) = statuses[0]["in_doubt"]
    assert "404 Not Found" in waiting["what"]
    assert session.text() == "204 \n"
    assert notebook.replayed().text() == "204 \n"
    assert site.asked == ["DELETE /order/7"] * 2


@pytest.mark.parametrize("source", DELETES_BY.values(), ids=DELETES_BY)
def test_a_delete_that_a_person_sends_again_is_answered_by_whatever_comes(
    source: str, notebook: Notebook, site: Site
) -> None:
    """They know that it may find nothing: asked once more, they would be asked for ever."""
    die_behind_the_request(notebook, source)

    session = resolved(notebook, "retry", None)

    assert session.text() == "404 what?\n"
    assert notebook.replayed().text() == "404 what?\n"
    assert site.asked == ["DELETE /order/7"] * 3


def test_a_repeated_delete_is_an_interruption_where_the_code_names_it(
    notebook: Notebook, site: Site
) -> None:
    source = (
        "import httpx, durable_kernel as durable\n"
        "try:\n    httpx.delete(url + '/order/7')\n"
        "except durable.RequestInterrupted:\n    print('looked it up')"
    )
    die_behind_the_request(notebook, source)

    session = notebook.replayed()

    assert session.text() == "looked it up\n"
    assert notebook.replayed().text() == "looked it up\n"
    assert site.asked == ["DELETE /order/7"] * 2


def test_a_repeated_delete_in_doubt_is_not_repeated_unasked_again(
    notebook: Notebook, site: Site
) -> None:
    """Each time the run is opened it is asked about, with what came back."""
    die_behind_the_request(notebook, DELETES)
    for _ in range(3):
        stopped = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    session = resolved(notebook, "answer", b'{"status": 200, "body": "it was us"}')

    assert "was repeated, and was answered 404 Not Found" in str(stopped.run.latch)
    assert session.text() == "200 it was us\n"
    assert site.asked == ["DELETE /order/7"] * 2


# --- listed hosts ---------------------------------------------------------------------------------


def test_a_doubt_names_the_preset_that_would_have_repeated_it(
    notebook: Notebook, site: Site
) -> None:
    die_behind_the_request(notebook, READS)

    stopped = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    host = site.url.removeprefix("http://")
    assert (
        f"It is a GraphQL read: `--repeat {host}:graphql-reads` would repeat such calls unasked."
    ) in str(stopped.run.latch)
    assert site.asked == ["POST /graphql"]


@pytest.mark.parametrize("is_listed_before", [True, False])
def test_a_read_of_a_listed_host_is_repeated_unasked(
    notebook: Notebook, site: Site, *, is_listed_before: bool
) -> None:
    """The user's word counts for a call that is in doubt already."""
    listed = HostRules(repeat={"127.0.0.1": {"graphql-reads"}})
    die_behind_the_request(notebook, READS, **({"hosts": listed} if is_listed_before else {}))

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP, hosts=listed)

    assert notebook.left == []
    assert session.namespace["r"].json() == {"id": 7}
    assert site.asked == ["POST /graphql"] * 2


def test_a_post_of_a_host_that_is_listed_for_reads_is_not(notebook: Notebook, site: Site) -> None:
    listed = HostRules(repeat={"127.0.0.1": {"graphql-reads"}})
    die_behind_the_request(notebook, PAYS, hosts=listed)

    notebook.replayed(in_doubt=InDoubtPolicy.STOP, hosts=listed)

    assert notebook.left == [3]
    assert site.asked == ["POST /pay"]


def test_a_post_with_an_injected_key_is_sent_again_with_it(notebook: Notebook, site: Site) -> None:
    """The key is the place in the journal; the setting may be gone by then."""
    die_behind_the_request(notebook, PAYS, hosts=HostRules(inject_key={"127.0.0.1"}))

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert session.namespace["r"].status_code == 200
    assert site.asked == ["POST /pay"] * 2
    first, second = site.keys
    assert first == second
    assert first is not None


def test_an_injected_key_ends_with_its_time(notebook: Notebook, site: Site) -> None:
    hosts = HostRules(inject_key={"127.0.0.1"}, key_s={"127.0.0.1": 3600})
    died_at_ns = 1_700_000_000 * 10**9
    die_behind_the_request(notebook, PAYS, hosts=hosts, wall_ns=lambda: died_at_ns)

    notebook.replayed(
        in_doubt=InDoubtPolicy.STOP, hosts=hosts, wall_ns=lambda: died_at_ns + 3601 * 10**9
    )

    assert notebook.left == [3]
    assert site.asked == ["POST /pay"]


# --- settings -------------------------------------------------------------------------------------


def test_nothing_is_listed_by_default() -> None:
    assert Settings.from_environ({}).hosts == HostRules()


def test_hosts_are_listed_in_the_environment() -> None:
    hosts = Settings.from_environ(
        {
            "DURABLE_REPEAT": "API.example:llm, api.example:search *.b.example,[::1]:80,c:90:oauth",
            "DURABLE_INJECT_KEY": "pay.example,",
            "DURABLE_KEY_HOURS": "pay.example=72",
            "DURABLE_REPEAT_PUT_S": "60",
        }
    ).hosts

    assert hosts == HostRules(
        repeat={
            "api.example": frozenset({"llm", "search"}),
            "*.b.example": frozenset({"any"}),
            "[::1]:80": frozenset({"any"}),
            "c:90": frozenset({"oauth"}),
        },
        inject_key=frozenset({"pay.example"}),
        key_s={"pay.example": 72 * 3600.0},
        put_s=60.0,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DURABLE_REPEAT", "api.example:reads"),
        ("DURABLE_KEY_HOURS", "pay.example"),
        ("DURABLE_KEY_HOURS", "pay.example=long"),
        ("DURABLE_REPEAT_PUT_S", "-1"),
        ("DURABLE_REPEAT_PUT_S", "inf"),
    ],
)
def test_a_list_without_meaning_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        Settings.from_environ({name: value})
