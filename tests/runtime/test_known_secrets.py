"""Registered values: redacted where they are shown, sealed where replay needs them (H18)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from durable_kernel.errors import SealedSecretError
from durable_kernel.runtime import records_of
from durable_kernel.store import Store
from tests.runtime.canary import TokenSite, hidden_in, plant
from tests.runtime.notebooks import RUN_ID, Notebook, Service, Session
from tests.runtime.test_canary import NAMES

IMPORT = "import durable_kernel as durable\n"


@pytest.fixture
def word(notebook: Notebook) -> str:
    found = plant("word")
    notebook.names["word"] = found
    return found


@pytest.fixture
def site(notebook: Notebook) -> Iterator[TokenSite]:
    found = TokenSite({name: plant(name.replace(" ", "_")) for name in NAMES})
    notebook.names["url"] = found.url
    yield found
    found.close()


def told(session: Session) -> str:
    return " ".join(session.run.take_notices())


# --- durable.secret -----------------------------------------------------------------------------


def test_a_secret_is_read_once_and_replayed_as_it_was(
    notebook: Notebook, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was changed since: what the run did rests on the old one."""
    monkeypatch.setenv("MY_OWN_WORD", word)
    live = notebook.lived(IMPORT + "got = durable.secret('MY_OWN_WORD')\nprint(got)")
    monkeypatch.setenv("MY_OWN_WORD", "another-word")

    again = notebook.replayed()

    assert again.namespace["got"] == word
    assert again.shown == live.shown
    assert again.text() == "‹secret MY_OWN_WORD›\n"
    assert hidden_in(notebook.home, {"word": word}) == {}


