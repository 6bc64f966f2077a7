"""The system calls of seccomp that Python has no functions for, by ctypes: see seccomp(2), seccomp_unotify(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from dataclasses import dataclass

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_WAIT_KILLABLE = 1 << 5
"""Only a signal that ends it interrupts who waits for an answer: from Linux 5.19."""
_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_PIDFD_THREAD = os.O_EXCL
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's numbers: its own (``AUDIT_ARCH_…``) and those of its system calls."""

    arch: int
    seccomp: int
    connect: int
    sendto: int
    recvfrom: int
    sendmsg: int
    recvmsg: int
    sendmmsg: int
    io_uring_setup: int = 425
    foreign: int = 0
    """Numbers from here on are another interface's (x32), if it has one."""


MACHINES = {
    "x86_64": Machine(0xC000003E, 317, 42, 44, 45, 46, 47, 307, foreign=0x40000000),
    "aarch64": Machine(0xC00000B7, 277, 203, 206, 207, 211, 212, 269),
}


@dataclass(frozen=True, slots=True)
class Notification:
    """Thread `thread` waits in system call `number`."""

    id: int
    thread: int
    number: int
    arguments: tuple[int, ...]


class _Instructions(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


class _Slice(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def install_filter(machine: Machine, program: bytes) -> int:
    """Put this process, and all that it becomes, under `program`; the descriptor at which notifications come. Its
    programs gain no privileges any more (setuid has no effect). OSError where the system refuses."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _error()
    code = ctypes.create_string_buffer(program, len(program))
    given = ctypes.byref(_Instructions(len(program) // 8, ctypes.addressof(code)))
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        descriptor: int = _libc.syscall(machine.seccomp, _SET_MODE_FILTER, flags, given)
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() != errno.EINVAL:
            break
    raise _error()


def end_with_parent() -> None:
    """Have this process, and the program that it becomes, killed when its parent ends."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise _error()


def receive(listener: int) -> Notification | None:
    """The next notification; None if who waited has gone."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    id, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)  # noqa: A001 - the kernel's word
    return Notification(id, thread, number, tuple(arguments))


def answer(listener: int, id: int, value: int = 0, error: int = 0) -> None:  # noqa: A002
    """Have its call return `value`, or fail with `error`. Whoever has gone is not told."""
    _respond(listener, _RESPONSE.pack(id, value, -error, 0))


def go_on(listener: int, id: int) -> None:  # noqa: A002
    """Have the system do what was called."""
    _respond(listener, _RESPONSE.pack(id, 0, 0, _CONTINUE))


def is_waiting(listener: int, id: int) -> bool:  # noqa: A002
    """Whether it waits still: only then was it of that thread what was read by the thread's number."""
    try:
        fcntl.ioctl(listener, _VALID, struct.pack("=Q", id))
    except OSError:
        return False
    return True


def read_memory(thread: int, address: int, length: int) -> bytes:
    """`length` bytes of its memory. OSError if they are not there (EFAULT) or may not be read (EPERM)."""
    buffer = ctypes.create_string_buffer(length)
    ours, its = _Slice(ctypes.addressof(buffer), length), _Slice(address, length)
    found = _libc.process_vm_readv(thread, ctypes.byref(ours), 1, ctypes.byref(its), 1, 0)
    if found < 0:
        raise _error()
    if found < length:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return buffer.raw


def write_memory(thread: int, address: int, data: bytes) -> None:
    """Write into its memory. OSError as in `read_memory`."""
    if not data:
        return
    buffer = ctypes.create_string_buffer(data, len(data))
    ours, its = _Slice(ctypes.addressof(buffer), len(data)), _Slice(address, len(data))
    if _libc.process_vm_writev(thread, ctypes.byref(ours), 1, ctypes.byref(its), 1, 0) != len(data):
        raise _error()


def take_descriptor(thread: int, descriptor: int) -> int:
    """A descriptor of our own of what `descriptor` is for `thread`."""
    process = _open_process(thread)
    try:
        taken: int = _libc.syscall(_PIDFD_GETFD, process, ctypes.c_int(descriptor), 0)
    finally:
        os.close(process)
    if taken < 0:
        raise _error()
    return taken


def reset(descriptor: int) -> None:
    """Have a socket be as if it had never been connected."""
    _libc.connect(descriptor, struct.pack("=HHQ", 0, 0, 0), 16)  # AF_UNSPEC


def _open_process(thread: int) -> int:
    found: int = _libc.syscall(_PIDFD_OPEN, thread, _PIDFD_THREAD)  # a thread by itself: from Linux 6.9
    if found < 0 and ctypes.get_errno() == errno.EINVAL:
        found = _libc.syscall(_PIDFD_OPEN, _process_of(thread), 0)
    if found < 0:
        raise _error()
    return found


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", "rb") as file:  # noqa: PTH123 - the holder does without pathlib
        return next(int(line[5:]) for line in file if line.startswith(b"Tgid:"))


def _respond(listener: int, response: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, bytearray(response))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
