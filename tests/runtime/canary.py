"""Canaries: secrets that are planted, a service that hands some out, and a search for all of them.

The search reads every byte of a store as it is and as it can be decoded: zstd, gzip, zlib, base64,
quoted URLs, HTML, JSON and Python escapes, one inside the other.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import json
import re
import secrets
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import zstandard

__all__ = ["TokenSite", "hidden_in", "plant", "readings_of"]

_DEPTH_MAX = 3
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_ESCAPE = re.compile(rb"\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|\\(.)", re.DOTALL)
_ZLIB_HEADS = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


def plant(name: str) -> str:
    """Make a secret that nobody else has; its name makes a failure readable."""
    return f"{name}-{secrets.token_hex(12)}"


class TokenSite:
    """A service with tokens: `/me` wants the bearer token that `/oauth/token` handed out."""

    def __init__(self, canaries: dict[str, str]) -> None:
        self.canaries = canaries
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.netloc = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.netloc}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _answers(self, path: str) -> tuple[bytes, dict[str, str]]:
        """Return body and headers."""
        canary = self.canaries
        as_json = {"Content-Type": "application/json"}
        as_gzip = {**as_json, "Content-Encoding": "gzip"}
        tokens = {"access_token": canary["oauth access"], "refresh_token": canary["oauth refresh"]}
        match path.partition("?")[0]:
            case "/oauth/token":
                return json.dumps(tokens).encode(), as_json
            case "/profile":
                return gzip.compress(json.dumps({"id_token": canary["id token"]}).encode()), as_gzip
            case "/form":
                body = f"access_token={canary['form token']}&scope=repo"
                return body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}
            case "/chunks":
                return json.dumps({"client_secret": canary["chunked secret"]}).encode(), {
                    **as_json,
                    "Transfer-Encoding": "chunked",
                }
            case "/cookie":
                return b"{}", {
                    **as_json,
                    "Set-Cookie": f"session={canary['cookie answer']}; Path=/",
                }
            case "/page":
                page = f"<p>{canary['answer page']}</p>" + "line\n" * 20_000
                return page.encode(), {"Content-Type": "text/html"}
            case "/mirror":
                body = json.dumps({"you sent": canary["answer mirror"], "seen": "control-gzip-1"})
                return gzip.compress(body.encode()), as_gzip
        return b'{"ok": true}', as_json

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append(self.path.partition("?")[0])
                self._read_body()
                if self.path == "/me":
                    self._answer_me()
                    return
                body, headers = site._answers(self.path)
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" in headers:
                    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
                    body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces)
                    body += b"0\r\n\r\n"
                else:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - http.server looks for these names
            do_PUT = do_GET  # noqa: N815 - as above

            def _read_body(self) -> None:
                if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
                    while size := int(self.rfile.readline(), 16):
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                else:
                    self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer_me(self) -> None:
                wanted = f"Bearer {site.canaries['oauth access']}"
                is_known = self.headers.get("Authorization") == wanted
                if not is_known:
                    site.refused.append(str(self.headers.get("Authorization")))
                body = b"you" if is_known else b"who?"
                self.send_response(200 if is_known else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler


# --- the search -----------------------------------------------------------------------------------


def hidden_in(home: Path, values: dict[str, str]) -> dict[str, str]:
    """Return names of the values that stand in a store, each with the file where it was found."""
    found: dict[str, str] = {}
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    for path in files:
        for reading in readings_of(path.name.encode() + b"\n" + path.read_bytes()):
            for name, value in values.items():
                if value.encode() in reading:
                    found[name] = str(path.relative_to(home))
    return found


def readings_of(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield bytes as they are, and all that can be decoded from them."""
    yield content
    if depth == _DEPTH_MAX:
        return
    for decoded in _decoded(content):
        if decoded and decoded != content:
            yield from readings_of(decoded, depth + 1)


def _decoded(content: bytes) -> Iterator[bytes]:
    yield from _unpacked(content)
    yield b"\n".join(_from_base64(content))
    if b"%" in content:
        yield unquote_to_bytes(content.replace(b"+", b" "))
    if b"&" in content:
        yield html.unescape(content.decode("latin-1")).encode("latin-1", "ignore")
    if b"\\" in content:
        yield _ESCAPE.sub(_unescaped, content)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1] or found[2], 16)]) if found[1] or found[2] else found[3]


def _from_base64(content: bytes) -> Iterator[bytes]:
    for found in _BASE64.finditer(content):
        run = found[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):  # the run may have begun before, in letters that belong to it
            part = run[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            yield base64.b64decode(part + b"=" * (-len(part) % 4))


def _unpacked(content: bytes) -> Iterator[bytes]:
    at = content.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        with contextlib.suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(content[at:])
        at = content.find(b"\x28\xb5\x2f\xfd", at + 1)
    heads = [found.start() for found in re.finditer(rb"\x1f\x8b\x08", content)]
    heads += [found.start() for found in _ZLIB_HEADS.finditer(content)]
    for at in heads:
        try:
            yield zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(content[at:])
        except zlib.error:
            continue
