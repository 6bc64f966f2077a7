"""The holder and its launcher, with real processes under the filter: a proxy that says what it was told stands in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port
from support.led import SECRET, Proxy, answer_names
from weft.agent.seccomp.launching import launching
from weft.agent.seccomp.mode import why_not_seccomp
from weft.testing.polling import until

pytestmark = pytest.mark.timeout(240)
HERE = [] if why_not_seccomp() else ["seccomp"]
"""Some systems let no process look into another."""
AS_OTHERS = ("setpriv", "--bounding-set=-sys_ptrace") if os.geteuid() == 0 else ()
"""Without the right to read any process, which root has."""
CALLS = Path(__file__).parent / "calls.py"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture(scope="module")
def dns() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(other.getsockname())
        thread = threading.Thread(target=answer_names, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.sendto(b"over", server.getsockname())
        thread.join()


@pytest.fixture(params=HERE)
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def _run(
    secret: Path, proxy: int, dns: int, *command: str, timeout: float = 150, parent: bool = False
) -> subprocess.CompletedProcess[str]:
    words = (*AS_OTHERS, *launching(proxy, dns, secret, secret.parent / "log", command, parent=parent))
    environment = {"PATH": os.environ["PATH"], "OWN": "1"}
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


@pytest.fixture(scope="module", params=[f"{each}, {shape}" for each in HERE for shape in ("apart", "parent")])
def found(
    proxy: Proxy, dns: int, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """What came of the calls of calls.py."""
    path = tmp_path_factory.mktemp("holder") / "secret"
    path.write_bytes(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = str(server.getsockname()[1])
        done = _run(path, proxy.port, dns, sys.executable, str(CALLS), where, parent="parent" in request.param)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


FOUR, SERVER = "192.0.2.7 7007", ["192.0.2.53", 53]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("IPv4", FOUR),
        ("IPv6", "2001:db8::7 7007"),
        ("IPv4 in IPv6", FOUR),
        ("nonblocking", ["EINPROGRESS", 0, 0, "EISCONN", FOUR]),
        ("options", [True, 1, FOUR]),
        ("twice", [FOUR, "EISCONN"]),
        ("wrong family", "EAFNOSUPPORT"),
        ("unreadable", "EFAULT"),
        ("loopback", True),
        ("unix", True),
        ("fast open", ["ENOTSUP", "ENOTSUP"]),
        ("fast open later", FOUR),
        ("io_uring", "ENOSYS"),
        ("datagrams", ["hi", "127.0.0.1"]),
        ("names", ["answered name?", *SERVER]),
        ("names, connected", ["answered name?", *SERVER]),
        ("names, not waiting", ["answered name?", *SERVER]),
        ("names, none", "EAGAIN"),
        ("not dumpable", "EACCES"),
        ("interrupted", [FOUR]),
        ("threads", [200, [FOUR]]),
        ("grandchild", FOUR),
        ("no children of its own", False),
        ("environment", ["OWN", "PATH"]),
    ],
)
def test_a_call_under_the_filter(found: dict[str, Any], call: str, expected: object) -> None:
    assert found[call] == expected


def test_a_program_of_musl_is_told_the_sender_of_a_whole_message(secret: Path, proxy: Proxy, dns: int) -> None:
    program = secret.parent / "program"
    program.write_text(f'#!/bin/sh\n# /ld-musl-\nexec {sys.executable} {CALLS} 1 "names, message"\n')
    program.chmod(0o755)
    done = _run(secret, proxy.port, dns, str(program))
    assert json.loads(done.stdout) == {"names, message": ["answered name?", *SERVER]}, done


def test_a_proxy_that_is_away_is_a_refused_connection_and_the_socket_may_be_used_again(secret: Path) -> None:
    program = (
        "import socket; s = socket.socket(); s.settimeout(5); found = [s.connect_ex(('192.0.2.7', 7)) for _ in '12'];"
        "s.setblocking(False); print(*found, s.connect_ex(('192.0.2.7', 7)))"
    )
    done = _run(secret, free_port(), 0, sys.executable, "-c", program)
    assert done.stdout.split() == ["111", "111", "111"], done


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("sh", "-c", "exit 9"), 9, ""),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM, ""),
        (("no-such-program",), 127, "cannot start no-such-program: no such program"),
        (("/etc/passwd",), 126, "cannot start /etc/passwd: "),
    ],
)
def test_the_application_ends_as_it_would_without(secret: Path, command: tuple[str, ...], code: int, said: str) -> None:
    done = _run(secret, 1, 0, *command)
    assert (done.returncode, said in done.stderr) == (code, True), done


@pytest.mark.parametrize("parent", [False, True])
def test_a_holder_ends_with_the_last_process_and_not_before(secret: Path, proxy: Proxy, parent: bool) -> None:
    def holders() -> list[int]:
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and words in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    words = f"\0{'parent' if parent else 'hold'}\0{proxy.port}\0{0}\0{secret}".encode()

    again = "import socket; s = socket.create_connection(('192.0.2.7', 7007)); s.send(b'?'); print(s.recv(99).decode())"
    script = f'( timeout 30 cat "$1"; "$2" -c "{again}" > "$3" ) >/dev/null 2>&1 &'
    gate, told = secret.parent / "gate", secret.parent / "told"
    os.mkfifo(gate)
    run = ("setsid", "-w", "sh", "-c", script, "sh", str(gate), sys.executable, str(told))
    assert _run(secret, proxy.port, 0, *run, parent=parent).returncode == 0
    (holder,) = holders()
    os.kill(holder, signal.SIGTERM)  # as when everything that a user runs is told to stop
    gate.write_text("go\n")
    until("the one that was left has connected", lambda: told.exists() and told.read_text().strip() == FOUR)
    until("the holder has ended", lambda: not holders())


@pytest.mark.parametrize("capabilities", ["+dac_override,+dac_read_search"] if HERE and os.geteuid() == 0 else [])
def test_a_port_that_another_user_has_taken_is_given_nothing(
    secret: Path, proxy: Proxy, dns: int, capabilities: str
) -> None:
    """The proxy and the responder of this test are root's, and the application another user's."""
    as_user = ("setpriv", "--reuid=61001", "--regid=61001", "--clear-groups")
    rights = (f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}")
    program = (
        "import socket; stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM); "
        "print(stream.connect_ex(('192.0.2.7', 7007)), datagram.connect_ex(('192.0.2.53', 53)), "
        "socket.socket().connect_ex(('192.0.2.53', 53))); "
        "datagram.sendto(b'name?', ('192.0.2.53', 53))"
    )
    words = launching(proxy.port, dns, secret, secret.parent / "log", (sys.executable, "-c", program))
    done = subprocess.run((*as_user, *rights, *words), capture_output=True, text=True, timeout=150, check=False)
    assert done.stdout.split() == ["111", "111", "111"], done
    assert "ConnectionRefusedError" in done.stderr
    assert "belongs to another user" in (secret.parent / "log").read_text()


def test_who_is_under_a_filter_already_is_told(secret: Path) -> None:
    words = launching(1, 0, secret, secret.parent / "log", ("true",))
    done = _run(secret, 1, 0, *words)
    assert (done.returncode, "cannot capture connections: Device or resource busy" in done.stderr) == (1, True), done
