"""The detector: exchanges with the world that no hook journals are told before they happen.

Python raises an audit event at most of its exits; one function hears them all. What it recognises
as a crossing goes to the witness, which writes it down and lets it pass, or raises: the exception
reaches the caller, and the act does not happen (rule 9, H2). Silent are: what a journaled effect
does (INSIDE_EFFECT), the system's own files (`paths`), forked children, and the witness's own work.

Never seen, because no event is raised: what C libraries do by themselves (parquet, duckdb, polars,
libpq, h5py), SQL after connect, os.stat and os.path.exists, os.environ, sends on a socket that was
connected before. An audit hook can't be removed: it is added once, the witness may be replaced.

Its cost is paid by every audited event (an `import`, even `id()`): one dict lookup, nothing else.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from durable_kernel.effects import paths
from durable_kernel.effects.http_tokens import hide_in_command
from durable_kernel.effects.paths import is_system_path, is_way_to_cache
from durable_kernel.effects.whose_secrets import current_secrets
from durable_kernel.ports import CURRENT_LANE, INSIDE_EFFECT, Witness

__all__ = ["exclude", "install", "is_system_path"]

Sentence = tuple[str, bool]
"""What crosses, as it goes on after "it …", and whether it is an act."""

_TEXT_MAX = 120
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LISTING_FLAGS = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
# They describe the machine and change nothing; matplotlib, ctypes and platform start them unasked.
_HARMLESS_PROGRAMS = frozenset({"fc-list", "ldconfig", "lscpu", "uname"})
_SHELLS = frozenset({"bash", "dash", "sh", "zsh"})
# They bind a socket to learn whether there is IPv6, and close it.
_ADDRESS_PROBES = frozenset({"urllib3.util.connection"})
# Whoever reads source to import it, or to show it in a traceback, reads code and not data.
_SOURCE_READERS = (
    "_frozen_importlib",
    "IPython.core.compilerop",
    "IPython.core.tbtools",
    "IPython.core.ultratb",
    "executing",
    "importlib",
    "inspect",
    "linecache",
    "pkgutil",
    "runpy",
    "stack_data",
    "tokenize",
    "zipimport",
)


def exclude(folders: Iterable[Path | str]) -> None:
    """Say nothing about files in these folders: the kernel's own store."""
    paths.exclude(folders)


# --- files ----------------------------------------------------------------------------------------


def _opened(path: Any, mode: Any, flags: Any) -> Sentence | None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return None  # a descriptor: it was told when it was opened
    if flags & _WRITE_FLAGS:
        if is_system_path(path, writing=True):
            return None
        return f"opens {_name(path)} for {_purpose(mode, flags)}", True
    if flags & _LISTING_FLAGS or is_system_path(path, writing=False) or _is_source_reader():
        return None
    name = _name(path)
    if name.startswith("<") and name.endswith(">"):
        return None  # "<unknown>": the parser looks for the text around a syntax error
    return f"reads {name}", False


def _purpose(mode: Any, flags: int) -> str:
    if flags & os.O_APPEND:
        return "appending"
    is_updating = flags & os.O_RDWR and not flags & (os.O_CREAT | os.O_TRUNC)
    return "updating" if is_updating else "writing"


def _listed(path: Any = None, *_: Any) -> Sentence | None:
    if not isinstance(path, (str, bytes)) or is_system_path(path, writing=False):
        return None
    return None if _is_source_reader() else (f"lists the folder {_name(path)}", False)


def _is_source_reader() -> bool:
    # _is_source_reader, _opened, _audit, then who opened it.
    name = sys._getframe(3).f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(_SOURCE_READERS)


def _changed(verb: str) -> Callable[..., Sentence | None]:
    """Describe a change of one path. Paths given as descriptors were told when they were opened."""

    def describe(path: Any, *rest: Any) -> Sentence | None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        folder = rest[-1] if rest else -1
        if is_system_path(_below(folder, path)):
            return None
        return f"{verb} {_name(path)}", True

    return describe


def _changed_no_folder(verb: str) -> Callable[..., Sentence | None]:
    """Describe a change of one path where the last argument of the event is no folder."""
    describe = _changed(verb)
    return lambda path, *_: describe(path)


