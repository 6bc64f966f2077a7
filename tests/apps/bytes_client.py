"""A client of a TCP server that speaks first, for tests: bytes_client.py HOST PORT prints its first line, sends a text
and prints what comes back."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    """One connection."""
    with (
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection,
        connection.makefile("rwb") as file,
    ):
        print(file.readline().decode().strip(), flush=True)
        file.write(b"said-in-clear\n")
        file.flush()
        print(file.readline().decode().strip())


main()
