"""The witness: a service in its own process that knows what reached it, what it did, and kills.

    POST /post/RID, /await/, /caught/, /raised/, /step/, /declared/    an act each time
    POST /keyed/RID    an act the first time of an Idempotency-Key, then the same answer
    PUT /put/RID       an act each time; GET /did/RID says how many acts RID has
    GET /get/RID       a new number each time (?bytes=N: and N bytes that follow from it)
    /threads/RID, /pool/, /tasks/, /queue/, /outlive/    GET as get, POST an act, both in any order
    GET /stream/RID    chunks that follow from RID alone (?bytes=N: of N bytes each)

With ?slow=1 an act is answered late. Each request is logged under the attempt that was announced
last. Parent and witness talk in lines of JSON over stdin and stdout: see `Witness`. Told to kill,
it sends SIGKILL to the attempt's process at the n-th request of a kind: when it was received
("sent"), after the act ("acted"), in the middle of the answer ("half"), or right behind it
("answered").
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CHUNKS = 4
SLOW_S = 0.08
SHUFFLED = ("threads", "pool", "tasks", "queue", "outlive")
"""Answers to these take a while that nobody knows, so that they come in any order."""
SHUFFLED_S_MAX = 0.006
QUIET_S_MAX = 60


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that reached the service. `acted`: it changed something."""

    attempt: int
    label: str
    kind: str
    rid: str
    acted: bool


@dataclass(frozen=True, slots=True)
class Order:
    """Kill process `pid` at the `nth` request of `kind` ("": of any), at `stage`; pid 0: nobody."""

    pid: int = 0
    stage: str = ""
    kind: str = ""
    nth: int = 1


