"""The recorder: writes each IOPub message to a file, synced before it takes the next one.

`recorder.py CONNECTION_FILE OUT` runs until it is killed. It stays while kernels come and go, like
a front end. A line is {"kind": message type, "parent": id of the request, "content": …}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from queue import Empty

from jupyter_client.blocking.client import BlockingKernelClient


def main(connection_file: str, out: str) -> None:
    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels(shell=False, stdin=False, hb=False, control=False)
    with Path(out).open("a") as file:
        while True:
            try:
                message = client.get_iopub_msg(timeout=60)
            except Empty:
                continue
            parent = message["parent_header"].get("msg_id", "")
            line = {"kind": message["msg_type"], "parent": parent, "content": message["content"]}
            file.write(json.dumps(line, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
