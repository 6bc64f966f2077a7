"""The filter's program, run as the kernel runs it: what becomes of each call, for each machine."""

from __future__ import annotations

import errno
import struct

import pytest

from weft.agent.seccomp.program import filter_program
from weft.agent.seccomp.system import MACHINES, Machine

ALLOW, NOTIFY, ERROR, KILL = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000
FAST_OPEN = 0x20000000


def decision(program: bytes, machine: Machine, number: int, *arguments: int, arch: int = 0) -> int:
    """What the program returns for a call."""
    given = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<iIQ6Q", number, arch or machine.arch, 0, *given)
    code = list(struct.iter_unpack("=HBBI", program))
    at, register = 0, 0
    while True:
        operation, true, false, constant = code[at]
        at += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("<I", data, constant)
            case 0x15:
                at += true if register == constant else false
            case 0x35:
                at += true if register >= constant else false
            case 0x45:
                at += true if register & constant else false
            case 0x06:
                return int(constant)
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize("name", list(MACHINES))
def test_calls_that_connect_or_say_an_address_are_asked_about_and_all_others_pass(name: str) -> None:
    machine = MACHINES[name]
    program = filter_program(machine)

    def of(number: int, *arguments: int) -> int:
        return decision(program, machine, number, *arguments)

    assert of(machine.connect, 3, 1, 16) == NOTIFY
    for call in (machine.sendto, machine.recvfrom):
        assert of(call, 3, 1, 5, 0, 0) == ALLOW
        assert of(call, 3, 1, 5, 0, 0x10) == NOTIFY
        assert of(call, 3, 1, 5, 0, 0x7F00_0000_0000) == NOTIFY, "a pointer whose lower half is zero"
    for call in (machine.sendmsg, machine.recvmsg, machine.sendmmsg, 0, 1, 435):
        assert of(call, 3, 1, 0, 0) == ALLOW


@pytest.mark.parametrize("name", list(MACHINES))
def test_what_would_connect_unseen_fails(name: str) -> None:
    machine = MACHINES[name]
    program = filter_program(machine)
    refused = ERROR | errno.EOPNOTSUPP
    assert decision(program, machine, machine.sendto, 3, 1, 5, FAST_OPEN, 1) == refused
    assert decision(program, machine, machine.sendmsg, 3, 1, FAST_OPEN | 1) == refused
    assert decision(program, machine, machine.sendmmsg, 3, 1, 1, FAST_OPEN) == refused
    assert decision(program, machine, machine.io_uring_setup, 8) == ERROR | errno.ENOSYS
    assert decision(program, machine, 1, arch=0x40000003) == KILL
    if machine.foreign:
        assert decision(program, machine, machine.foreign | machine.connect) == ERROR | errno.ENOSYS


def test_whole_messages_are_asked_about_where_they_have_to_be() -> None:
    for machine in MACHINES.values():
        assert decision(filter_program(machine, whole_messages=True), machine, machine.recvmsg) == NOTIFY
