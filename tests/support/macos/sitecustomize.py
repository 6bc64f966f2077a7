"""A Python as on macOS, as far as that can be simulated: with this directory in PYTHONPATH, every Python begins so.

What CPython has on Linux alone is gone, `/proc` and `/sys` are not there, `sys.platform` is darwin. What is the
system's own (kqueue, the file system's events, Envoy's binary) stays that of this host.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import types

_LINUX_ONLY = {
    os: (
        "pidfd_open", "P_PIDFD", "waitid", "sched_getaffinity", "sched_setaffinity", "memfd_create", "setns", "unshare",
        "eventfd", "eventfd_read", "eventfd_write", "getrandom", "pipe2", "splice", "copy_file_range", "O_TMPFILE",
        "O_PATH", "getresuid", "getresgid", "setresuid", "setresgid", "posix_fallocate", "posix_fadvise", "getxattr",
        "setxattr", "listxattr", "removexattr", "dup3",
    ),
    select: ("epoll",),
    signal: ("sigwaitinfo", "sigtimedwait", "SIGRTMIN", "SIGRTMAX", "SIGPOLL", "SIGPWR", "SIGSTKFLT"),
    socket: (
        "SO_PEERCRED", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "SO_BINDTODEVICE", "SO_MARK", "SOCK_CLOEXEC",
        "SOCK_NONBLOCK", "SO_DOMAIN", "SO_PROTOCOL", "TCP_USER_TIMEOUT", "TCP_DEFER_ACCEPT", "TCP_QUICKACK", "TCP_INFO",
        "IP_TRANSPARENT", "IP_RECVTOS", "SCM_CREDENTIALS", "SO_PASSCRED", "SO_INCOMING_CPU",
    ),
    time: ("CLOCK_BOOTTIME", "CLOCK_TAI"),
}  # fmt: skip
_PEERCRED = getattr(socket, "SO_PEERCRED", 17)
_GONE = ("/proc", "/sys")
_inside = threading.local()


def _is_gone(path: object) -> bool:
    if getattr(_inside, "allowed", False):
        return False
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return any(text == gone or text.startswith(f"{gone}/") for gone in _GONE)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and arguments and _is_gone(arguments[0]):
        raise FileNotFoundError(2, "No such file or directory", str(arguments[0]))


def _without(function: types.BuiltinFunctionType) -> object:
    def call(path: object, *arguments: object, **named: object) -> object:
        if _is_gone(path):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return function(path, *arguments, **named)

    return call


def _processes() -> types.ModuleType:
    """What weft uses of psutil, which has no library of macOS here."""
    module = types.ModuleType("psutil")

    class Error(Exception):
        pass

    class Process:
        def __init__(self, pid: int) -> None:
            _inside.allowed = True
            try:
                with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                    self._fields = file.read().rpartition(")")[2].split()
            except OSError as error:
                raise Error from error
            finally:
                _inside.allowed = False

        def status(self) -> str:
            return "zombie" if self._fields[0] in "ZX" else "running"

        def create_time(self) -> float:
            return float(self._fields[19])

    module.__dict__.update(Error=Error, Process=Process, STATUS_ZOMBIE="zombie")
    return module


class _Socket(socket.socket):
    """LOCAL_PEERCRED in place of SO_PEERCRED."""

    def getsockopt(self, level: int, option: int, *size: int) -> int | bytes:  # type: ignore[override]
        if (level, option) == (0, 1) and self.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("3i", super().getsockopt(socket.SOL_SOCKET, _PEERCRED, 12))
            return struct.pack("II", 0, uid).ljust(size[0], b"\0")
        return super().getsockopt(level, option, *size)


for _module, _names in _LINUX_ONLY.items():
    for _name in _names:
        if hasattr(_module, _name):
            delattr(_module, _name)
sys.platform = "darwin"
_real = os.uname()
_NAME = os.uname_result(("Darwin", _real.nodename, "24.0.0", "simulated", _real.machine))
os.uname = lambda: _NAME
socket.socket = _Socket  # type: ignore[misc]
sys.modules["psutil"] = _processes()
_proxies = types.ModuleType("_scproxy")
_proxies.__dict__.update(_get_proxy_settings=dict, _get_proxies=dict)
sys.modules["_scproxy"] = _proxies
for _name in ("stat", "lstat", "access"):
    setattr(os, _name, _without(getattr(os, _name)))
sys.addaudithook(_hook)
