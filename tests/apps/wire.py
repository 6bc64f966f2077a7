"""Writes down what a network interface carries, for tests: wire.py INTERFACE FILE. Says `ready` when it begins."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

ALL = 3  # ETH_P_ALL


def main() -> None:
    """Read packets for ever."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL)) as wire,
        Path(sys.argv[2]).open("wb", 0) as file,
    ):
        wire.bind((sys.argv[1], 0))
        print("ready", flush=True)
        while True:
            file.write(wire.recv(1 << 16))


main()
