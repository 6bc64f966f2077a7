"""Hosts of a test: network namespaces with one link between them, made without root where the system lets anybody."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support.mesh import WEFT, Proc, until
from weft.agent.state import State, read_state, stop_agents
from weft.settings.home import Home

_LINK = "weft0"
_ORDINARY_USER = ("--user", "--map-user=1000", "--map-group=1000")
_WITHOUT_POWER = ("setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all")
_LOSS = f"""add table inet loss
add chain inet loss come {{ type filter hook input priority 0; policy accept; }}
add rule inet loss come iifname "{_LINK}" numgen random mod 100 < PERCENT drop"""
_KEPT = ("PATH", "LANG", "TMPDIR", "HOME")


@dataclass
class Host:
    """One namespace with its own weft home; `address` is what the other host reaches."""

    name: str
    address: str
    home: Path
    enter: tuple[str, ...]
    processes: list[Proc] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of every program here."""

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of a login on that host: `weft` is on the PATH, and nothing else of the test's. `curl` calls through the
        proxies of others, which is shut where a host has other users."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
        return {
            **kept,
            "PATH": path,
            "WEFT_HOME": str(self.home),
            "NO_COLOR": "1",
            "WEFT_PROXY_AUTH": "off",
            **self.variables,
            **more,
        }

    def call(self, *words: str, timeout: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [*self.enter, *words],
            env=self.environment(more),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def weft(self, *words: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a weft command to its end."""
        done = self.call(*WEFT, *words, timeout=timeout)
        assert not check or not done.returncode, f"weft {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done

    def spawn(self, *words: str, **more: str) -> Proc:
        """Start a program; its output goes to a file."""
        log = self.home.parent / f"{self.name}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self.enter, *words],
                env=self.environment(more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(Proc(words[0], process, log))
        return self.processes[-1]

    def state(self, workload: str) -> State:
        """What the agent of a workload has written down."""
        state = read_state(Home(self.home).workload("default", workload))
        assert state is not None
        return state

    def curl(self, workload: str, url: str) -> str:
        """What `workload` gets from `url` through its sidecar: the status, and the body if it is 200."""
        proxy = f"http://127.0.0.1:{self.state(workload).outbound}"
        done = self.call("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", "-x", proxy, url)
        body, _, status = done.stdout.rpartition("\n")
        return body if status == "200" else f"{status} {done.stderr}"

    def block_answers(self, ports: str) -> None:
        """As a firewall that drops: nothing that this host sends from these TCP ports leaves it."""
        _ip(self, "rule", "add", *_from_ports(ports))

    def unblock_answers(self, ports: str) -> None:
        """Take `block_answers` back."""
        _ip(self, "rule", "del", *_from_ports(ports))

    def stop_agents(self) -> None:
        """Stop the agents of this host in order, whatever shell started them."""
        stop_agents(Home(self.home), None, 45.0)

    def stop(self) -> None:
        """End every process that was started here."""
        self.stop_agents()
        for one in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.stop()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(one.pid, signal.SIGKILL)
            one.process.wait()


@contextlib.contextmanager
def two_hosts(directory: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, whose default routes lead to each other."""
    with contextlib.ExitStack() as stack:
        root = os.geteuid() == 0
        first = stack.enter_context(_namespace(() if root else ("--user", "--map-root-user"), ()))
        user = () if root else ("--user", "--preserve-credentials")
        enter = ("nsenter", *user, "--net", "--target")
        second = stack.enter_context(_namespace((), () if root else (*enter, str(first), "--")))
        names = (("one", "10.77.0.1", first), ("two", "10.77.0.2", second))
        hosts = [Host(name, ip, directory / name, (*enter, str(pid), "--")) for name, ip, pid in names]
        one, two = hosts
        _ip(one, "link", "add", _LINK, "type", "veth", "peer", "name", _LINK, "netns", str(second))
        for host in hosts:
            _ip(host, "address", "add", f"{host.address}/24", "dev", _LINK)
            _ip(host, "link", "set", "lo", "up")
            _ip(host, "link", "set", _LINK, "up")
        for host, other in ((one, two), (two, one)):
            _ip(host, "route", "add", "default", "via", other.address)
            stack.callback(host.stop)
        yield one, two


@dataclass(frozen=True)
class Switch:
    """Three hosts, and what joins them."""

    hosts: tuple[Host, Host, Host]
    middle: Host

    def cable(self, host: Host, state: str) -> None:
        """Pull it (`down`), or plug it in (`up`)."""
        _ip(self.middle, "link", "set", host.name, state)


@contextlib.contextmanager
def three_hosts(directory: Path, *, lost_percent: int) -> Iterator[Switch]:
    """10.77.0.1, .2 and .3, called one, two and three. Of what reaches a host from others, so many packets in a hundred
    are lost. On the second and the third nobody is root: programs are an ordinary user's, without any capability.
    Needs root outside, and nft."""
    with contextlib.ExitStack() as stack:
        pid = stack.enter_context(_namespace((), ()))
        middle = Host("switch", "", directory, ("nsenter", "--net", "--target", str(pid), "--"))
        _ip(middle, "link", "add", "switch0", "type", "bridge")
        _ip(middle, "link", "set", "switch0", "up")
        found = []
        for number, name in enumerate(("one", "two", "three"), start=1):
            pid = stack.enter_context(_namespace(() if number == 1 else _ORDINARY_USER, ()))
            host = Host(name, f"10.77.0.{number}", directory / name, ("nsenter", "--net", "--target", str(pid), "--"))
            _plug_in(middle, host, pid)
            done = host.call("nft", _LOSS.replace("PERCENT", str(lost_percent)))
            assert not done.returncode, done.stderr
            if number > 1:
                user = ("nsenter", "--user", "--preserve-credentials", "--net", "--target", str(pid), "--")
                host = replace(host, enter=(*user, *_WITHOUT_POWER))
            found.append(host)
            stack.callback(host.stop)
        yield Switch((found[0], found[1], found[2]), middle)


def _plug_in(middle: Host, host: Host, pid: int) -> None:
    _ip(middle, "link", "add", host.name, "type", "veth", "peer", "name", _LINK, "netns", str(pid))
    _ip(middle, "link", "set", host.name, "master", "switch0", "up")
    _ip(host, "link", "set", "lo", "up")
    _ip(host, "link", "set", _LINK, "up")
    _ip(host, "address", "add", f"{host.address}/24", "dev", _LINK)


@contextlib.contextmanager
def one_host(directory: Path, resolv_conf: str) -> Iterator[Host]:
    """A host, 10.77.0.1 and fd77:77::1, with a resolv.conf of its own; its default routes lead nowhere."""
    file = directory / "resolv.conf"
    file.write_text(resolv_conf)
    bind = f"mount --bind {shlex.quote(str(file))} /etc/resolv.conf"
    options = ("--mount",) if os.geteuid() == 0 else ("--user", "--map-root-user", "--mount")
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    with contextlib.ExitStack() as stack:
        pid = stack.enter_context(_namespace(options, (), bind))
        enter = ("nsenter", *user, "--net", "--mount", "--target", str(pid), "--")
        host = Host("one", "10.77.0.1", directory / "home", enter)
        _ip(host, "link", "set", "lo", "up")
        _ip(host, "link", "add", _LINK, "type", "veth", "peer", "name", "nowhere0")
        _ip(host, "address", "add", "10.77.0.1/24", "dev", _LINK)
        _ip(host, "address", "add", "fd77:77::1/64", "dev", _LINK, "nodad")
        _ip(host, "link", "set", "nowhere0", "up")
        _ip(host, "link", "set", _LINK, "up")
        _ip(host, "route", "add", "default", "via", "10.77.0.2")
        _ip(host, "-6", "route", "add", "default", "via", "fd77:77::2")
        stack.callback(host.stop)
        yield host


@contextlib.contextmanager
def _namespace(options: Sequence[str], enter: Sequence[str], before: str = ":") -> Iterator[int]:
    """A network namespace for as long as the context is open, in which `before` was run; the process that holds it."""
    holder: subprocess.Popen[Any]
    script = f"{before} && echo made; exec sleep 600"
    with subprocess.Popen(
        [*enter, "unshare", *options, "--net", "--", "sh", "-c", script], stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"made\n", "this system lets nobody but root make network namespaces"
            yield holder.pid
        finally:
            holder.kill()


def _from_ports(ports: str) -> tuple[str, ...]:
    return ("iif", "lo", "ipproto", "tcp", "sport", ports, "blackhole")


def _ip(host: Host, *words: str) -> None:
    done = host.call("ip", *words)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def healthy(control: Host, name: str) -> Any:
    """Wait until the control plane on `control` calls a workload healthy; its row."""

    def look() -> Any:
        rows = json.loads(control.weft("get", "workloads", "-o", "json").stdout)
        return next((row for row in rows if row["name"] == name and row["state"] == "healthy"), None)

    return until(f"{name} is healthy", look)
