"""For tests of rules by cgroup: connects_by_cgroup.py PORT CGROUP listens on PORT of loopback, connects to an address
that nobody has, enters CGROUP and does so again. Prints whether each connection was led to the listener."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

NOBODY = ("192.0.2.1", 80)


def led() -> bool:
    """Whether a connection to NOBODY is made."""
    with socket.socket() as connection:
        connection.settimeout(1)
        try:
            connection.connect(NOBODY)
        except OSError:
            return False
    return True


def main() -> None:
    """Before and after."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
        print(led())
        Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
        print(led())


main()
