"""Thirty and more secrets go through a run; none is in its store, and the run still works (H18)."""

from __future__ import annotations

import base64
import gzip
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_kernel.effects import prompts
from durable_kernel.ports import CURRENT_LANE
from tests.runtime.canary import TokenSite, hidden_in, plant
from tests.runtime.notebooks import Notebook

NAMES = (
    # of requests
    "bearer header", "basic password", "cookie header", "api key header", "amz token header",
    "proxy header", "odd header", "url user", "url token", "url signature", "url api key",
    "json body", "form body", "multipart file", "file body", "generator body", "hook path",
    # of answers
    "oauth access", "oauth refresh", "id token", "form token", "chunked secret", "cookie answer",
    "answer page", "answer mirror",
    # of the environment
    "environment token", "database password", "proxy password", "dotenv password",
    # of people and code
    "typed", "from keyring", "raised", "uncaught", "shown as html", "shown as base64", "in a url",
    "step result", "in the source", "printed large",
)  # fmt: skip

CONTROLS = {
    "printed": "control-printed-1",
    "gzip": "control-gzip-1",
    "base64": "control-base64-1",
    "url": "control url/1",
    "html": "control<html>1",
    "blob": "control-blob-1",
    "name": "control-step-1",
}

CELLS = (
    # Requests.
    """
import httpx, requests, urllib3, io
with httpx.Client() as c:
    c.get(url + '/a', headers={'Authorization': 'Bearer ' + s['bearer header']})
    c.get(f"http://me:{s['url user']}@{netloc}/a")
    c.get(url + '/a', params={'token': s['url token'], 'page': 2})
    c.post(url + '/a', json={'value': s['json body']})
    def produce():
        yield b'first '
        yield s['generator body'].encode()
    c.post(url + '/a', content=produce())
    c.post(url + '/api/webhooks/1/' + s['hook path'])
requests.get(url + '/a', auth=('me', s['basic password']))
requests.get(url + '/a', cookies={'session': s['cookie header']})
requests.post(url + '/a', data={'field': s['form body']})
requests.post(url + '/a', files={'f': ('name.txt', s['multipart file'])})
pool = urllib3.PoolManager()
pool.request('GET', url + '/a?X-Amz-Signature=' + s['url signature'],
             headers={'X-Api-Key': s['api key header'], 'Proxy-Authorization': s['proxy header']})
pool.request('PUT', url + '/a', body=io.BytesIO(s['file body'].encode()))
""",
    """
import http.client, aiohttp
conn = http.client.HTTPConnection(netloc)
conn.request('GET', '/a', headers={'X-Amz-Security-Token': s['amz token header']})
conn.getresponse().read()
async with aiohttp.ClientSession() as c:
    async with c.get(url + '/a', params={'api_key': s['url api key']},
                     headers={'My-Own': s['odd header']}) as r:
        await r.read()
""",
    # Answers. What they tell is printed: it has to be redacted by itself.
    """
tokens = httpx.post(url + '/oauth/token', data={'grant_type': 'x'}).json()
print(tokens, repr(tokens['refresh_token']))
me = httpx.get(url + '/me', headers={'Authorization': 'Bearer ' + tokens['access_token']}).text
""",
    """
print(requests.get(url + '/profile').json())
conn.request('GET', '/form')
print(conn.getresponse().read())
async with aiohttp.ClientSession() as c:
    async with c.get(url + '/chunks') as r:
        chunks = await r.text()
    print(chunks)
    async with c.get(url + '/cookie') as r:
        print(dict(r.headers), r.cookies)
""",
    # Registered values, in answers of all kinds.
    """
import os, durable_kernel as durable
durable.register_secret(s['answer page'], 'page')
durable.register_secret(s['answer mirror'])
page = requests.get(url + '/page').text
mirror = httpx.get(url + '/mirror').json()
print(mirror, len(page))
print(page[:200])
""",
    # The environment.
    """
print({name: value for name, value in os.environ.items() if name[:7] in 'CANARY_ FTP_PRO'})
print(os.environ['CANARY_TOKEN'], os.environ['CANARY_DATABASE_URL'])
os.environ['CANARY_PASSWORD'] = s['dotenv password']
print(os.environ['CANARY_PASSWORD'])
""",
    # People and code.
    """
typed = ask()
print('typed', typed)
kept = durable.secret('canary', read=lambda: s['from keyring'])
print(f'kept {kept!r}', kept.encode())
import base64, html, urllib.parse
for name in ('raised', 'uncaught', 'shown as html', 'shown as base64', 'in a url', 'step result',
             'printed large'):
    durable.register_secret(s[name], name)
print(base64.b64encode(b'user:' + s['shown as base64'].encode()).decode())
print(urllib.parse.quote_plus('x=' + s['in a url'] + '&'), html.escape('<' + s['shown as html']))
""",
    """
@durable.step
def fails():
    raise ValueError('no ' + s['raised'])
try: fails()
except ValueError as error: message = str(error)
print(message)
result = durable.step(lambda n: {'n': n, 'token': s['step result']})(1)
print('x' * 100_000 + s['printed large'] + 'control-blob-1')
display({'text/html': f"<b title='{s['shown as html']}'>",
         'application/json': {'k': [s['raised']]}})
""",
    """
print('control-printed-1', base64.b64encode(b'control-base64-1').decode())
print(urllib.parse.quote('control url/1'), html.escape('control<html>1'))
durable.step(lambda: 'control-step-1')()
""",
)


