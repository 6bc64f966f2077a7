"""The filter: which system calls the holder is asked about, which fail, and which pass. BPF, as the kernel runs it at
each call; pure."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from weft.agent.seccomp.system import Machine

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _NOTIFY, _ERROR, _KILL = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
"""Where they are in the kernel's ``seccomp_data``."""
_FASTOPEN = 0x20000000
"""MSG_FASTOPEN: a call that sends and connects at once."""

Instruction = tuple[int, int, int, int]
"""Code, how many to skip if true and if not, and a constant."""


def filter_program(machine: Machine, *, whole_messages: bool = False) -> bytes:
    """The program for `machine`. With `whole_messages` the holder is asked about ``recvmsg`` as well, which has its
    address where a filter cannot look: musl from 1.2.4 receives answers to DNS so."""
    fails = _returned(_ERROR | errno.EOPNOTSUPP)
    absent = _returned(_ERROR | errno.ENOSYS)
    body = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, machine.arch),
        _returned(_KILL),  # another machine's numbers mean other calls
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.foreign:
        body += [(_AT_LEAST, 0, 1, machine.foreign), absent]
    body += _when(machine.connect, [_returned(_NOTIFY)])
    body += _when(machine.sendto, [*_unless_flag(3, fails), *_if_address(4)])
    body += _when(machine.recvfrom, _if_address(4))
    body += _when(machine.sendmsg, [*_unless_flag(2, fails), _returned(_ALLOW)])
    body += _when(machine.sendmmsg, [*_unless_flag(3, fails), _returned(_ALLOW)])
    if whole_messages:
        body += _when(machine.recvmsg, [_returned(_NOTIFY)])
    body += _when(machine.io_uring_setup, [absent])
    return b"".join(struct.pack("=HBBI", *each) for each in (*body, _returned(_ALLOW)))


def _returned(what: int) -> Instruction:
    return (_RETURN, 0, 0, what)


def _when(number: int, body: Sequence[Instruction]) -> list[Instruction]:
    """`body`, which ends in a return on each way, for the call `number`."""
    return [(_EQUAL, 0, len(body), number), *body]


def _if_address(argument: int) -> list[Instruction]:
    """Ask if the argument is a pointer to something."""
    return [
        _upper(argument),
        (_EQUAL, 0, 2, 0),
        _lower(argument),
        (_EQUAL, 1, 0, 0),
        _returned(_NOTIFY),
        _returned(_ALLOW),
    ]


def _unless_flag(argument: int, otherwise: Instruction) -> list[Instruction]:
    return [_lower(argument), (_ANY_BIT, 0, 1, _FASTOPEN), otherwise]


def _lower(argument: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)


def _upper(argument: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4)
