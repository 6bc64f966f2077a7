"""A relay and what it lets in and out, with real namespaces, as an ordinary user: a proxy that says what it was told
stands in."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import weft
from support.led import SECRET, Proxy, answer_names
from weft.agent.strict.launching import entering, relaying
from weft.agent.strict.mode import why_not_strict
from weft.settings.ports import own_ports
from weft.testing.polling import until

pytestmark = pytest.mark.timeout(240)
HERE = [] if why_not_strict() else ["strict"]
"""Some systems let nobody make namespaces."""
ROOT = os.geteuid() == 0
USER = 61001 if ROOT else os.geteuid()
READS = "+dac_override,+dac_read_search"
AS_USER = (
    (
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        "--clear-groups",
        f"--inh-caps={READS}",
        f"--ambient-caps={READS}",
    )
    if ROOT
    else ()
)
"""An ordinary user, who can read where this Python is; within the namespaces nobody is root."""
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
INSIDE = (Path(__file__).parent / "inside.py").read_text()
SERVES = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
"""
GETS_OUT = "nft flush ruleset && ip route replace default dev lo && exec curl -sS -m 3 telnet://$1:$2 </dev/null"
CURL_CANNOT_CONNECT = (7, 28)
ENTERS = """
import os, sys
sys.path.append(sys.argv[1])
from weft.agent.strict import system
system.enter_namespaces(int(sys.argv[2]))
system.lend_net_admin()
os.execvp(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Confined:
    """A relay, its door, and where it leads."""

    relay: subprocess.Popen[str]
    door: int
    proxy: Proxy
    port: int
    """Of the application."""
    upstream: socket.socket | None = None

    def start(self, *command: str) -> subprocess.Popen[str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OWN": "1"}
        return subprocess.Popen(
            (*AS_USER, *entering(self.door, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/tmp",
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        with self.start(*command) as process:
            out, err = process.communicate(timeout=150)
            return subprocess.CompletedProcess(command, process.returncode, out, err)


def free_port() -> int:
    """One that no outgoing connection is given meanwhile."""
    for port in random.sample(own_ports(), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@contextlib.contextmanager
def relaying_for(
    directory: Path, proxy: Proxy, dns: int, member: int = 0, upstreams: tuple[int, ...] = ()
) -> Iterator[Confined]:
    """A relay for new namespaces, or those of `member`, until the end of the context."""
    port = free_port()
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    words = (*AS_USER, *relaying(proxy.port, dns, secret, member, upstreams, (port,)))
    with (directory / "log").open("ab") as log:
        relay = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    assert relay.stdout is not None
    try:
        said = relay.stdout.readline().split()
        assert said[:1] == ["ready"], said
        yield Confined(relay, int(said[1]), proxy, port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(relay.pid, signal.SIGKILL)
        relay.communicate()


@pytest.fixture(scope="module")
def dns() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(type=socket.SOCK_DGRAM) as server:
        os.fchown(other.fileno(), USER, -1)  # whose it is, is asked of the one for TCP
        server.bind(other.getsockname())
        thread = threading.Thread(target=answer_names, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.sendto(b"over", server.getsockname())
        thread.join()


@pytest.fixture(scope="module", params=HERE)
def confined(dns: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    proxy = Proxy()
    for server in proxy.servers:
        os.fchown(server.fileno(), USER, -1)
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        os.fchown(upstream.fileno(), USER, -1)
        port = upstream.getsockname()[1]
        with relaying_for(tmp_path_factory.mktemp("confined"), proxy, dns, upstreams=(port,)) as made:
            made.upstream = upstream
            yield made
    proxy.close()


def own_address() -> str:
    """An address of this host that is not loopback, if it has any."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "192.0.2.1"
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def found(confined: Confined) -> dict[str, Any]:
    """What came of what inside.py tries."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        where = (str(server.getsockname()[1]), own_address(), str(os.getpid()))
        done = confined.run(PYTHON, "-c", INSIDE, str(confined.proxy.port), *where)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "own": f"{where[1]} {where[0]}"}


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ("IPv4", "192.0.2.7 7007"),
        ("IPv6", "2001:db8::7 7007"),
        ("the proxy's port", "ECONNRESET"),
        ("the host's loopback", "ECONNREFUSED"),
        ("any address", "ECONNRESET"),
        ("UDP", ["ECONNREFUSED", "ECONNREFUSED"]),
        ("a name", ["answered name?", "192.0.2.53", 53]),
        ("capabilities", [""] * 5),
        ("no new privileges", "1"),
        ("user", [USER, USER if ROOT else os.getegid()]),
        ("directory", "/tmp"),
        ("environment", ["OWN", "PATH"]),
    ],
)
def test_what_an_application_meets(found: dict[str, Any], tried: str, expected: object) -> None:
    assert found[tried] == expected


def test_an_upstream_has_its_port_inside(confined: Confined) -> None:
    assert confined.upstream is not None
    port = confined.upstream.getsockname()[1]
    with confined.start("curl", "-sS", "-m", "10", f"http://127.0.0.1:{port}/up") as client:
        connection, _ = confined.upstream.accept()
        with connection:
            assert connection.recv(7) == b"GET /up"
        assert client.wait(60) != 0, "its end, or reset, is passed on"


def test_nothing_gets_round_the_proxy(found: dict[str, Any]) -> None:
    assert found["the host's own address"] == found["own"], "the proxy was told, and nobody else was called"
    assert all(found["refused"].values()), found["refused"]


def test_whoever_had_every_right_in_there_would_not_get_out(tmp_path: Path, dns: int, confined: Confined) -> None:
    """Rules and routes are no fence: there is no interface to get out by."""
    source = str(Path(weft.__file__).parents[1])
    with (
        relaying_for(tmp_path, confined.proxy, dns) as other,
        socket.create_server(("0.0.0.0", 0)) as server,
    ):
        inside = (*AS_USER, PYTHON, "-c", ENTERS, source, str(other.door))
        where = (own_address(), str(server.getsockname()[1]))
        done = subprocess.run(
            [*inside, "sh", "-c", GETS_OUT, "sh", *where], capture_output=True, timeout=60, check=False
        )
        assert done.returncode in CURL_CANNOT_CONNECT, done
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_port_is_there_outside_as_long_as_the_application_has_it(confined: Confined) -> None:
    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", confined.port)) != 0

    assert refused()
    body = os.urandom(3_000_000)
    with confined.start(PYTHON, "-c", SERVES, str(confined.port)) as application:
        until("it is there", lambda: not refused())
        assert application.wait(60) == 0, "one connection is all it takes"
    until("it is gone again", refused)
    with confined.start(PYTHON, "-c", SERVES, str(confined.port)) as application:
        connection = until("it is there again", lambda: socket.create_connection(("127.0.0.1", confined.port), 10))
        with connection:
            threading.Thread(target=_say, args=(connection, body)).start()
            got = bytearray()
            while data := connection.recv(1 << 20):
                got += data
        assert got == body, "all of it came back, after the end of what was said"
        assert application.wait(60) == 0


def _say(connection: socket.socket, body: bytes) -> None:
    connection.sendall(body)
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("sh", "-c", "exit 9"), 9, ""),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM, ""),
        (("no-such-program",), 127, "cannot start no-such-program: no such program"),
        (("/etc/passwd",), 126, "cannot start /etc/passwd: "),
    ],
)
def test_the_application_ends_as_it_would_without(
    confined: Confined, command: tuple[str, ...], code: int, said: str
) -> None:
    done = confined.run(*command)
    assert (done.returncode, said in done.stderr) == (code, True), done


AGAIN = """
import socket, sys
for line in sys.stdin:
    try:
        with socket.create_connection(("192.0.2.7", 7007), 5) as c:
            c.sendall(b"?")
            print(c.recv(99).decode() or "closed", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def test_without_a_relay_nothing_gets_out_and_another_serves_the_application_that_runs(
    tmp_path: Path, dns: int, confined: Confined
) -> None:
    words = ("env", "-u", "OWN", PYTHON, "-c", AGAIN)
    with (
        relaying_for(tmp_path, confined.proxy, dns) as first,
        subprocess.Popen(
            (*AS_USER, *entering(first.door, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        ) as application,
    ):
        assert application.stdin is not None
        assert application.stdout is not None

        def ask() -> str:
            assert application.stdin is not None
            assert application.stdout is not None
            application.stdin.write("\n")
            application.stdin.flush()
            return application.stdout.readline().strip()

        assert ask() == "192.0.2.7 7007"
        os.kill(first.relay.pid, signal.SIGKILL)
        first.relay.wait()
        until("the process inside has ended, too", lambda: not Path(f"/proc/{first.door}").exists())
        assert ask() == "Connection refused"
        with relaying_for(tmp_path, confined.proxy, dns, application.pid) as second:
            assert ask() == "192.0.2.7 7007"
            os.kill(second.door, signal.SIGKILL)
            assert second.relay.wait(60) == 0, "without a process inside it is of no use"
            assert ask() == "Connection refused"
        application.stdin.close()


def test_a_relay_that_has_lost_its_agent_ends_when_nobody_is_left_inside(tmp_path: Path, dns: int) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    told = tmp_path / "told"
    executable = Path(sys.executable).resolve().name
    words = relaying(free_port(), dns, secret, 0, (), ())
    agent = ("sh", "-c", 'file=$1; shift; "$@" >"$file" & while ! grep -q ready "$file"; do sleep 0.05; done', "sh")
    subprocess.run((*AS_USER, *agent, str(told), *words), check=True, timeout=60)
    door = int(told.read_text().split()[1])
    application = subprocess.Popen((*AS_USER, *entering(door, ("sleep", "60"))))
    until("it is inside", lambda: Path(f"/proc/{application.pid}/exe").readlink().name != executable)
    assert Path(f"/proc/{door}").exists()
    application.kill()
    application.communicate()
    until("the relay and the process inside have ended", lambda: not Path(f"/proc/{door}").exists())