@pytest.fixture
def canaries() -> dict[str, str]:
    return {name: plant(name.replace(" ", "_")) for name in NAMES}


@pytest.fixture
def site(
    notebook: Notebook, canaries: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TokenSite]:
    monkeypatch.setenv("CANARY_TOKEN", canaries["environment token"])
    monkeypatch.setenv("CANARY_DATABASE_URL", f"db://me:{canaries['database password']}@h/x")
    monkeypatch.setenv("FTP_PROXY", f"http://me:{canaries['proxy password']}@127.0.0.1:9")
    monkeypatch.setenv("CANARY_PASSWORD", "")
    found = TokenSite(canaries)
    notebook.names.update(s=canaries, url=found.url, netloc=found.netloc)
    yield found
    found.close()


def _prepare(notebook: Notebook, canaries: dict[str, str]) -> list[str]:
    asked: list[str] = []

    def read() -> str:
        asked.append("the person")
        return canaries["typed"]

    def ask() -> str:
        lane = CURRENT_LANE.get()
        assert lane is not None
        return prompts.ask(lane, "Password: ", read, secret=True)

    def display(data: dict[str, Any]) -> None:
        printing: Any = sys.stdout
        printing._execution.output("display_data", {"data": data, "metadata": {}})

    notebook.names.update(ask=ask, display=display)
    return asked


def _sources(canaries: dict[str, str]) -> list[str]:
    """Return the cells; the last ones hold a registered value in their source, and raise one."""
    secret = canaries["environment token"]
    return [
        *CELLS,
        f"literal = {secret!r}",
        "raise RuntimeError('uncaught ' + s['uncaught'] + literal)",
    ]


def test_no_secret_of_thirty_and_more_reaches_the_disk(
    notebook: Notebook,
    site: TokenSite,
    canaries: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H18. The controls, which are no secrets, are found by the same search in each form."""
    asked = _prepare(notebook, canaries)
    live = notebook.lived(*_sources(canaries))
    requests_made = list(site.asked)
    canaries["in the source"] = canaries["environment token"]

    found = hidden_in(notebook.home, {**canaries, **CONTROLS})

    assert found.keys() == CONTROLS.keys()
    assert len(canaries) >= 30
    assert [name for name, value in canaries.items() if value in repr(live.shown)] == []

    monkeypatch.setenv("CANARY_PASSWORD", "")  # a new process begins without it
    again = notebook.replayed()

    assert again.run.latch is None, again.run.latch
    assert again.namespace["tokens"]["access_token"] == canaries["oauth access"]
    assert again.namespace["result"] == {"n": 1, "token": canaries["step result"]}
    assert again.namespace["message"] == "no " + canaries["raised"]
    assert again.namespace["literal"] == canaries["environment token"]
    assert canaries["answer page"] in again.namespace["page"]
    assert again.namespace["mirror"]["you sent"] == canaries["answer mirror"]
    assert canaries["chunked secret"] in again.namespace["chunks"]
    assert again.shown == live.shown
    assert (site.asked, asked) == (requests_made, ["the person"])
    assert hidden_in(notebook.home, canaries) == {}


def test_a_value_that_is_not_secret_is_found_by_the_search(tmp_path: Path) -> None:
    """The search can fail: in a file's name, gzip in base64, and escapes inside of each other."""
    (tmp_path / "name-of-a-file").write_bytes(b"")
    (tmp_path / "packed").write_bytes(b"\x00" + base64.b64encode(gzip.compress(b"deep in a blob")))
    (tmp_path / "escaped").write_bytes(b'"a\\u003cb%26amp;c"')

    found = hidden_in(
        tmp_path, {"a": "name-of-a-file", "b": "deep in a blob", "c": "a<b&c", "d": "not there"}
    )

    assert found == {"a": "name-of-a-file", "b": "packed", "c": "escaped"}


CHILD = """
import os, signal, sys
from pathlib import Path
from durable_kernel.runtime import Settings, open_run, prepare
from durable_kernel.testing.driver import Driver
home, url, is_first = sys.argv[1:]
surroundings = prepare()
run = open_run(Settings(run='canary', home=Path(home)), surroundings=surroundings)
driver = Driver(run, show=lambda at, kind, text: print(kind, text, file=sys.__stdout__, flush=True))
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
driver.namespace.update(url=url, die=kill if is_first == 'first' else int)
is_done = driver.run_all([
    "import httpx\\ntokens = httpx.post(url + '/oauth/token', data={'a': 1}).json()\\ndie()\\n"
    "header = {'Authorization': 'Bearer ' + tokens['access_token']}\\n"
    "r = httpx.get(url + '/me', headers=header)\\nprint(f'{r.status_code} {r.text} {tokens}')",
])
run.close()
sys.exit(0 if is_done else 1)
"""


def test_a_run_killed_after_its_token_came_still_authenticates(
    tmp_path: Path, site: TokenSite, canaries: dict[str, str]
) -> None:
    """H18: a real process and SIGKILL; the token is in the journal, sealed and not redacted."""

    def live(which: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path / "home"), site.url, which]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert live("first").returncode == -signal.SIGKILL

    resumed = live("second")

    assert resumed.returncode == 0, resumed.stderr
    assert "stdout 200 you" in resumed.stdout
    assert (site.asked, site.refused) == (["/oauth/token", "/me"], [])
    assert canaries["oauth access"] not in resumed.stdout
    assert hidden_in(tmp_path / "home", canaries) == {}
