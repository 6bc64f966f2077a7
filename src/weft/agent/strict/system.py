"""Namespaces and capabilities, by the system calls that Python 3.11 has no functions for: see namespaces(7) and
capabilities(7)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_NEW_MOUNTS, _NEW_USERS, _NEW_NET = 0x00020000, 0x10000000, 0x40000000
_KINDS = (("user", _NEW_USERS), ("net", _NEW_NET), ("mnt", _NEW_MOUNTS))
"""In the order in which they are entered: the first gives the right to enter the others."""
_MS_REC, _MS_SLAVE = 1 << 14, 1 << 19
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4
_VERSION_3 = 0x20080522
_NET_ADMIN = 12

_libc = ctypes.CDLL(None, use_errno=True)


def make_namespaces() -> None:
    """Put this process into new namespaces for users, networks and mounts. It keeps its user and group, which are the
    only ones that are known there, and has every capability there. OSError where the system refuses. For a process with
    one thread."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_USERS | _NEW_NET | _NEW_MOUNTS))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - a relay does without pathlib
            file.write(text)
    # What is mounted outside later is seen inside, and not the other way round.
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))


def enter_namespaces(process: int) -> None:
    """Put this process, which has one thread, into those of `process`. OSError where the system refuses."""
    opened = [(os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in _KINDS]
    try:
        for descriptor, kind in opened:
            _check(_libc.setns(descriptor, kind))
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)


def mount_empty(directory: str) -> None:
    """Lay an empty directory, in memory, over `directory`."""
    _check(_libc.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, b"size=64k,mode=0755"))


def lend_net_admin() -> None:
    """Let programs that are started now change the network of this namespace; `take_back` ends that."""
    everything = (1 << _last_capability() + 1) - 1
    _set_capabilities(everything, everything, 1 << _NET_ADMIN)
    _check(_libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, _NET_ADMIN, 0, 0))


def take_back() -> None:
    """Have programs that are started now gain nothing."""
    _check(_libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0))


def drop_capabilities() -> None:
    """Leave this process, and whatever it starts, without any capability, and without a way to gain one (setuid)."""
    take_back()
    for number in range(_last_capability() + 1):
        _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
    _set_capabilities(0, 0, 0)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:  # noqa: PTH123
        return int(file.read())


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    words = [(each & 0xFFFFFFFF, each >> 32) for each in (effective, permitted, inheritable)]
    data = struct.pack("=6I", *(word[half] for half in (0, 1) for word in words))
    _check(_libc.capset(struct.pack("=Ii", _VERSION_3, 0), data))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
