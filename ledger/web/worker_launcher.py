"""Become a worker that ends with the process that started it, even if that one is killed.

Run as ``python -m ledger.web.worker_launcher PARENT COMMAND...``: asks the kernel for a signal when the parent is gone,
and becomes the command. Kernels without that leave a worker behind whose server was killed, which does no harm: workers
may be many.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It was gone before anybody asked for the signal.
        raise SystemExit(0)
    os.execv(command[0], command)  # noqa: S606 - the command comes from the server, apart already


if __name__ == "__main__":
    main()
