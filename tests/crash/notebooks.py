"""Generated notebooks: a small grammar of cells, drawn from a seed.

A notebook is made of blocks; each block exercises one effect and prints every value that it got, so
that whatever a replay gets wrong shows up in a text that somebody has seen. What a block did goes
into `seen`, and later blocks print a digest of it: a value that changed unseen changes those.

Every line is known by the effect of its block, so that a moment of a running cell is known as well.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.crash.lanes import LANE_BLOCKS, LANE_EFFECTS, LANE_LAST, LANE_SETUP

__all__ = ["EFFECTS", "EXPECTED_ERROR", "Cell", "Notebook", "make_notebook"]

EFFECTS = (
    "get",
    "stream",
    "post",
    "keyed",
    "declared",
    "put",
    "await",
    "caught",
    "raised",
    "step",
    *LANE_EFFECTS,
    "entropy",
    "clock",
    "random",
    "sleep",
    "pure",
)

EXPECTED_ERROR = "ValueError: made up"
"""How an error of a cell begins that is meant to have one."""

_SETUP = """\
import asyncio, datetime, hashlib, os, random, secrets, sys, time, uuid
import httpx
import numpy as np
import durable_kernel as durable
client = httpx.Client(timeout=60, verify=False, trust_env=False)
seen, last_mono = [], 0.0
def digest():
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:12]
def note(name, *values):
    seen.append((name, values))
    print(name, *values)"""

_SIZED = re.compile(r"(/(?:get|stream)/[\w-]+)(?:\?bytes=\d+)?\"(?! \+)")
_LARGE = r'\1?bytes=200000"'
_Draw = random.Random
_Block = Callable[[_Draw, str, str], str]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's source, and the effect that each of its lines belongs to (line 1 first)."""

    source: str
    effects: tuple[str, ...] = ("",)

    def effect_at(self, line: int) -> str:
        return self.effects[min(line, len(self.effects)) - 1]


@dataclass(frozen=True, slots=True)
class Notebook:
    """Cells in order; the first one imports."""

    cells: tuple[Cell, ...]


def make_notebook(
    draw: _Draw, case: str, origin: str, effect: str, *, is_large: bool = False
) -> Notebook:
    """Draw a notebook of 4 to 6 cells behind the first, at least 3 of which end with `effect`.

    `is_large`: answers to requests that change nothing fill blobs.
    """
    count = draw.randint(4, 6)
    focused = set(draw.sample(range(count), k=draw.randint(3, count)))
    setup = f"{_SETUP}\n{LANE_SETUP}"
    cells = [Cell(setup, ("pure",) * len(setup.splitlines()))]
    for index in range(count):
        effects = [draw.choice(EFFECTS) for _ in range(draw.randint(0, 2))]
        effects.append(effect if index in focused else draw.choice(EFFECTS))
        cells.append(_make_cell(draw, effects, f"{case}-{index + 1}", origin))
    cells.append(Cell(LANE_LAST, ("outlive",) * len(LANE_LAST.splitlines())))
    if is_large:
        cells = [replace(cell, source=_SIZED.sub(_LARGE, cell.source)) for cell in cells]
    return Notebook(tuple(cells))


def _make_cell(draw: _Draw, effects: list[str], name: str, origin: str) -> Cell:
    lines: list[str] = []
    by_line: list[str] = []
    for index, effect in enumerate(effects):
        block = draw.choice(_BLOCKS[effect])(draw, f"{name}-{index}", origin)
        if draw.random() < 0.3:
            block += "\nprint('so far', digest(), file=sys.stderr)"
        lines += block.splitlines()
        by_line += [effect] * len(block.splitlines())
    return Cell("\n".join(lines), tuple(by_line))


# --- requests -------------------------------------------------------------------------------------


def _get(draw: _Draw, rid: str, origin: str) -> str:
    size = draw.choice([0, 0, 640, 90_112])
    return f"""\
r = client.get("{origin}/get/{rid}?bytes={size}")
note("get", r.status_code, r.elapsed, r.headers["date"], r.json()["number"])
note("body", hashlib.sha256(r.content).hexdigest())"""


