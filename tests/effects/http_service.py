"""A small HTTP service in another process, for tests of HTTP effects. It counts what reaches it.

    service = HttpService.start(folder)      until `stop`; `tls=True` serves https, CA at `ca_file`
    service.url("/hello"), service.hits()    hits: one "METHOD /path" per request, in order

The access log is written before the answer, so a client that has its answer finds its line. Of one
that did not wait for it the line is found as well: `hits` waits until the service has heard all.
Run as a program it is the service itself: `-m tests.effects.http_service LOG [CERTIFICATE]`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from tests.effects.hearing import HearingServer

LINES = [f"line {number}\n".encode() for number in range(5)]
EVENTS = [f'event: tick\ndata: {{"n": {number}}}\n\n'.encode() for number in range(4)]
BIG_CHUNK = bytes(range(256)) * 256
TORN_ENDS = {
    "inside": b"64\r\nabc",
    "size": b"64\r\n",
    "bytes": b"3\r\nabc",
    "between": b"",
    "garbled": b"no size\r\n",
}


@dataclass
class HttpService:
    """A running service."""

    process: subprocess.Popen[str]
    log: Path
    origin: str
    ca_file: Path | None = None
    hears: bool = False

    @classmethod
    def start(cls, folder: Path, *, tls: bool = False, module: str = __name__) -> HttpService:
        """Start one with its log in `folder`. Returns once it listens.

        `module` names another service than this one. One that runs `serve` says that it `hears`.
        """
        log = folder / "access.log"
        log.touch()
        command = [sys.executable, "-m", module, str(log)]
        certificate = _certified(folder) if tls else None
        if certificate is not None:
            command.append(str(certificate))
        root = Path(__file__).parents[2]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert process.stdout is not None
        port, *hears = process.stdout.readline().split()
        scheme = "https" if tls else "http"
        return cls(process, log, f"{scheme}://127.0.0.1:{port}", certificate, bool(hears))

    def url(self, path: str) -> str:
        return self.origin + path

    def hits(self) -> list[str]:
        """Return what reached the service, once it has heard all that was sent before."""
        if self.hears:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write("?\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "quiet\n"
        return self.log.read_text().splitlines()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _certified(folder: Path) -> Path:
    from tests.effects.certificates import (
        write_certificate,
    )  # not by the service itself: it is slow

    return write_certificate(folder)


# --- the service ----------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small answer waits 40 ms for an acknowledgement
    wbufsize = 65_536
    log_lock = threading.Lock()
    log_path = ""
    go_on = threading.Event()
    hits_by_path: dict[str, int] = {}  # noqa: RUF012 - shared by all handlers on purpose
    keys_by_name: dict[str, list[str | None]] = {}  # noqa: RUF012 - as above
    objects: dict[str, bytes] = {}  # noqa: RUF012 - as above

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Stay quiet; `_serve` writes the log."""

    @property
    def hearing(self) -> HearingServer:
        return cast("HearingServer", self.server)

    def handle_one_request(self) -> None:
        self.hearing.wait_for(self.connection, self.connection)
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        is_welcome = super().handle_expect_100()
        self.wfile.flush()
        return is_welcome

    def _serve(self) -> None:
        self.body = self._read_body()
        path = self.path if self.command == "CONNECT" else urlsplit(self.path).path
        with self.log_lock:
            self.hit = self.hits_by_path[path] = self.hits_by_path.get(path, 0) + 1
            with Path(self.log_path).open("a") as log:
                log.write(f"{self.command} {self.path}\n")
        self.hearing.mark_heard(self.connection)
        name, _, self.argument = path.lstrip("/").partition("/")
        if self.command == "CONNECT":
            name = "tunnel"
        getattr(self, f"serve_{name}", self.serve_missing)()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # one method answers every method
            return self._serve
        raise AttributeError(name)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(
        self, body: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin_chunks(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_chunk(self, chunk: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.flush()

    def _wait_for_client_to_leave(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.recv(1)

    # --- paths ---

    def serve_missing(self) -> None:
        self.send(b"no such path", 404)

    def serve_hello(self) -> None:
        self.send("grüß Gott".encode(), headers=(("Content-Type", "text/plain; charset=utf-8"),))

    def serve_port(self) -> None:
        """Answer with the client's port: equal on one kept connection."""
        self.send(str(self.client_address[1]).encode())

    def serve_status(self) -> None:
        self.send(b'{"error": "made up"}', int(self.argument))

    def serve_cookies(self) -> None:
        cookies = (("Set-Cookie", "session=s3cret; Path=/"), ("Set-Cookie", "theme=dark; Path=/"))
        self.send(b"two cookies", headers=cookies)

    def serve_cookie(self) -> None:
        self.send(self.headers.get("Cookie", "none").encode())

    def serve_redirect(self) -> None:
        left = int(self.argument)
        target = f"/redirect/{left - 1}" if left else "/cookie"
        headers = (("Location", target), ("Set-Cookie", f"seen{left}=yes; Path=/"))
        self.send(b"elsewhere", 302, headers)

    def serve_moved(self) -> None:
        self.send(b"", 307, (("Location", "/echo"),))

    def serve_gzip(self) -> None:
        packed = gzip.compress(b"squeezed " * 500, mtime=0)
        self.send(packed, headers=(("Content-Encoding", "gzip"), ("Content-Type", "text/plain")))

    def serve_deflate(self) -> None:
        self.send(zlib.compress(b"squeezed " * 500), headers=(("Content-Encoding", "deflate"),))

    def serve_unpackable(self) -> None:
        self.send(b"this was never packed", headers=(("Content-Encoding", "gzip"),))

    def serve_private(self) -> None:
        if "Authorization" in self.headers:
            self.send(b"welcome")
        else:
            challenge = 'Digest realm="r", nonce="abc", qop="auth", algorithm=MD5'
            self.send(b"", 401, (("WWW-Authenticate", challenge),))

    def serve_echo(self) -> None:
        found = {
            "method": self.command,
            "path": self.path,
            "size": len(self.body),
            "digest": hashlib.sha256(self.body).hexdigest(),
            "type": self.headers.get("Content-Type"),
            "key": self.headers.get("Idempotency-Key"),
            "hit": self.hit,
        }
        self.send(json.dumps(found).encode(), headers=(("Content-Type", "application/json"),))

    def serve_keys(self) -> None:
        """Answer with the keys that came so far; `/keys/name/2` answers 503 to the first two."""
        name, _, failures = self.argument.partition("/")
        keys = self.keys_by_name.setdefault(name, [])
        keys.append(self.headers.get("Idempotency-Key"))
        status = 503 if len(keys) <= int(failures or 0) else 200
        self.send(json.dumps(keys).encode(), status)

    def serve_relocated(self) -> None:
        """Send whoever comes on to `/keys/name`, with the same request."""
        keys = self.keys_by_name.setdefault(self.argument, [])
        keys.append(self.headers.get("Idempotency-Key"))
        self.send(b"", 307, (("Location", f"/keys/{self.argument}"),))

    def serve_deletable(self) -> None:
        """Be there once. `/deletable/410/name` says so the second time."""
        status, _, _ = self.argument.partition("/")
        self.send(b"deleted" if self.hit == 1 else b"what?", 200 if self.hit == 1 else int(status))

    def serve_count(self) -> None:
        self.send(str(self.hit).encode())

    def serve_lines(self) -> None:
        self.begin_chunks("text/plain")
        for line in LINES:
            self.send_chunk(line)
        self.send_chunk(b"")

    def serve_events(self) -> None:
        self.begin_chunks("text/event-stream")
        for event in EVENTS:
            self.send_chunk(event)
        self.send_chunk(b"")

    def serve_ticks(self) -> None:
        """Send events that are others each time, as those of the world are."""
        self.begin_chunks("text/event-stream")
        for number in range(3):
            self.send_chunk(f"id: {number}\ndata: tick {number} of {self.hit}\n\n".encode())
        self.send_chunk(b"")

    def serve_big(self) -> None:
        count = int(self.argument) * 1_000_000 // len(BIG_CHUNK)
        self.send_response(200)
        self.send_header("Content-Length", str(count * len(BIG_CHUNK)))
        self.end_headers()
        try:
            for _ in range(count):
                self.wfile.write(BIG_CHUNK)
        except OSError:
            self.close_connection = True

    def serve_pausing(self) -> None:
        """Send a chunk, then another one as soon as somebody asks for /resume."""
        self.go_on.clear()
        self.begin_chunks("text/plain")
        self.send_chunk(LINES[0])
        self.go_on.wait()
        self.send_chunk(LINES[1])
        self.send_chunk(b"")

    def serve_resume(self) -> None:
        self.go_on.set()
        self.send(b"")

    def serve_trickle(self) -> None:
        """Send pieces of any size at any time, framed in one of three ways."""
        draw = random.Random(self.argument)
        framing = draw.choice(["chunks", "length", "end"])
        pieces = [b"x" * draw.randrange(1, 5000) + b"\n" for _ in range(draw.randrange(1, 12))]
        self.send_response(200)
        if framing == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
        elif framing == "length":
            self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.send_chunk(piece) if framing == "chunks" else self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(draw.choice([0, 0.002 * draw.random()]))
        if framing == "chunks":
            self.send_chunk(b"")
        self.close_connection = framing == "end"

    def serve_mute(self) -> None:
        """Hang up without an answer."""
        self.close_connection = True

    def serve_endless(self) -> None:
        """End the body with the connection."""
        self.send_response(200)
        self.end_headers()
        self.wfile.writelines(LINES)
        self.close_connection = True

    def serve_garbage(self) -> None:
        self.wfile.write(b"This is not HTTP\r\n\r\n")
        self.close_connection = True

    def serve_silent(self) -> None:
        """Never answer."""
        self._wait_for_client_to_leave()

    def serve_stalling(self) -> None:
        """Send two chunks, then nothing."""
        self.begin_chunks("text/plain")
        self.send_chunk(LINES[0])
        self.send_chunk(LINES[1])
        self._wait_for_client_to_leave()

    def serve_framed(self) -> None:
        """Send a chunk and wait, under headers that say it is all, and that chunks count."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(LINES[0])))
        self.send_header("TRANSFER-ENCODING", "chunked")
        self.end_headers()
        self.send_chunk(LINES[0])
        self._wait_for_client_to_leave()

    def serve_broken(self) -> None:
        """Promise more than is sent."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(LINES[0])
        self.close_connection = True

    def serve_upgrade(self) -> None:
        """Switch to another protocol that says one word."""
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "word")
        self.end_headers()
        self.wfile.write(b"word")
        self.close_connection = True

    def serve_changing(self) -> None:
        """Begin with the number of the hit."""
        self.send(f"{self.hit} is another beginning".encode())

    def serve_tagged(self) -> None:
        """Send equal bytes under another ETag."""
        self.send(b"same bytes", headers=(("ETag", f'"{self.hit}"'),))

    def serve_failing(self) -> None:
        """Answer well once, then 503."""
        self.send(b"same bytes", 200 if self.hit == 1 else 503)

    def serve_shrinking(self) -> None:
        """Send less each time."""
        self.send(b"x" * (100 // self.hit))

    def serve_busy(self) -> None:
        """Answer 503 twice, then well."""
        if self.hit > 2:
            self.send(b"at last")
        else:
            self.send(b"busy", 503, (("Retry-After", "0"),))

    def serve_torn(self) -> None:
        """Break off in a chunk, behind its size, behind its bytes, or where a size should be."""
        self.begin_chunks("text/plain")
        self.send_chunk(LINES[0])
        self.wfile.write(TORN_ENDS[self.argument])
        self.close_connection = True

    def serve_closing(self) -> None:
        """Send a body whose end is the end of the connection."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.writelines(LINES)
        self.close_connection = True

    def serve_bucket(self) -> None:
        """Store and give back objects, as an object store does."""
        if self.command == "PUT":
            self.objects[self.argument] = self.body
            self.send(b"", headers=(("ETag", f'"{hashlib.md5(self.body).hexdigest()}"'),))
        elif self.argument in self.objects:
            self.send(self.objects[self.argument])
        else:
            missing = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
            self.send(missing, 404, (("Content-Type", "application/xml"),))

    def serve_procedure(self) -> None:
        """Add the arguments of a remote procedure call."""
        import xmlrpc.client

        numbers, _ = xmlrpc.client.loads(self.body)
        total = sum(int(str(number)) for number in numbers)
        answer = xmlrpc.client.dumps((total,), methodresponse=True)
        self.send(answer.encode(), headers=(("Content-Type", "text/xml"),))

    def serve_tunnel(self) -> None:
        """Be a proxy: hand bytes on in both directions until one side leaves."""
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            other = {self.connection: there, there: self.connection}
            while True:
                for readable in self.hearing.wait_for(self.connection, *other):
                    data = readable.recv(65_536)
                    if not data:
                        self.close_connection = True
                        return
                    other[readable].sendall(data)


def serve(handler: type[Handler], arguments: list[str]) -> None:
    """Serve until killed; print the port first, and say when all is heard to who asks."""
    handler.log_path = arguments[0]
    server = HearingServer(handler)
    if len(arguments) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments[1])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], "hears", flush=True)
    for _ in sys.stdin:
        server.wait_until_quiet()
        print("quiet", flush=True)


if __name__ == "__main__":
    serve(Handler, sys.argv[1:])