def test_what_the_reader_of_a_secret_raises_is_raised_again(notebook: Notebook) -> None:
    calls: list[str] = []

    def read() -> str:
        calls.append("asked")
        raise PermissionError(13, "the keyring is locked")

    notebook.names["read"] = read
    live = notebook.lived(
        IMPORT + "try: durable.secret('x', read=read)\nexcept OSError as e: print(repr(e))"
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    assert "keyring is locked" in again.text()
    assert calls == ["asked"]


def test_a_secret_that_is_no_text_is_refused(notebook: Notebook) -> None:
    live = notebook.lived(
        IMPORT + "try: durable.secret('x', read=lambda: None)\nexcept TypeError as e: print(e)"
    )

    assert live.text() == "the secret x is a NoneType, not a str\n"


@pytest.mark.parametrize("value", ["''", "'abc'", "'   a   '", "b'abc'"])
def test_a_value_that_stands_everywhere_is_not_registered(notebook: Notebook, value: str) -> None:
    live = notebook.lived(
        IMPORT + f"try: durable.register_secret({value})\nexcept ValueError as e: print(e)"
    )

    assert "at least 4 characters" in live.text()


# --- source code --------------------------------------------------------------------------------


def test_source_with_a_registered_value_is_kept_encrypted_and_runs_again(
    notebook: Notebook, word: str
) -> None:
    notebook.lived(IMPORT + "durable.register_secret(word, 'w')", f"x = '{word}!'")

    with notebook.session() as session:
        session.recover()
        shown = [each.cell.source for each in session.run.read_outline().positions]

    assert session.namespace["x"] == word + "!"
    assert shown[1] == "x = '‹secret w›!'"
    assert hidden_in(notebook.home, {"word": word}) == {}


def test_whoever_writes_a_secret_into_source_is_told(notebook: Notebook, word: str) -> None:
    """Before it is known, the source is on disk already; afterwards it is kept encrypted."""
    with notebook.session() as session:
        session.execute(f"early = '{word}'", IMPORT + "durable.register_secret(early, 'w')")
        first = told(session)
        session.execute(f"late = '{word}'")
        second = told(session)

    assert "cell 0: its source holds the value of w, which was registered after" in first
    assert "cell 2: its source holds the value of a secret" in second
    assert word not in first + second


def test_a_failed_cell_with_a_secret_in_its_source_is_known_again(
    notebook: Notebook, service: Service, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The sources are compared as they are executed, not as they are shown."""
    monkeypatch.setenv("CANARY_TOKEN", word)
    cell = f"x = [service.look('a'), service.look('{word}')]\nif fails: raise ValueError"
    notebook.names["fails"] = True
    assert notebook.matched("y = 1", cell).status == "error"
    notebook.names["fails"] = False

    done = notebook.matched("y = 1", cell)

    assert done.status == "ok"
    assert service.requests == ["a", word, word]
    assert hidden_in(notebook.home, {"word": word}) == {}


# --- errors, results, labels ----------------------------------------------------------------------


def test_an_error_with_a_registered_value_is_raised_again_as_it_was(
    notebook: Notebook, word: str
) -> None:
    notebook.lived(
        IMPORT + "durable.register_secret(word)\n"
        "def fails(): raise KeyError('no', word, 7)\n"
        "try: durable.step(fails)()\nexcept KeyError as e: args = e.args"
    )

    with notebook.session() as session:
        session.recover()
        log = session.run.log()

    assert session.namespace["args"] == ("no", word, 7)
    assert word not in repr(log)
    assert "‹secret of the notebook›" in repr(log)


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_result_with_a_registered_value_is_sealed_as_a_whole(
    notebook: Notebook, word: str, size: int
) -> None:
    notebook.lived(
        IMPORT + "durable.register_secret(word)\n"
        f"x = durable.step(lambda: ['a' * {size}, {{'w': {{word}}}}, (1, word)])()"
    )

    again = notebook.replayed()

    assert again.namespace["x"] == ["a" * size, {"w": {word}}, (1, word)]
    assert hidden_in(notebook.home, {"word": word}) == {}


def test_a_rotated_secret_in_an_address_and_a_body_is_no_other_call(
    notebook: Notebook, site: TokenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H18: it comes from the environment, which is not recorded; the call is the same."""
    source = (
        "import httpx, os\nt = os.environ['CANARY_TOKEN']\n"
        "r = httpx.post(f'{url}/x/{t}', params={'token': t}, json={'auth': t}, auth=('me', t))\n"
        "print(r.json())"
    )
    monkeypatch.setenv("CANARY_TOKEN", plant("first"))
    live = notebook.lived(source)
    monkeypatch.setenv("CANARY_TOKEN", plant("second") + "-which-is-longer")

    again = notebook.replayed()

    assert again.run.latch is None, again.run.latch
    assert again.shown == live.shown
    assert len(site.asked) == 1


def test_an_act_that_is_not_recorded_is_told_without_the_secret(
    notebook: Notebook, word: str, tmp_path: object
) -> None:
    notebook.names["folder"] = tmp_path
    with notebook.session() as session:
        session.execute(
            IMPORT + "durable.register_secret(word, 'w')",
            "open(folder / f'{word}.txt', 'w').close()",
        )
        sentences = told(session) + repr(session.run.status())

    assert "‹secret w›.txt" in sentences
    assert word not in sentences
    assert hidden_in(notebook.folder, {"word": word}) == {}


# --- answers --------------------------------------------------------------------------------------

CLIENTS = {
    "httpx": "import httpx\ndef ask(path):\n    r = httpx.get(url + path)\n"
    "    return r.text, str(r.headers.raw)",
    "requests": "import requests\ndef ask(path):\n    r = requests.get(url + path)\n"
    "    return r.text, str(r.raw.headers)",
    "urllib": "import urllib.request\ndef ask(path):\n"
    "    with urllib.request.urlopen(url + path) as r: return r.read().decode(), str(r.headers)",
    "aiohttp": "import aiohttp, asyncio\nasync def aask(path):\n"
    "    async with aiohttp.ClientSession() as c, c.get(url + path) as r:\n"
    "        return await r.text(), str(r.raw_headers)",
}
PATHS = {
    "/cookie": "cookie answer",
    "/oauth/token": "oauth refresh",
    "/form": "form token",
    "/chunks": "chunked secret",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_gets_its_tokens_again_and_no_reader_of_the_disk_does(
    notebook: Notebook, site: TokenSite, client: str, path: str
) -> None:
    is_async = client == "aiohttp"
    call = f"got = {'await a' if is_async else ''}ask({path!r})\nprint(got)"
    live = notebook.lived(CLIENTS[client], call)
    asked = list(site.asked)

    again = notebook.replayed()

    token = site.canaries[PATHS[path]]
    assert token in "".join(again.namespace["got"])
    assert again.shown == live.shown
    assert token not in again.text()
    assert site.asked == asked
    assert hidden_in(notebook.home, site.canaries) == {}


def test_an_answer_that_a_person_gave_is_sealed_if_it_holds_a_token(
    notebook: Notebook, site: TokenSite, word: str
) -> None:
    source = "import httpx\nprint(httpx.post(url + '/x', json=1).json())"
    with notebook.session(may_die=True) as session:
        session.run.port.record_end = lambda *_: session.die()  # type: ignore[method-assign]
        session.execute(source)
    answer = {"status": 200, "json": {"access_token": word}}
    with notebook.session() as session:
        session.when_parked(
            lambda: session.run.resolve(None, "answer", json.dumps(answer).encode())
        )
        session.recover()

    assert "access_token" in session.text()
    assert hidden_in(notebook.folder, {"word": word}) == {}


# --- answers that were cut ------------------------------------------------------------------------


def test_a_token_answer_that_was_cut_is_sealed_on_both_sides_of_the_cut(
    notebook: Notebook, site: TokenSite
) -> None:
    """The name of the token is before the cut, its value behind it: the prefix is looked at."""
    source = (
        "import httpx\nseen = b''\nwith httpx.stream('GET', url + '/chunks') as r:\n"
        "    for part in r.iter_raw(7):\n        seen += part\n        print(len(seen))\n"
        "        if len(seen) > {at}: die()\n"
    )
    notebook.died(source.format(at=14))

    again = notebook.replayed()

    assert site.canaries["chunked secret"].encode() in again.namespace["seen"]
    assert hidden_in(notebook.home, site.canaries) == {}


def test_who_has_the_key_of_another_run_reads_no_token(notebook: Notebook, site: TokenSite) -> None:
    notebook.lived("import httpx\nt = httpx.get(url + '/oauth/token').json()")
    store = Store(notebook.home)
    other = records_of(store, "another run", with_objects=False)
    mine = records_of(store, RUN_ID, with_objects=False)
    frames = list(store.frames(store.get(RUN_ID)))

    theirs = repr([other.unpack(each) for each in frames])

    assert site.canaries["oauth access"] not in theirs
    assert "‹sealed›" in theirs
    assert site.canaries["oauth access"] not in repr([mine.unpack(each) for each in frames])


@pytest.mark.parametrize("what", ["parts", "large parts", "source"])
def test_what_a_lost_key_sealed_stops_the_replay_before_anything_is_sent(
    notebook: Notebook, site: TokenSite, word: str, what: str
) -> None:
    cells = {
        "parts": [
            "import httpx\ntry: t = httpx.get(url + '/chunks').text\nexcept Exception: t = 0"
        ],
        "large parts": [
            IMPORT + "import httpx\ndurable.register_secret(page, 'p')\n"
            "try: t = httpx.get(url + '/page').text\nexcept Exception: t = 0"
        ],
        "source": [IMPORT + "durable.register_secret(word, 'w')", f"t = '{word}'"],
    }
    notebook.names["page"] = site.canaries["answer page"]
    notebook.lived(*cells[what])
    asked = list(site.asked)
    (notebook.home / "key").write_bytes(b"\x01" * 32)
    store = Store(notebook.home)
    store.trust(store.get(RUN_ID))

    with notebook.session() as session, suppress(SealedSecretError):
        session.recover()

    assert "t" not in session.namespace
    assert site.asked == asked
