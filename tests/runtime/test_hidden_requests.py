"""What a request sends leaves no trace on disk but keyed hashes (H18)."""

from __future__ import annotations

from tests.runtime.notebooks import Notebook


def test_what_a_request_sends_is_kept_as_keyed_hashes_only(notebook: Notebook) -> None:
    """H18: with another key the same short body has another hash; so nobody finds it by trying."""
    word, token = "p" + "w-1234", "t0" + "ken-1"
    notebook.names.update(url=f"http://u:{word}@127.0.0.1:9/?token={token}")
    notebook.lived(
        "import httpx\n"
        "try: httpx.post(url, content=b'1234')\n"
        "except httpx.ConnectError: print('no')"
    )

    again = notebook.replayed()

    assert again.text() == "no\n"
    assert "hash:" in repr(again.run.log())
    assert [each for each in (word, token) if each.encode() in notebook.all_bytes()] == []