@dataclass
class Child:
    """A process that answers lines of JSON, as its parent sees it. The end of its input ends it."""

    process: subprocess.Popen[str]

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _ask(self, **command: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass
class Witness(Child):
    """The service as its parent sees it."""

    origin: str

    @classmethod
    def start(cls) -> Witness:
        """Start one; returns once it listens."""
        process = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return cls(process, f"http://127.0.0.1:{int(process.stdout.readline())}")

    def begin_attempt(self, number: int, order: Order) -> None:
        """Log what comes under this attempt, and kill as ordered."""
        self._ask(do="attempt", number=number, order=asdict(order))

    def drain(self) -> None:
        """Return once every connection of the dead process is over: what it sent has arrived."""
        self._ask(do="drain")

    def arrivals(self) -> list[Arrival]:
        """Return what reached the service since the last `forget`, in order."""
        return [Arrival(**each) for each in self._ask(do="arrivals")]

    def answer_of(self, rid: str) -> Any:
        """Return what the last act of `rid` was answered with; None if there was none."""
        return self._ask(do="answer", rid=rid)

    def forget(self) -> None:
        """Begin a new case."""
        self._ask(do="forget")


# --- the service ----------------------------------------------------------------------------------


@dataclass
class _Ledger:
    """What the service knows. `quiet` is notified when a connection ends."""

    attempt: int = 0
    order: Order = field(default_factory=Order)
    seen_of_order: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    acts: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    keyed: dict[str, Any] = field(default_factory=dict)
    connections: int = 0
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    quiet: threading.Condition = field(default_factory=threading.Condition)


class _Server(ThreadingHTTPServer):
    """Counts connections from their acceptance to their end."""

    daemon_threads = True
    request_queue_size = 64
    ledger: _Ledger

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.ledger.quiet:
            self.ledger.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.ledger.quiet:
            self.ledger.connections -= 1
            self.ledger.quiet.notify_all()

    def drain(self) -> None:
        """Wait until no connection is left, those that wait to be accepted included."""
        host, port = str(self.server_address[0]), self.server_address[1]
        with socket.create_connection((host, port)) as last:  # is accepted last
            last.sendall(b"GET /quiet/ HTTP/1.1\r\nConnection: close\r\n\r\n")
            while last.recv(4096):
                pass
        with self.ledger.quiet:
            self.ledger.quiet.wait_for(lambda: self.ledger.connections == 0, QUIET_S_MAX)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small answer waits 40 ms for an acknowledgement
    wbufsize = 65_536
    ledger: _Ledger

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client was killed
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Stay quiet; the ledger is the log."""

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        target = urlsplit(self.path)
        self.query = parse_qs(target.query)
        self.kind, _, self.rid = target.path.lstrip("/").partition("/")
        ledger = self.ledger
        with ledger.quiet:
            order = ledger.order
            is_of_kind = order.kind in ("", self.kind)
            ledger.seen_of_order += is_of_kind
            is_deadly = is_of_kind and ledger.seen_of_order == order.nth
            self.deadly_stage = order.stage if is_deadly else ""
        if self.kind == "quiet":
            self._send(b"")
            return
        self._log(acted=False)
        self._reach("sent")
        if self.kind == "stream":
            self._send_stream()
            return
        answer = self._answer()
        self._reach("acted")
        if self.kind in SHUFFLED:
            time.sleep(random.random() * SHUFFLED_S_MAX)
        if "slow" in self.query:
            time.sleep(SLOW_S)
        self._send(json.dumps(answer).encode())
        self._reach("answered")

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the names that the base class looks for

    def _log(self, *, acted: bool) -> None:
        label = f"{self.command} {self.path}"
        with self.ledger.quiet:
            self.ledger.arrivals.append(
                Arrival(self.ledger.attempt, label, self.kind, self.rid, acted)
            )

    def _reach(self, stage: str) -> None:
        if stage == self.deadly_stage:
            self.wfile.flush()
            os.kill(self.ledger.order.pid, signal.SIGKILL)

    def _answer(self) -> Any:
        ledger, rid = self.ledger, self.rid
        if self.kind == "did":
            return {"rid": rid, "acts": ledger.acts.get(rid, 0)}
        number = next(ledger.numbers)
        if self.kind == "get" or (self.kind in SHUFFLED and self.command == "GET"):
            size = int(self.query.get("bytes", ["0"])[0])
            body = hashlib.sha256(str(number).encode()).hexdigest() * (size // 64)
            return {"rid": rid, "number": number, "body": body}
        key = self.headers.get("Idempotency-Key")
        if self.kind == "keyed" and key in ledger.keyed:
            return ledger.keyed[key]
        with ledger.quiet:
            ledger.acts[rid] = ledger.acts.get(rid, 0) + 1
            answer = {"rid": rid, "number": number, "acts": ledger.acts[rid]}
            ledger.answers[rid] = answer
            last = ledger.arrivals.pop()
            ledger.arrivals.append(Arrival(last.attempt, last.label, last.kind, last.rid, True))
            if key is not None:
                ledger.keyed[key] = answer
        return answer

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.deadly_stage == "half":
            self.wfile.write(body[: len(body) // 2])
            self._reach("half")
            return
        self.wfile.write(body)
        self.wfile.flush()

    def _send_stream(self) -> None:
        self._reach("acted")
        size = int(self.query.get("bytes", ["24"])[0])
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index in range(CHUNKS):
            if index == CHUNKS // 2:
                self._reach("half")
            word = hashlib.sha256(f"{self.rid}/{index}".encode()).hexdigest().encode()
            chunk = (word * (size // len(word) + 1))[:size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        self._reach("answered")


def _obey(server: _Server, ledger: _Ledger, command: dict[str, Any]) -> Any:
    match command["do"]:
        case "attempt":
            with ledger.quiet:
                ledger.attempt = command["number"]
                ledger.order = Order(**command["order"])
                ledger.seen_of_order = 0
        case "drain":
            server.drain()
        case "arrivals":
            return [asdict(each) for each in ledger.arrivals]
        case "answer":
            return ledger.answers.get(command["rid"])
        case "forget":
            ledger.arrivals.clear()
            ledger.acts.clear()
            ledger.answers.clear()
            ledger.keyed.clear()
    return None


def main() -> None:
    """Serve until stdin ends; print the port first."""
    ledger = _Handler.ledger = _Server.ledger = _Ledger()
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for line in sys.stdin:
        print(json.dumps(_obey(server, ledger, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