def _get_many(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
for n in range({draw.randint(2, 4)}):
    r = client.get("{origin}/get/{rid}-" + str(n))
    note("get", n, r.json())"""


def _stream(draw: _Draw, rid: str, origin: str) -> str:
    size = draw.choice([24, 24, 5_000, 400_000])
    return f"""\
with client.stream("GET", "{origin}/stream/{rid}?bytes={size}") as r:
    note("head", r.status_code, r.headers["date"])
    for part in r.iter_raw():
        note("part", len(part), hashlib.sha256(part).hexdigest()[:8])
note("stream", r.elapsed)"""


def _stream_lines(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
with client.stream("GET", "{origin}/stream/{rid}") as r:
    for n, part in enumerate(r.iter_bytes(chunk_size={draw.choice([7, 24, 60])})):
        if n < 20:
            note("bytes", n, part, time.time())"""


def _stream_left(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
with client.stream("GET", "{origin}/stream/{rid}") as r:
    note("first", next(r.iter_bytes()))
note("left", r.is_closed, r.is_stream_consumed)"""


def _streams(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
with client.stream("GET", "{origin}/stream/{rid}-a") as one:
    with client.stream("GET", "{origin}/stream/{rid}-b") as other:
        for pair in zip(one.iter_raw(), other.iter_raw()):
            note("pair", *pair)
note("pairs", one.elapsed, other.is_stream_consumed)"""


def _post(draw: _Draw, rid: str, origin: str) -> str:
    body = draw.choice(['{"n": 1}', '{"token": str(uuid.uuid4())}', '{"at": time.time()}'])
    return f"""\
try:
    r = client.post("{origin}/post/{rid}", json={body})
    note("post", r.status_code, r.json())
except httpx.HTTPError as error:
    note("post failed", type(error).__name__)"""


def _post_stream(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
try:
    with client.stream("POST", "{origin}/post/{rid}", content=b"order") as r:
        note("post answers", r.status_code)
        for part in r.iter_raw():
            note("post part", part)
except httpx.HTTPError as error:
    note("post broke", type(error).__name__)"""


def _post_again(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
for attempt in range(2):
    try:
        r = client.post("{origin}/post/{rid}-" + str(attempt) + "?slow=1", timeout=0.03)
        note("post was quick", r.json())
        break
    except httpx.HTTPError as error:
        note("post", attempt, type(error).__name__, isinstance(error, httpx.TimeoutException))"""


def _keyed(draw: _Draw, rid: str, origin: str) -> str:
    key = draw.choice(["durable.idempotency_key()", "uuid.uuid4().hex"])
    return f"""\
r = client.post("{origin}/keyed/{rid}", headers={{"Idempotency-Key": {key}}}, json=[1])
note("keyed", r.status_code, r.json())"""


def _declared(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
with durable.idempotent():
    r = client.post("{origin}/declared/{rid}", json=[2])
note("declared", r.json())"""


def _put(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
r = client.put("{origin}/put/{rid}", content=b"{draw.randint(0, 99)}")
note("put", r.json(), r.elapsed)"""


def _await(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
async with httpx.AsyncClient(timeout=60, verify=False, trust_env=False) as web:
    try:
        r = await web.post("{origin}/await/{rid}", json=[random.random()])
        note("await", r.json())
    except httpx.HTTPError as error:
        note("await failed", type(error).__name__)
    note("await get", (await web.get("{origin}/get/{rid}")).json())"""


def _await_timeout(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
async with httpx.AsyncClient(timeout=60, verify=False, trust_env=False) as web:
    try:
        async with asyncio.timeout(0.03):
            note("await was quick", (await web.post("{origin}/await/{rid}?slow=1")).json())
    except TimeoutError:
        note("await timed out")
    except httpx.HTTPError as error:
        note("await failed", type(error).__name__)"""


def _await_stream(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
async with httpx.AsyncClient(timeout=60, verify=False, trust_env=False) as web:
    async with web.stream("GET", "{origin}/stream/{rid}") as r:
        async for part in r.aiter_raw():
            note("async part", part)
            await asyncio.sleep(0.001)
    try:
        note("await", (await web.post("{origin}/await/{rid}")).json())
    except httpx.HTTPError as error:
        note("await failed", type(error).__name__)"""


def _caught(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
try:
    r = client.post("{origin}/caught/{rid}", json=[3])
    note("caught", r.json())
except durable.RequestInterrupted:
    done = client.get("{origin}/did/{rid}").json()["acts"]
    note("in doubt, acts", done)
    if not done:
        note("again", client.post("{origin}/caught/{rid}?again=1", json=[3]).json())
except httpx.HTTPError as error:
    note("caught failed", type(error).__name__)"""


def _raised(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
try:
    note("raised", client.post("{origin}/raised/{rid}", json=[4]).json())
except durable.RequestInterrupted:
    uuid.uuid4(), time.time(), client.get("{origin}/did/{rid}").json()
    raise
except httpx.HTTPError as error:
    note("raised failed", type(error).__name__)"""


def _step(draw: _Draw, rid: str, origin: str) -> str:
    result = draw.choice(
        [
            "answer",
            "(answer, random.random())",
            "(answer, np.arange(3))",
            "(answer, len(os.urandom(99_000)), np.arange(20_000))",
        ]
    )
    return f"""\
@durable.step(name="POST {origin}/step/{rid}")
def charge(amount):
    answer = client.post("{origin}/step/{rid}", json=amount).json()
    return {result}
try:
    note("step", charge({draw.randint(1, 9)}), random.random())
except durable.DurableError as error:
    note("step failed", type(error).__name__)"""


def _step_error(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
@durable.step(name="POST {origin}/step/{rid}")
def refuse(amount):
    raise ValueError(client.post("{origin}/step/{rid}", json=amount).json()["number"])
try:
    note("step answered", refuse(1))
except ValueError as error:
    note("step raised", error.args, repr(error))
except durable.DurableError as error:
    note("step failed", type(error).__name__)"""


def _step_declared(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
@durable.step(name="POST {origin}/declared/{rid}", idempotent=True)
def store(value):
    random.random()
    return client.post("{origin}/declared/{rid}", json=value).json(), np.random.rand()
note("stored", store([5]), random.random(), np.random.rand())"""


def _step_async(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
@durable.step(name="POST {origin}/await/{rid}")
async def charge(amount):
    async with httpx.AsyncClient(timeout=60, verify=False, trust_env=False) as web:
        await asyncio.sleep(0.001)
        return (await web.post("{origin}/await/{rid}", json=amount)).json()
try:
    note("async step", await charge(7))
except durable.DurableError as error:
    note("async step failed", type(error).__name__)"""


# --- observations and computing -------------------------------------------------------------------


def _entropy(draw: _Draw, _rid: str, _origin: str) -> str:
    drawn = draw.sample(
        [
            "uuid.uuid4()",
            "os.urandom(8).hex()",
            "secrets.token_hex(4)",
            "np.random.default_rng().random()",
            "random.Random().random()",
            "random.SystemRandom().randrange(1000)",
            "uuid.uuid1()",
        ],
        k=3,
    )
    return f"""\
note("drawn", {drawn[0]})
first, second = {drawn[1]}, {drawn[2]}
time.sleep({draw.choice([0, 0.002, 0.004])})
note("drawn", first, second)"""


def _clock(draw: _Draw, _rid: str, _origin: str) -> str:
    return f"""\
started = time.monotonic()
assert started >= last_mono, ("monotonic ran back", started, last_mono)
note("clock", started, time.time(), datetime.datetime.now().isoformat())
time.sleep({draw.choice([0, 0.002, 0.004])})
last_mono = time.monotonic()
assert last_mono >= started, ("monotonic ran back", started, last_mono)
note("took", last_mono - started, time.perf_counter_ns(), time.strftime("%H:%M:%S"))"""


def _random(draw: _Draw, _rid: str, _origin: str) -> str:
    seeding = draw.choice(["", "random.seed(5); np.random.seed(7)\n"])
    return f"""\
{seeding}note("random", random.random(), random.randrange(1000), np.random.rand())
note("normal", np.random.normal(), random.sample(range(100), 3))"""


def _sleep(draw: _Draw, _rid: str, _origin: str) -> str:
    seconds = draw.choice([0.003, 0.01, 0.02, 0.12])
    return f"""\
before = time.time()
time.sleep({seconds})
note("slept", time.time() - before)"""


def _sleep_async(_draw: _Draw, _rid: str, _origin: str) -> str:
    return """\
note("sleeping")
await asyncio.sleep(0.004)
note("awake", time.time())"""


def _pure(draw: _Draw, _rid: str, _origin: str) -> str:
    return f"""\
for n in range({draw.randint(2, 5)}):
    note("sum", n, sum(range(n * 1000)))
print("seen", len(seen), digest(), file=sys.stderr)"""


def _pure_large(draw: _Draw, _rid: str, _origin: str) -> str:
    return f"""\
print("{draw.choice("xyz")}" * 80_000)
note("printed much")"""


def _pure_error(draw: _Draw, _rid: str, _origin: str) -> str:
    return f"""\
note("before the error")
raise ValueError("made up %d " % {draw.randint(0, 9)} + digest())"""


_BLOCKS: dict[str, tuple[_Block, ...]] = {
    **LANE_BLOCKS,
    "get": (_get, _get_many),
    "stream": (_stream, _stream_lines, _stream_left, _streams),
    "post": (_post, _post, _post_stream, _post_again),
    "keyed": (_keyed,),
    "declared": (_declared, _step_declared),
    "put": (_put,),
    "await": (_await, _await_stream, _await_timeout, _step_async),
    "caught": (_caught,),
    "raised": (_raised,),
    "step": (_step, _step, _step_error),
    "entropy": (_entropy,),
    "clock": (_clock,),
    "random": (_random,),
    "sleep": (_sleep, _sleep_async),
    "pure": (_pure, _pure, _pure_large, _pure_error),
}
