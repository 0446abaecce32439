"""Cells to be interrupted: each a few milliseconds of computing, waiting, sharing and catching.

`make_cells` draws a notebook. Its names are plain values, classes and closures that share things:
a digest tells two states apart, and all of them can be kept.
"""

from __future__ import annotations

import random

__all__ = ["SETUP", "make_cells"]

SETUP = """
import contextlib, random, signal, time
rows = [{'n': n} for n in range(20)]
holder = {'rows': rows, 'first': rows[0]}
seen = []
total = 0
class Sum:
    total = 0
    def __init__(self): self.mine = 0
    def more(self, n): Sum.total += n; self.mine += 1
sums = [Sum()]
def counter():
    n = 0
    def up():
        nonlocal n; n += 1; return n
    return up
up = counter()
own = random.Random(7)
class Late(Exception): pass
def ring(number, frame): seen.append('rung'); raise Late
def plain(number, frame): raise TimeoutError
signal.signal(signal.SIGALRM, ring)
"""

_STEPS = (
    "for n in range({some}): rows[n % 20]['n'] += n; total += n",
    "for n in range({some}): sums[-1].more(n)",
    "sums.append(Sum()); sums[-1].more(1)",
    "for n in range({few}): up()",
    "seen.append(ask('{word}'))",
    "time.sleep(0.00{digit}); seen.append('slept')",
    "print('{word}', total)",
    "for n in range({some}): seen += [random.random(), own.random()]; del seen[:-9]",
    "holder['{word}'] = [rows[{digit}], up]",
    "seen.append(time.time() > 0)",
    "mine_{digit} = {{'up': up, 'row': rows[{digit}], 'all': holder}}",
    "view_{digit} = lambda n=total: (n, len(rows))",
)
_ROUNDS = (
    "{body}",
    "try:\n{body}\nexcept KeyboardInterrupt: seen.append('stop')\n",
    "try:\n{body}\nfinally: seen.append('end'); total += 1\n",
    "with contextlib.suppress(KeyboardInterrupt):\n{body}\n",
    "for turn in range(3):\n    try:\n{deep}\n    except KeyboardInterrupt: seen.append(turn)\n",
    (
        "try:\n    signal.setitimer(signal.ITIMER_REAL, 0.00{digit})\n{body}\n"
        "except Late: seen.append('late')\nfinally: signal.setitimer(signal.ITIMER_REAL, 0)\n"
    ),
    (
        "signal.signal(signal.SIGALRM, plain)\n"
        "try:\n    signal.setitimer(signal.ITIMER_REAL, 0.00{digit})\n{body}\n"
        "except TimeoutError: seen.append('time out')\n"
        "finally:\n    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    signal.signal(signal.SIGALRM, ring)\n"
    ),
    "def work():\n    global total\n{body}\nwork()\n",
)


def make_cells(draw: random.Random) -> list[str]:
    """Draw three cells. Each ends with its timer off."""
    return [_cell(draw) for _ in range(3)]


def _cell(draw: random.Random) -> str:
    steps = [
        each.format(
            some=draw.randint(20, 3000),
            few=draw.randint(1, 200),
            word=draw.choice("abcdefgh"),
            digit=draw.randint(1, 5),
        )
        for each in draw.choices(_STEPS, k=draw.randint(2, 5))
    ]
    shape = draw.choice(_ROUNDS)
    indent = "" if shape == "{body}" else "    "
    body = "\n".join(indent + each for each in steps)
    deep = "\n".join(f"        {each}" for each in steps)
    return shape.format(body=body, deep=deep, digit=draw.randint(1, 5))
