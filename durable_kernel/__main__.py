"""`python -m durable_kernel`: start the kernel, or `install` its kernelspec. Only starts a room.

A kernel ignores SIGINT but while a cell runs. It is so from the first line on: who stops a kernel
sends SIGINT first, and one that is still importing would die of it with a traceback, before it can
hear, and note, that it was stopped or restarted.
"""

import signal
import sys

if __name__ == "__main__" and sys.argv[1:2] != ["install"]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

from durable_kernel.kernel.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
