"""The door: a process in the application's namespaces that makes sockets there and hands them to the relay outside.

It holds none itself, and so nothing that leads out. A socket stays one of the namespace in which it was made.
"""

from __future__ import annotations

import array  # noqa: F401 - socket.send_fds would ask for it when this process sees only what the application does
import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Sequence

from weft.agent.strict import system
from weft.agent.strict.network import links, ruleset

_LONGEST = 4096
_SECONDS = 10.0
_BACKLOG = 1024
_DIAG = 4
_RESOLV_CONF = "/etc/resolv.conf"
_OTHER_WAYS = ("/run/systemd/resolve", "/run/nscd", "/run/avahi-daemon")
"""Where services of the host answer for names by unix sockets, so that nobody would ask the responder."""
_SETTINGS = (
    ("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", "2"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
)
"""Of the new network: connections that are over do not fill the table of redirected ones, and who has no capabilities
any more listens at port 80 as before."""
_PATH = "/usr/sbin:/sbin"
READY = b"ready"


class DoorError(Exception):
    """What cannot be had, in words for a person."""


class Door:
    """The relay's end: asks for sockets. DoorError with the reason where they cannot be had."""

    def __init__(self, process: int, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel

    def stream(self) -> socket.socket:
        """A TCP socket (IPv4), not connected."""
        return self._ask("stream")

    def listener(self, host: str, port: int) -> socket.socket:
        """One that listens for TCP."""
        return self._ask("listener", host, str(port))

    def datagrams(self, host: str, port: int) -> socket.socket:
        """One for UDP."""
        return self._ask("datagrams", host, str(port))

    def listening(self) -> socket.socket:
        """One at which the kernel says who listens (sock_diag)."""
        return self._ask("listening")

    def _ask(self, *words: str) -> socket.socket:
        self.channel.send(" ".join(words).encode())
        answer, descriptors, _, _ = socket.recv_fds(self.channel, _LONGEST, 1)
        if not descriptors:
            raise DoorError(answer.decode() or "the process in the namespace has ended")
        return socket.socket(fileno=descriptors[0])


def open_door(proxy: int, dns: int, member: int = 0) -> Door:
    """Start the process. Its namespaces are those of the process `member`; 0: new ones, whose rules lead to the ports
    `proxy` and `dns`. It ends with this process. DoorError with the reason where it cannot be."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = os.fork()
    if not process:
        ours.close()
        code = 1
        try:
            code = _run(its, proxy, dns, member)
        finally:
            os._exit(code)
    its.close()
    said = ours.recv(_LONGEST)
    if said != READY:
        ours.close()
        os.waitpid(process, 0)
        raise DoorError(said.decode() or "the process in the namespace has ended")
    return Door(process, ours)


def _run(channel: socket.socket, proxy: int, dns: int, member: int) -> int:
    try:
        if member:
            _do("the application's namespaces cannot be entered", system.enter_namespaces, member)
        else:
            _make(proxy, dns)
    except DoorError as error:
        channel.send(str(error).encode()[:_LONGEST])
        return 1
    channel.send(READY)
    while asked := channel.recv(_LONGEST):
        try:
            with _socket(asked.decode().split()) as made:
                socket.send_fds(channel, [b"\n"], [made.fileno()])
        except OSError as error:
            channel.send(f"{asked.decode()}: {error.strerror}".encode())
    return 0


def _make(proxy: int, dns: int) -> None:
    """Namespaces in which everything leads to `proxy` and `dns`."""
    programs = {name: _program(name) for name in ("ip", "nft")}
    _do("user namespaces are refused (unshare)", system.make_namespaces)
    _do("a user namespace has no rights here (capset)", system.lend_net_admin)
    for version in (4, 6) if os.path.exists("/proc/net/if_inet6") else (4,):  # noqa: PTH110
        _must_run((programs["ip"], f"-{version}", "-batch", "-"), links(version))
    _must_run((programs["nft"], "-f", "-"), ruleset(proxy, dns))
    _do("a user namespace has no rights here (prctl)", system.take_back)
    for path, value in _SETTINGS:
        with contextlib.suppress(OSError), open(path, "w") as file:  # noqa: PTH123 - some kernels do not let us
            file.write(value)
    _do("nothing can be mounted in a user namespace", _hide_other_ways)


def _hide_other_ways() -> None:
    """Leave only DNS for names. /etc/resolv.conf stays what it is: rules lead its servers to the responder."""
    here = os.path.realpath(_RESOLV_CONF)
    for directory in filter(os.path.isdir, _OTHER_WAYS):
        text = b""
        if inside := here.startswith(f"{directory}/"):
            with contextlib.suppress(OSError), open(here, "rb") as file:  # noqa: PTH123
                text = file.read()
        system.mount_empty(directory)
        if inside and os.path.dirname(here) == directory:  # noqa: PTH120
            with open(here, "wb") as file:  # noqa: PTH123
                file.write(text)


def _socket(words: Sequence[str]) -> socket.socket:
    match words:
        case ["stream"]:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        case ["listening"]:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _DIAG)
        case [("listener" | "datagrams") as kind, host, port]:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM if kind == "listener" else socket.SOCK_DGRAM)
            try:
                if kind == "listener":
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((host, int(port)))
                if kind == "listener":
                    made.listen(_BACKLOG)
            except OSError:
                made.close()
                raise
            return made
    raise OSError(0, "not understood")


def _program(name: str) -> str:
    for place in f"{os.environ.get('PATH', '')}:{_PATH}".split(":"):
        path = os.path.join(place, name)  # noqa: PTH118
        if place and os.access(path, os.X_OK):
            return path
    package = "nftables" if name == "nft" else "iproute2"
    raise DoorError(f"there is no {name} on this host; install the package {package}")


def _must_run(words: Sequence[str], text: str) -> None:
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DoorError(f"{words[0]} cannot be run: {error}") from error
    if done.returncode:
        raise DoorError(f"{words[0]} is refused in a user namespace: {' '.join(done.stderr.split())}")


def _do(what: str, work: Callable[..., None], *arguments: int) -> None:
    try:
        work(*arguments)
    except OSError as error:
        raise DoorError(f"{what}: {error.strerror}") from error
