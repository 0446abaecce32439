"""The example notebook is an ordinary one: the stock kernel runs it, and tags say what differs."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from notebooks.demo_stage import steady_kernels
from notebooks.flights_log import AccessLog, count_pages, read_exchanges
from notebooks.flights_service import FlightsData, FlightsServer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "flights.ipynb"
CLOCK = re.compile(r"\bdatetime\.now\(|\btime\.(time|perf_counter|monotonic)\(|\bseconds\b")
ENTROPY = re.compile(r"\brandom\.\w+\(|default_rng\(\)|\.sample\(|uuid4\(|\bspread\b")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FlightsServer]:
    log = AccessLog(tmp_path / "access.jsonl")
    with FlightsServer(FlightsData.load(), log, rows_per_page=20_000) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    log.close()


def code_cells() -> list[Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_committed_without_outputs_and_names_the_stock_kernel() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)

    assert notebook.metadata.kernelspec.name == "python3"
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells())


def test_the_notebook_has_no_word_of_durable_and_writes_no_file() -> None:
    text = NOTEBOOK.read_text()

    assert "durable" not in text.lower()
    assert not re.search(r"\bopen\(|to_csv|to_parquet|savefig|Thread", text)


@pytest.mark.parametrize(("tag", "sign"), [("clock", CLOCK), ("entropy", ENTROPY)])
def test_cells_that_show_a_clock_or_entropy_are_tagged(tag: str, sign: re.Pattern[str]) -> None:
    tagged = {cell.id for cell in code_cells() if tag in cell.metadata.get("tags", [])}
    # The cell that fetches reads a clock for the next one and shows nothing of it.
    signed = {cell.id for cell in code_cells() if sign.search(cell.source)} - {"pages"}

    assert tagged == signed


@pytest.mark.slow
def test_the_stock_kernel_runs_it_and_asks_for_each_page_once(
    server: FlightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIGHTS_URL", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    with steady_kernels() as config:
        nbclient.NotebookClient(
            notebook, kernel_name="python3", timeout=180, config=config
        ).execute()

    exchanges = read_exchanges(server.log.path.read_text().splitlines())
    assert [(c.page, c.asked, c.completed) for c in count_pages(exchanges)] == [
        (page, 1, 1) for page in range(1, 18)
    ]
    assert [report["receipt"] for report in server.reports.all()] == ["R-0001"]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