def _moved(verb: str) -> Callable[..., Sentence | None]:
    """Describe something with a source and a target; system files are both, or are acts."""

    def describe(source: Any, target: Any, *rest: Any) -> Sentence | None:
        # A link has one folder, that of its target; the other two have one for each name.
        from_folder, to_folder = (-1, -1, *rest)[-2:] if len(rest) != 1 else (-1, rest[0])
        if is_system_path(_below(from_folder, source)) and is_system_path(
            _below(to_folder, target)
        ):
            return None
        return f"{verb} {_name(source)} to {_name(target)}", True

    return describe


def _below(folder: Any, path: Any) -> Any:
    """Resolve a path that is relative to an open folder (rmtree removes that way)."""
    if not isinstance(folder, int) or folder < 0:
        return path
    try:
        return Path(f"/proc/self/fd/{folder}").readlink() / os.fsdecode(path)
    except OSError:
        return path


def _made(path: Any, *rest: Any) -> Sentence | None:
    return None if is_way_to_cache(path) else _make_folder(path, *rest)


_make_folder = _changed("makes the folder")


# --- processes ------------------------------------------------------------------------------------


def _spawned(executable: Any, args: Any = (), *_: Any) -> Sentence | None:
    words = [args] if isinstance(args, (str, bytes)) else list(args or [executable])
    shown = [os.fsdecode(word) for word in words if isinstance(word, (str, bytes, os.PathLike))]
    program = Path(shown[0]).name if shown else ""
    if program in _SHELLS and shown[1:2] == ["-c"]:
        shown = shown[2:]
    elif program in _HARMLESS_PROGRAMS:
        return None
    return f"starts a process: {_short(' '.join(shown))}", True


def _killed(pid: Any, signal: Any) -> Sentence | None:
    if pid == os.getpid() or signal == 0:
        return None
    return f"sends signal {int(signal)} to process {pid}", True


def _forked() -> Sentence:
    return "forks this process", True


