"""Cases by seed: a notebook of a pipeline, which runner has it, and who is killed when. Pure.

A notebook's cells print every value that they got. What is the same in each run is printed as it
is; what the world answered or a generator drew stands behind one of the words in `RANDOM`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.runners.orders import IN_KERNEL, IN_RUNNER, Order

__all__ = ["RUNNERS", "Case", "Source", "make_case", "masked"]

RUNNERS = ("durable", "papermill", "nbclient")

_RANDOM = re.compile(r"\b(number|drawn|at) [\w.:-]+")

_SETUP = """\
import random, sys, time, uuid
import httpx
client = httpx.Client(timeout=15, verify=False, trust_env=False)
total = 0"""


@dataclass(frozen=True, slots=True)
class Source:
    """One code cell. `acts`: the names under which the witness counts what it does."""

    text: str
    acts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One job, and an order for each of its calls that is to be killed.

    `is_named`: the run has a name, and is found by it. `is_in_place`: the notebook is its own
    output. `parameter`: handed in by the runner.
    """

    name: str
    runner: str
    sources: tuple[Source, ...]
    orders: tuple[Order, ...]
    is_named: bool
    is_in_place: bool
    parameter: int | None
    run_id: str


def masked(text: str) -> str:
    """Replace what differs from run to run."""
    return _RANDOM.sub(r"\1 …", text)


def make_case(seed: int, runner: str, number: int, origin: str, *, is_real: bool) -> Case:
    """Make a case. `origin` is where the witness serves, say "http://host:1"."""
    name = f"{'real' if is_real else 'fast'}/{runner}/{number}"
    draw = random.Random(f"{seed}/{name}")
    rid = name.replace("/", "-")
    is_named = runner == "nbclient" or draw.random() < 0.4
    takes_parameters = runner != "nbclient" and draw.random() < 0.5
    kills = draw.choice([1, 1, 2]) if is_real else draw.choice([1, 1, 1, 2, 3])
    return Case(
        name=name,
        runner=runner,
        sources=_sources(draw, runner, rid, origin, takes_parameters=takes_parameters),
        orders=tuple(_order(draw, runner, number, at, is_real=is_real) for at in range(kills)),
        is_named=is_named,
        is_in_place=runner == "durable" and draw.random() < 0.3,
        parameter=draw.randrange(2, 9) if takes_parameters else None,
        run_id=f"nightly-{rid}" if is_named else "",
    )


def _order(draw: random.Random, runner: str, number: int, at: int, *, is_real: bool) -> Order:
    """Draw the order of the call `at`. The three who die take turns: few seeds have each."""
    who = ("kernel", "runner", "both")[(number + at) % 3]
    if is_real:
        if draw.random() < 0.3:
            return Order(who, "timer", draw.randrange(300, 4_000))
        return Order(who, "arrival", draw.randint(1, 5))
    if who != "kernel" and runner != "nbclient" and draw.random() < 0.5:
        return Order(who, IN_RUNNER, draw.randint(1, 40))
    if draw.random() < 0.15:
        return Order(who, "timer", draw.randrange(20, 300))
    if at and draw.random() < 0.4:
        return Order(who, "replay", draw.randint(1, 3))
    moment = draw.choice(IN_KERNEL)
    return Order(who, moment, draw.randint(1, _NTH_MAX.get(moment.partition(".")[0], 8)))


_NTH_MAX = {"opening": 14, "announce": 3, "read": 3, "settle": 3}
"""What a notebook has at least of some moments; of the others it has one for each cell."""

_Block = Callable[[random.Random, str, str], Source]


def _sources(
    draw: random.Random, runner: str, rid: str, origin: str, *, takes_parameters: bool
) -> tuple[Source, ...]:
    known = _BLOCKS if runner == "papermill" else (*_BLOCKS, _expected_error)
    blocks = [_post, _post, *(draw.choice(known) for _ in range(draw.randint(3, 6)))]
    draw.shuffle(blocks)
    made = [block(draw, f"{rid}-{index}", origin) for index, block in enumerate(blocks)]
    first = [Source(_SETUP), *([Source("n = 1", tags=("parameters",))] * takes_parameters)]
    last = Source(f"print('total', total{' * n' if takes_parameters else ''})")
    return (*first, *made, last)


def _post(draw: random.Random, rid: str, origin: str) -> Source:
    return Source(
        f"order = client.post('{origin}/post/{rid}', json={{'n': {draw.randrange(100)}}}).json()\n"
        "print('order', order['rid'], 'acts', order['acts'], 'number', order['number'])",
        acts=(rid,),
    )


def _posts(draw: random.Random, rid: str, origin: str) -> Source:
    count = draw.randint(2, 4)
    return Source(
        f"for i in range({count}):\n"
        f"    order = client.post(f'{origin}/post/{rid}-{{i}}', json={{'i': i}}).json()\n"
        "    print('order', i, 'acts', order['acts'], 'number', order['number'], flush=True)\n"
        f"    time.sleep({draw.choice(['0.01', '0.05'])})\n"
        "    total += order['acts']",
        acts=tuple(f"{rid}-{i}" for i in range(count)),
    )


def _keyed(draw: random.Random, rid: str, origin: str) -> Source:
    return Source(
        f"paid = client.post('{origin}/keyed/{rid}', headers={{'Idempotency-Key': '{rid}'}})\n"
        "print('paid', paid.json()['acts'], 'number', paid.json()['number'])",
        acts=(rid,),
    )


def _step(draw: random.Random, rid: str, origin: str) -> Source:
    return Source(
        "import durable_kernel as durable\n"
        "@durable.step\n"
        "def settle(url):\n"
        "    return client.post(url).json()\n"
        f"print('settled', settle('{origin}/post/{rid}')['acts'])",
        acts=(rid,),
    )


def _get(draw: random.Random, rid: str, origin: str) -> Source:
    return Source(
        f"page = client.get('{origin}/get/{rid}').json()\n"
        "print('page', page['rid'], 'number', page['number'])\n"
        "total += len(page['rid'])"
    )


def _draw(draw: random.Random, rid: str, origin: str) -> Source:
    return Source("print('drawn', uuid.uuid4())\nprint('drawn', random.random())")


def _clock(draw: random.Random, rid: str, origin: str) -> Source:
    return Source("print('at', time.time())\ntime.sleep(0.02)\nprint('at', time.time())")


def _compute(draw: random.Random, rid: str, origin: str) -> Source:
    return Source(
        f"total += sum(range({draw.randrange(1000, 200_000)}))\n"
        "print('subtotal', total)\nprint('warned', file=sys.stderr)"
    )


def _expected_error(draw: random.Random, rid: str, origin: str) -> Source:
    """End with an error that the notebook expects; papermill does not know that tag."""
    return Source("print('before')\n1 / 0", tags=("raises-exception",))


_BLOCKS: tuple[_Block, ...] = (
    *(_post, _posts, _posts, _keyed, _step, _get, _draw, _clock, _compute),
)
