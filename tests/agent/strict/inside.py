"""Tries what an application may try, and prints what came of each as JSON. Its words are PROXY HOST_PORT HOST_ADDRESS
OUTSIDE, of which the last is a process outside. Given to Python as text: its user may not read this file."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

PROXY, HOST_PORT, HOST_ADDRESS, OUTSIDE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
ELSEWHERE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def said(host: str, port: int) -> str:
    """The destination that the proxy was told, which it answers with."""
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"?")
            return connection.recv(200).decode() or "closed"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def datagram(host: str) -> str:
    """What is told who sends a datagram."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(10)
        try:
            sender.connect((host, 443))
            sender.send(b"x")
            sender.recv(1)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return "answered"


def name() -> list[Any]:
    """An answer for a name, and who gives it."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.settimeout(10)
        sender.sendto(b"name?", ("192.0.2.53", 53))
        answer, where = sender.recvfrom(200)
        return [answer.decode(), *where]


def fails(*words: str) -> bool:
    """Whether a program does."""
    return subprocess.run(words, capture_output=True, timeout=20, check=False).returncode != 0


status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
dials = (sys.executable, "-c", ELSEWHERE, HOST_ADDRESS, str(HOST_PORT))
found = {
    "IPv4": said("192.0.2.7", 7007),
    "IPv6": said("2001:db8::7", 7007),
    "the host's own address": said(HOST_ADDRESS, HOST_PORT),
    "the proxy's port": said("127.0.0.1", PROXY),
    "the host's loopback": said("127.0.0.1", HOST_PORT),
    "any address": said("0.0.0.0", PROXY),
    "UDP": [datagram("192.0.2.7"), datagram("2001:db8::7")],
    "a name": name(),
    "capabilities": [status[each].strip("0") for each in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")],
    "no new privileges": status["NoNewPrivs"],
    "user": [os.getuid(), os.getgid()],
    "directory": str(Path.cwd()),
    "environment": sorted(
        each.partition("=")[0] for each in Path("/proc/self/environ").read_text().split("\0") if each
    ),
    "refused": {
        "routes": fails("ip", "route", "replace", "default", "dev", "lo"),
        "rules": fails("nft", "flush", "ruleset"),
        "the network of a process outside": fails("nsenter", "--net", "--target", OUTSIDE, *dials),
        "its user namespace, too": fails("nsenter", "--user", "--net", "--target", OUTSIDE, *dials),
        "from a user namespace of its own": fails(
            "unshare", "--user", "--map-root-user", "nsenter", "--net", "--target", OUTSIDE, *dials
        ),
        "a network of its own": fails("unshare", "--user", "--map-root-user", "--net", *dials),
        "the memory of a process outside": fails("head", "-c", "1", f"/proc/{OUTSIDE}/mem"),
    },
}
print(json.dumps(found))
