"""Network namespaces of Linux: which one a file is, and what is done inside of one.

A thread that enters a namespace stays in it, and what it starts begins there; so each piece of work has a thread of its
own, which ends with it. See network_namespaces(7), setns(2), ioctl_ns(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from weft.processes.capabilities import CAP_SYS_ADMIN, lower_ambient

ResultT = TypeVar("ResultT")
_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_OWN = "/proc/self/ns/net"
_OTHERS_MAY_WRITE = 0o022


class NamespaceError(Exception):
    """A namespace cannot be used now, and why: words that follow its path."""


def namespace_at(path: str) -> str:
    """Which network namespace is at `path`: device and inode of its file, ``HEX-NUMBER``. Blocks for a moment.

    Raises NamespaceError where there is none, or it is not to be entered: everything on the way must be root's or our
    own, so that nobody else can put another file there between this look and Envoy's.
    """
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return f"{found.st_dev:x}-{found.st_ino}"


def check_loopback(path: str) -> None:
    """NamespaceError unless the loopback of the namespace at `path` is up, as it is not when one is made. Blocks for a
    moment."""

    def flags() -> int:
        with socket.socket() as any_socket:
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        return int(struct.unpack("16sh14x", answer)[1])

    try:
        up = inside(path, flags) & _IFF_UP
    except OSError as error:
        raise NamespaceError(f"cannot be used: {error.strerror}") from error
    if not up:
        raise NamespaceError("has a loopback that is down: ip -n NAME link set lo up")


def inside(path: str, work: Callable[[], ResultT]) -> ResultT:
    """What `work` gives, done within the namespace at `path`, by a thread without the right to leave it again: what it
    starts has not got it either. Blocks. NamespaceError when it cannot be entered, and what `work` raises."""
    descriptor = _open(path)

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise NamespaceError(f"cannot be entered: {os.strerror(ctypes.get_errno())}")
        lower_ambient(CAP_SYS_ADMIN)

    try:
        return in_thread(enter, work)
    finally:
        os.close(descriptor)


def in_thread(prepare: Callable[[], None], work: Callable[[], ResultT]) -> ResultT:
    """What `work` gives, done by a thread of its own that `prepare` has changed. Blocks; raises what either raises."""
    found: list[ResultT] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            prepare()
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="in a namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _open(path: str) -> int:
    """A descriptor of the namespace at `path`."""
    try:
        _check_way(path)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise NamespaceError("is no network namespace")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise NamespaceError("is not there") from None
    except OSError as error:
        raise NamespaceError(f"cannot be opened: {error.strerror}") from error
    try:
        _check_kind(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(descriptor: int) -> None:
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise NamespaceError("is no network namespace")
    if os.path.samestat(os.fstat(descriptor), Path(_OWN).stat()):
        raise NamespaceError("is the network namespace of this host itself")


def _check_way(path: str) -> None:
    for each in Path(path).parents:
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NamespaceError(f"cannot be relied on: {each} is no directory")
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_MAY_WRITE:
            raise NamespaceError(f"cannot be relied on: others may change what is in {each}")
