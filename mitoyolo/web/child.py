"""A command that ends with the server: ``python -m mitoyolo.web.child SERVER_PID COMMAND...``.

It gives way to the server's own work, asks the kernel to be killed when the server is, and becomes
the command.
"""

from __future__ import annotations

import os
import signal
import sys

from mitoyolo.stopping import end_with_parent

NICENESS = 10

if __name__ == "__main__":
    end_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it ended before we asked
        sys.exit(1)
    os.nice(NICENESS)
    os.execv(sys.argv[2], sys.argv[2:])
