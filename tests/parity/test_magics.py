"""Magics do what they do in the stock kernel, and a killed kernel has their results back."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from tests.kernel.conftest import Start
from tests.parity.both import both_kernels, seen, told

pytestmark = pytest.mark.slow

CELLS = [
    "a, b = 1, [2]",
    "%time a = a + 1",
    "%%time\na = a + 1",
    "%%time\nimport asyncio\nawait asyncio.sleep(0.01)\nslept = True",
    "%time raise ValueError('timed')",
    "t = %timeit -n 50 -r 3 -o -q sum(range(100))",
    "%timeit -n 20 -r 2 sum(range(100))",
    "%%timeit -n 3 -r 2 x = []\nx.append(a)",
    "%timeit -n 2 -r 2 1/0",
    "import timeit; took = timeit.timeit('1', number=100)",
    "%run -i script.py one two",
    "%run -t script.py",
    "%run -n script.py",
    "%run other.ipynb",
    "%run lines.ipy",
    "%run missing.py",
    "%%capture out\nimport sys; print('out'); print('err', file=sys.stderr)",
    "out.stdout, out.stderr",
    "%%capture --no-display shown\nfrom IPython.display import display; display(1)\n2",
    "captured = len(shown.outputs)",
    "%who",
    "%who_ls",
    "%env A_VARIABLE=5",
    "import os; variable = os.environ['A_VARIABLE']",
    "%pwd",
    "%cd ..",
    "%dhist",
    "%cd -q -",
    "here = os.getcwd()",
    "%macro again 1",
    "%alias_magic tt time",
    "%precision 3",
    "3.14159",
    "%precision %r",
    "%xmode Minimal",
    "1/0",
    "%xmode Context",
    "%tb",
    "%prun -q sum(range(1000))",
    "%matplotlib inline",
    "%config InlineBackend.figure_format",
    "%config InteractiveShell.ast_node_interactivity = 'all'",
    "10\n11",
    "%config InteractiveShell.ast_node_interactivity = 'last_expr'",
    "%%html\n<b>bold</b>",
    "%%markdown\n# title",
    "%load script.py",
    "%run?",
    "len?",
    "a??",
    "%pdoc len",
    "%psearch a*",
    "%history -n 1-3",
    "%rerun 1",
    "%load_ext no_such_extension",
    "%no_such_magic",
    "%%no_such_magic\nx",
    "from IPython.core.magic import register_line_magic as register",
    "@register\ndef twice(line): return line * 2",
    "doubled = %twice ab",
    "%gui asyncio",
    "%reset_selective -f ^b$",
    "names = sorted(name for name in globals() if not name.startswith('_'))",
    "names",
]
STATE = (
    "(a, t.loops, t.average, took, len(from_script), from_notebook, from_lines, out.stdout, "
    "captured, variable, here, doubled, names, get_ipython().find_line_magic('tt') is not None)"
)


def prepare(folder: Path) -> None:
    """Write what the cells run."""
    (folder / "script.py").write_text("import sys\nfrom_script = sys.argv[1:]\n")
    (folder / "lines.ipy").write_text("%time from_lines = 3\n")
    cells = [
        nbformat.v4.new_code_cell(each) for each in ("from_notebook = 6", "from_notebook += 1")
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "other.ipynb")


def test_magics_do_what_they_do_in_the_stock_kernel_and_are_restored(tmp_path: Path) -> None:
    with both_kernels(tmp_path, prepare) as kernels:
        for code in CELLS:
            brought = {name: seen(each, each.run(code)) for name, each in kernels.items()}
            assert brought["durable"] == brought["stock"], code
        kernel = kernels["durable"]
        before = kernel.run(STATE)
        kernel.kill()
        kernel.start()

        first = told(kernel.run("'another cell'"))
        after = kernel.run(f"{STATE}  # after")

        assert before.status == "ok", before.reply
        assert after.plain() == before.plain()
        assert f"restored {len(CELLS) + 1} cells" in first
        assert "printed something else" not in first


def test_an_autoreloaded_module_is_restored_as_it_was_reloaded(start: Start) -> None:
    kernel = start()
    module = kernel.folder / "edited.py"

    def edit(value: int) -> None:
        module.write_text(f"value = {value}\ndef read():\n    return {value}\n")
        os.utime(module, (1_000_000_000 + value, 1_000_000_000 + value))

    edit(1)
    kernel.run("%load_ext autoreload\n%autoreload 2\nimport edited\nfrom edited import read")
    kernel.run("first = edited.value, read()")
    edit(2)
    kernel.run("second = edited.value, read()")
    kernel.kill()
    edit(3)
    kernel.start()

    restored = kernel.run("first, second")
    now = [kernel.run("edited.value, read()").plain()]
    edit(4)
    now.append(kernel.run("edited.value, read()").plain())

    assert restored.plain() == "((1, 1), (2, 2))"
    assert now == ["(3, 3)", "(4, 4)"]


@pytest.mark.parametrize("name", ["other.ipynb", "lines.ipy", "script.py"])
def test_a_file_that_was_run_is_restored_as_it_was(start: Start, name: str) -> None:
    """H25: what it says by now is an edit, and is told as one."""
    kernel = start()

    def write(value: int) -> None:
        code = f"value = {value}\nprint(value)"
        cells = [nbformat.v4.new_code_cell(each) for each in (code, "value = value + 1")]
        if name.endswith(".ipynb"):
            nbformat.write(nbformat.v4.new_notebook(cells=cells), kernel.folder / name)
        else:
            (kernel.folder / name).write_text(f"{code}\nvalue = value + 1\n")

    write(1)
    kernel.run(f"%run {name}")
    kernel.kill()
    write(10)
    kernel.start()

    restored = kernel.run("value")
    again = kernel.run(f"%run {name}")

    assert restored.plain() == "2"
    assert f"changed since a cell loaded it: {name}" in told(restored)
    assert again.text() == "10\n"
    assert kernel.run("value  # now").plain() == "11"


@pytest.mark.parametrize("name", ["cells.ipy", "script.py"])
def test_a_file_that_was_run_and_is_gone_is_restored(start: Start, name: str) -> None:
    """H25: what a cell executed is in the journal; where it came from need not be there."""
    kernel = start()
    (kernel.folder / name).write_text("value = 1\nprint(value)\n")
    kernel.run(f"%run {name.removesuffix('.py')}")
    kernel.kill()
    (kernel.folder / name).unlink()
    kernel.start()

    restored = kernel.run("value")
    missing = kernel.run(f"%run {name}")

    assert restored.plain() == "1"
    assert "printed something else" not in told(restored)
    assert missing.reply["evalue"] == f"File `'{name}'` not found."


def test_the_loops_of_timeit_are_those_of_then(start: Start) -> None:
    """How often it loops depends on the clock, which is recorded; so the results are the same."""
    kernel = start()
    kernel.run("r = %timeit -r 2 -o 'a'.join('bcd' * 2000)")
    before = kernel.run("r.loops, r.all_runs").plain()
    kernel.kill()
    kernel.start()

    after = kernel.run("r.loops, r.all_runs")

    assert after.plain() == before
    assert "printed something else" not in told(after)
