"""`python -m durable_kernel`: start the kernel, or `install` its kernelspec. Only starts a room."""

import sys

from durable_kernel.kernel.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
