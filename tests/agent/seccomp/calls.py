"""Makes calls as applications do, and prints what came of each as JSON: ``calls.py LOOPBACK_PORT [CASE]``."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOUR, SIX, MAPPED = ("192.0.2.7", 7007), ("2001:db8::7", 7007), ("::ffff:192.0.2.7", 7007)
REFUSED = ("192.0.2.9", 9)
SERVER = ("192.0.2.53", 53)
LOOPBACK_PORT = int(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)


def said(connection: socket.socket) -> str:
    """The destination that the proxy was told, which it answers with."""
    connection.settimeout(5)
    connection.sendall(b"?")
    return connection.recv(200).decode()


def blocking(where: tuple[str, int], family: int = socket.AF_INET) -> Any:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.connect(where)
        return said(connection)


def nonblocking() -> Any:
    with socket.socket() as connection:
        connection.setblocking(False)
        first = connection.connect_ex(FOUR)
        ready = select.poll()
        ready.register(connection, select.POLLOUT)
        ready.poll(5000)
        failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        again = connection.connect_ex(FOUR)
        third = connection.connect_ex(FOUR)
        return [errno.errorcode[first], failed, again, errno.errorcode[third], said(connection)]


def keeps_its_options() -> Any:
    with socket.socket() as connection, select.epoll() as poll:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        poll.register(connection, select.EPOLLOUT)
        connection.connect_ex(FOUR)
        ready = poll.poll(5)
        return [bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)), len(ready), said(connection)]


def twice() -> Any:
    with socket.socket() as connection:
        connection.connect(FOUR)
        told = said(connection)
        connection.connect_ex(FOUR)
        return [told, errno.errorcode[connection.connect_ex(FOUR)]]


def of_a_wrong_family() -> Any:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
        raw = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 7007) + socket.inet_aton("192.0.2.7") + b"\0" * 20
        LIBC.connect(connection.fileno(), raw, len(raw))
        return errno.errorcode[ctypes.get_errno()]


def unreadable_address() -> Any:
    with socket.socket() as connection:
        LIBC.connect(connection.fileno(), ctypes.c_void_p(8), 16)
        return errno.errorcode[ctypes.get_errno()]


def loopback() -> Any:
    with socket.create_connection(("127.0.0.1", LOOPBACK_PORT), 5) as connection:
        return connection.getpeername()[1] == LOOPBACK_PORT


def unix() -> Any:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(Path(directory) / "s"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(Path(directory) / "s"))
            return True


def sends_and_connects_at_once() -> Any:
    with socket.socket() as connection:
        try:
            return connection.sendto(b"x", socket.MSG_FASTOPEN, FOUR)
        except OSError as error:
            first = errno.errorcode[error.errno or 0]
        try:
            return connection.sendmsg([b"x"], [], socket.MSG_FASTOPEN, FOUR)
        except OSError as error:
            return [first, errno.errorcode[error.errno or 0]]


def fastopen_later() -> Any:
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
        connection.connect(FOUR)
        return said(connection)


def io_uring() -> Any:
    LIBC.syscall(425, 1, 0)
    return errno.errorcode[ctypes.get_errno()]


def datagrams_to_loopback() -> Any:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client.sendto(b"hi", server.getsockname())
        data, where = server.recvfrom(10)
        return [data.decode(), where[0]]


def asks_for_names(*, connected: bool, message: bool, waits: bool) -> Any:
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        if connected:
            asking.connect(SERVER)
            asking.send(b"name?")
        else:
            asking.sendto(b"name?", SERVER)
        if not waits:
            select.select([asking], [], [], 5)
            asking.setblocking(False)
        if message:
            pieces = [bytearray(3), bytearray(60)]
            size, _, _, where = asking.recvmsg_into(pieces)
            return [b"".join(pieces)[:size].decode(), *where]
        data, where = asking.recvfrom(512)
        return [data.decode(), *where]


def nothing_to_receive() -> Any:
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.sendto(b"silence", SERVER)
        asking.setblocking(False)
        try:
            return str(asking.recvfrom(512))
        except BlockingIOError:
            return "EAGAIN"


def not_dumpable() -> Any:
    child = os.fork()
    if not child:
        LIBC.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        with socket.socket() as connection:
            os._exit(connection.connect_ex(FOUR))
    return errno.errorcode[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def interrupted() -> Any:
    """Signals come all the time while connections are made, and calls go on after them (SA_RESTART)."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        return sorted({blocking(FOUR) for _ in range(100)})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def in_threads() -> Any:
    found: list[str] = []

    def work() -> None:
        found.extend(blocking(FOUR) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [len(found), sorted(set(found))]


def of_a_grandchild() -> Any:
    """Double-forked, as daemons are."""
    reading, writing = os.pipe()
    if not os.fork():
        if not os.fork():
            os.write(writing, blocking(FOUR).encode())
        os._exit(0)
    os.wait()
    return os.read(reading, 100).decode()


def has_children() -> Any:
    try:
        os.wait()
    except ChildProcessError:
        return False
    return True


CASES: dict[str, Callable[[], Any]] = {
    "no children of its own": has_children,
    "IPv4": lambda: blocking(FOUR),
    "IPv6": lambda: blocking(SIX, socket.AF_INET6),
    "IPv4 in IPv6": lambda: blocking(MAPPED, socket.AF_INET6),
    "nonblocking": nonblocking,
    "options": keeps_its_options,
    "twice": twice,
    "wrong family": of_a_wrong_family,
    "unreadable": unreadable_address,
    "loopback": loopback,
    "unix": unix,
    "fast open": sends_and_connects_at_once,
    "fast open later": fastopen_later,
    "io_uring": io_uring,
    "datagrams": datagrams_to_loopback,
    "names": lambda: asks_for_names(connected=False, message=False, waits=True),
    "names, connected": lambda: asks_for_names(connected=True, message=False, waits=True),
    "names, not waiting": lambda: asks_for_names(connected=False, message=False, waits=False),
    "names, message": lambda: asks_for_names(connected=False, message=True, waits=True),
    "names, none": nothing_to_receive,
    "not dumpable": not_dumpable,
    "interrupted": interrupted,
    "threads": in_threads,
    "grandchild": of_a_grandchild,
    "environment": lambda: sorted(
        each.partition("=")[0] for each in Path("/proc/self/environ").read_text().split("\0") if each
    ),
}


def main() -> None:
    """Each in turn; an error is told by its type."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        if sys.argv[2:] not in ([], [name]):
            continue
        try:
            found[name] = case()
        except OSError as error:
            found[name] = repr(error)
    print(json.dumps(found))


main()
