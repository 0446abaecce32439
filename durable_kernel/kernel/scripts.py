"""Scripts: `%run` executes what the journal recorded, and %autoreload decides as it did (H25).

IPython reads the file of `%run` by itself. Where replay has to execute something else than the file
says by now, or where it is gone, it is executed here, as IPython would: a script, an .ipy file, the
code of a notebook.

%autoreload compares times of files, which are not recorded. On replay a module has a new time
exactly where the journal has a reload of it; afterwards that of the file counts again. Its way of
patching single functions reads the source past the import system, so it is off: modules are
reloaded as a whole, as older versions did.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.utils.path import get_py_filename
from IPython.utils.syspathcontext import prepended_to_syspath

from durable_kernel.effects.modules import is_project_file, read_script, recorded_script

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["AutoreloadFollower", "record_scripts"]

_AUTORELOAD = "IPython.extensions.autoreload"


def record_scripts(kernel: DurableKernel) -> None:
    """Let `%run` of a project's script ask for its source, and %autoreload for its times."""
    shell, autoreload = kernel.shell, AutoreloadFollower(kernel)
    # After a cell, too, and before the extension that it has loaded looks for the first time.
    for moment in ("pre_run_cell", "post_run_cell"):
        shell.events.register(moment, lambda _cell: autoreload.look())
    stock: Callable[..., None] = shell.safe_execfile

    def safe_execfile(
        fname: Any,
        *where: Any,
        exit_ignore: bool = False,
        raise_exceptions: bool = False,
        shell_futures: bool = False,
    ) -> None:
        path = Path(fname).expanduser().resolve()
        source = read_script(str(path))
        if source is None or source == _read(path):
            stock(
                fname,
                *where,
                exit_ignore=exit_ignore,
                raise_exceptions=raise_exceptions,
                shell_futures=shell_futures,
            )
            return
        compiler = shell.compile if shell_futures else builtins.compile
        with prepended_to_syspath(str(path.parent)), shell.builtin_trap:
            try:
                exec(compiler(source, str(path), "exec"), *where)  # noqa: S102 - as %run does
            except SystemExit as status:
                if status.code and raise_exceptions:
                    raise
                if status.code and not exit_ignore:
                    shell.showtraceback(exception_only=True)
            except Exception:
                if raise_exceptions:
                    raise
                shell.showtraceback(tb_offset=1)

    shell.safe_execfile = safe_execfile
    _record_cells_of_files(shell)
    _find_what_is_gone(shell)


def _record_cells_of_files(shell: Any) -> None:
    """Do the same for files that hold cells: notebooks and .ipy files."""
    stock: Callable[..., None] = shell.safe_execfile_ipy

    def safe_execfile_ipy(
        fname: Any, shell_futures: bool = False, raise_exceptions: bool = False
    ) -> None:
        path = Path(fname).expanduser().resolve()
        source = read_script(str(path))
        if source is None or source == _read(path):
            stock(fname, shell_futures=shell_futures, raise_exceptions=raise_exceptions)
            return
        with prepended_to_syspath(str(path.parent)):
            for cell in _cells_of(path, source):
                result = shell.run_cell(cell, silent=True, shell_futures=shell_futures)
                if raise_exceptions:
                    result.raise_error()
                elif not result.success:
                    break

    shell.safe_execfile_ipy = safe_execfile_ipy


def _find_what_is_gone(shell: Any) -> None:
    """Let `%run` find a file that is gone, where the cell is recorded to have run it."""
    stock = shell.find_line_magic("run")

    def find(name: str) -> str:
        try:
            return str(get_py_filename(name))
        except OSError:
            for each in (name, f"{name}.py"):
                if (path := recorded_script(str(Path(each).expanduser()))) is not None:
                    return path
            raise

    @wraps(stock)
    def run(parameter_s: str = "", runner: Any = None, file_finder: Any = find) -> Any:
        return stock(parameter_s, runner, file_finder)

    shell.register_magic_function(run, "line", "run")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _cells_of(path: Path, source: bytes) -> list[str]:
    text = source.decode("utf-8")
    if path.suffix != ".ipynb":
        return [text]
    import nbformat  # noqa: PLC0415 - would delay every kernel's start, and few need it

    cells = nbformat.reads(text, as_version=4).cells
    return [each.source for each in cells if each.cell_type == "code"]


class AutoreloadFollower:
    """Lets %autoreload reload on replay what it reloaded then. Asked before and after each cell."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._is_hooked = False
        self._invented: set[str] = set()
        """Modules whose time is not that of their file: it counts the reloads on replay."""

    def look(self) -> None:
        """Put the hooks into the extension, once it is loaded."""
        module = sys.modules.get(_AUTORELOAD)
        if self._is_hooked or module is None:
            return
        self._is_hooked = True
        reloader: Any = module.ModuleReloader
        stock = reloader.filename_and_mtime

        def filename_and_mtime(own: Any, loaded: Any) -> tuple[str | None, float | None]:
            found: tuple[str | None, float | None] = stock(own, loaded)
            return self._as_recorded(own, loaded, found)

        reloader.filename_and_mtime = filename_and_mtime
        patching = getattr(module, "DeduperReloader", None)
        if patching is not None:
            patching.maybe_reload_module = lambda _own, _module: False

    def _as_recorded(
        self, reloader: Any, loaded: Any, found: tuple[str | None, float | None]
    ) -> tuple[str | None, float | None]:
        path, _ = found
        run = self._kernel.run
        name = getattr(loaded, "__name__", "")
        if run is None or path is None or not is_project_file(path):
            return found
        known = float(reloader.modules_mtimes.get(name, 0.0))
        if run.modules.expects(name) or not run.port.is_live:
            self._invented.add(name)
            return path, known + run.modules.expects(name)
        if name in self._invented:
            self._invented.discard(name)
            is_changed = run.modules.is_changed(name)
            reloader.modules_mtimes[name] = 0.0 if is_changed else found[1]
        return found