def _forked_with_terminal() -> Sentence:
    """Name the command, if it is pexpect that starts one: that is what `!command` does."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in {"os", "pty"}:
        frame = frame.f_back
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("ptyprocess"):
        argv = frame.f_locals.get("argv")
        if isinstance(argv, (list, tuple)):
            return _spawned(None, argv) or ("starts a process", True)
        frame = frame.f_back
    return "starts a process in a terminal", True


# --- network --------------------------------------------------------------------------------------


def _connected(_socket: Any, address: Any) -> Sentence:
    return f"connects to {_address(address)} without a hook for it", True


def _sent(_socket: Any, address: Any) -> Sentence | None:
    if address is None:  # on a connected socket: told when it connected
        return None
    return f"sends to {_address(address)} without a hook for it", True


def _bound(_socket: Any, address: Any) -> Sentence | None:
    # _bound, _audit, then who binds.
    if sys._getframe(2).f_globals.get("__name__") in _ADDRESS_PROBES:
        return None
    return f"listens at {_address(address)}", True


def _talked(what: str) -> Callable[..., Sentence | None]:
    """Describe traffic of a client of the standard library on a connection that it holds."""

    def describe(client: Any, *_: Any) -> Sentence:
        host = getattr(client, "host", None) or getattr(client, "_host", None) or "its server"
        return f"{what} {host} without a hook for it", True

    return describe


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) > 1:
        return f"{address[0]}:{address[1]}"
    if isinstance(address, (str, bytes)):
        return os.fsdecode(address).replace("\0", "@") or "a socket"
    return "a socket"


# --- databases ------------------------------------------------------------------------------------


def _database_opened(database: Any) -> Sentence | None:
    if not isinstance(database, (str, bytes, os.PathLike)):
        return None
    name = os.fsdecode(database)
    if name in {"", ":memory:"} or (name.startswith("file:") and "memory" in name):
        return None
    path = urlsplit(name).path if name.startswith("file:") else name
    return None if is_system_path(path) else (f"opens the database {_name(path)}", True)


# --- the environment ------------------------------------------------------------------------------


def _set_variable(name: Any, value: Any) -> None:
    """Let the run know of a secret that a cell puts into the environment (`load_dotenv`)."""
    secrets = current_secrets()
    if secrets is not None:
        secrets.note_variable(os.fsdecode(name), os.fsdecode(value))


# --- the hook -------------------------------------------------------------------------------------


def _name(path: Any) -> str:
    return _short(os.fsdecode(path))


def _short(text: str) -> str:
    """Cut a text, after its secrets are hidden: half of one would not be known again."""
    text = hide_in_command(text)
    secrets = current_secrets()
    if secrets is not None:
        text = secrets.redact_text(text)
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"


def _told(what: str) -> Callable[..., Sentence]:
    return lambda *_: (what, True)


_DESCRIBE: dict[str, Callable[..., Sentence | None]] = {
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "os.remove": _changed("removes"),
    "os.rmdir": _changed("removes the folder"),
    "os.mkdir": _made,
    "os.chmod": _changed("changes the mode of"),
    "os.chown": _changed("changes the owner of"),
    "os.utime": _changed("changes the times of"),
    "os.truncate": _changed_no_folder("truncates"),
    "os.chflags": _changed_no_folder("changes the flags of"),
    "os.setxattr": _changed_no_folder("changes the attributes of"),
    "os.removexattr": _changed_no_folder("changes the attributes of"),
    "os.rename": _moved("renames"),
    "os.link": _moved("links"),
    "os.symlink": _moved("links"),
    "shutil.rmtree": _changed("removes the folder"),
    "subprocess.Popen": _spawned,
    "os.posix_spawn": _spawned,
    "os.exec": _spawned,
    "os.spawn": lambda _mode, path, args, _env: _spawned(path, args),
    "os.system": lambda command: _spawned(command, command),
    "os.startfile": lambda path, *_: _spawned(path),
    "pty.spawn": lambda argv: _spawned(None, argv),
    "os.fork": _forked,
    "os.forkpty": _forked_with_terminal,
    "os.kill": _killed,
    "os.putenv": _set_variable,
    "os.killpg": lambda group, signal: _killed(-group, signal),
    "socket.connect": _connected,
    "socket.sendto": _sent,
    "socket.sendmsg": _sent,
    "socket.bind": _bound,
    "http.client.send": _talked("sends to"),
    "ftplib.sendcmd": _talked("sends a command to"),
    "imaplib.send": _talked("sends a command to"),
    "poplib.putline": _talked("sends a command to"),
    "smtplib.send": _talked("sends mail commands to"),
    "sqlite3.connect": _database_opened,
    "syslog.syslog": _told("writes to the system log"),
    "webbrowser.open": _told("opens a web browser"),
}


class _Post:
    """Where the detector stands: its witness, and on which threads it is at work itself."""

    is_hooked = False
    witness: Witness | None = None
    busy = threading.local()


def _audit(event: str, args: tuple[Any, ...], _find: Callable[[str], Any] = _DESCRIBE.get) -> None:
    describe = _find(event)
    if describe is None or INSIDE_EFFECT.get():
        return
    witness, busy = _Post.witness, _Post.busy
    if witness is None or getattr(busy, "is_set", False) or sys.is_finalizing():
        return
    busy.is_set = True
    try:
        try:
            sentence = describe(*args)
        except (TypeError, ValueError, OSError):
            # An event of another shape, or the current folder is gone. Unclear is not unseen.
            sentence = f"does something that Python calls {event}", True
        if sentence is not None:
            witness.crossing(sentence[0], is_act=sentence[1])
    finally:
        busy.is_set = False


def _forget_parent() -> None:
    """Leave a forked child alone: its acts are the fork's, the journal is its parent's."""
    _Post.witness = None
    CURRENT_LANE.set(None)


def install(witness: Witness) -> None:
    """Add the audit hook. Again: only the witness is replaced."""
    _Post.witness = witness
    if not _Post.is_hooked:
        _Post.is_hooked = True
        sys.addaudithook(_audit)
        os.register_at_fork(after_in_child=_forget_parent)
