"""A stand-in for the command `durable`, so that the demo is tested without a durable kernel.

Keeps the public contract and nothing else: `run NOTEBOOK -o OUT --run NAME` and `resolve NAME
--retry | --answer FILE`, exit codes 0 and 3, one child process a run started with `-f`. The child
does what `tiny.ipynb` of the test does: asks for all pages, hands in a report, and keeps a line of
each answer in DURABLE_HOME. As a real kernel it ends soon after its runner, and until then holds
the run, so that the next one waits. `FAKE_FORGETS=1` makes it forget all answers, as a kernel
without a journal would. `FAKE_RESTS=4,10` lets its first life rest behind page 4, and its second
behind page 10, until somebody kills it or its runner: a killer may be as slow as it likes.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

HOME = Path(os.environ["DURABLE_HOME"])
JOURNAL = HOME / "journal.jsonl"
LIVES = HOME / "lives"
REST_S_MAX = 120.0


def recall() -> list[dict[str, str]]:
    if not JOURNAL.exists():
        return []
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()]


def write(**entry: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps(entry) + "\n")


def answered(client: httpx.Client, known: dict[str, str], url: str) -> str:
    """Return the next page's URL from the journal or from the server, "" at the end."""
    if url not in known:
        answer = client.get(url)
        known[url] = answer.links.get("next", {}).get("url", "")
        write(event="answer", url=url, following=known[url])
    return known[url]


def rest(runner: int) -> None:
    """Stay here until somebody is killed. What was kept looks younger than the page, as it is."""
    ends_at = time.monotonic() + REST_S_MAX
    while os.getppid() == runner and time.monotonic() < ends_at:
        os.utime(JOURNAL)
        time.sleep(0.01)


def page_of_rest() -> str:
    """Return the address of the page behind which this life is to end; "" for none."""
    with LIVES.open("a") as lives:
        lives.write("x")
    rests = os.environ.get("FAKE_RESTS", "").split(",")
    life = LIVES.stat().st_size - 1
    return f"/flights?page={rests[life]}" if life < len(rests) else ""


def kernel(runner: int) -> int:
    with (HOME / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return execute(runner, page_of_rest())


def execute(runner: int, ends_behind: str) -> int:
    forgets = "FAKE_FORGETS" in os.environ
    entries = [] if forgets else recall()
    known = {entry["url"]: entry["following"] for entry in entries if entry["event"] == "answer"}
    last_words = [entry["event"] for entry in entries if entry["event"] != "answer"][-1:]
    with httpx.Client(base_url=os.environ["FLIGHTS_URL"], trust_env=False, timeout=60) as client:
        url = "/flights?page=1"
        while url:
            if os.getppid() != runner:
                return 1
            asked, url = url, answered(client, known, url)
            if asked == ends_behind:
                rest(runner)
        if "/airlines" not in known:
            answered(client, known, "/airlines")
        if last_words == ["announced"]:
            return 3
        if last_words != ["settled"]:
            write(event="announced")
            client.post("/reports", json={"report_id": "fake"})
            write(event="settled")
    return 0


def finish(notebook: Path, finished: Path) -> None:
    document = json.loads(notebook.read_text())
    cell = document["cells"][0]
    cell["execution_count"] = 1
    cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["done\n"]}]
    finished.write_text(json.dumps(document))


def main(arguments: list[str]) -> int:
    HOME.mkdir(exist_ok=True)
    match arguments:
        case ["run", notebook, "-o", finished, "--run", _]:
            child = [sys.executable, __file__, "kernel", "-f", "x.json"]
            code = subprocess.run(child, check=False).returncode
            if code == 0:
                finish(Path(notebook), Path(finished))
            return code if code >= 0 else 5
        case ["resolve", _, "--retry"]:
            write(event="retry")
            return 0
        case ["resolve", _, "--answer", file]:
            json.loads(Path(file).read_bytes())
            write(event="settled")
            return 0
        case ["kernel", "-f", _]:
            return kernel(os.getppid())
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
