"""Three hosts at a switch that loses packets, clocks apart, two without root, one of them off the network for a while:
what a plain connection carries, the mesh carries."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hosts import Host, Switch, healthy, three_hosts
from support.mesh import APPS, WEFT, Proc, until
from weft.xds.limits import KEEPALIVE_QUIET_SECONDS, KEEPALIVE_TIMEOUT_SECONDS

ECHO = (sys.executable, str(APPS / "http_echo.py"))
CALLER = (sys.executable, str(APPS / "caller.py"))
FAKETIME = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")
AHEAD = {"two": -150, "three": 150}
"""By how many seconds a host's clock is ahead of the control plane's."""
PATIENCE = 30
"""Seconds after which a caller gives up."""
OFF_SECONDS = float(os.environ.get("WEFT_TEST_OFF_SECONDS", "2.5"))
"""For so long a host is off the network. TCP sends again after 3 and 6 seconds, of which one may be lost as well."""
VANISHED = KEEPALIVE_QUIET_SECONDS + KEEPALIVE_TIMEOUT_SECONDS + 1.0
"""Seconds after which the callers' proxies know that a host is gone."""
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"""


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    (tmp_path / "mesh.yaml").write_text(DOCUMENTS)
    with three_hosts(tmp_path, lost_percent=2) as switch:
        yield switch


def join(control: Host, host: Host, name: str, app: str) -> None:
    """A workload of a host, with the command that the control plane's host prints for it."""
    own = ("--service-account", app, "--name", name, "--labels", f"app={app}", "--port", "8080:auto")
    host.spawn("sh", "-c", control.weft("token", "create", *own, "--", *ECHO).stdout, WORKLOAD=name)


@dataclass(frozen=True)
class Call:
    """One call: when it began (seconds of this machine's clock), how long it took, its status, and who answered."""

    began: float
    took: float
    status: int
    who: str


@dataclass(frozen=True)
class Caller:
    """A program that calls all the time, on a host whose clock is `ahead`."""

    proc: Proc
    ahead: int = 0

    def calls(self) -> list[Call]:
        """Those that have ended, in the order in which they began."""
        found = [json.loads(line) for line in self.proc.output().splitlines()]
        found = [Call(each["began"] - self.ahead, each["took"], each["status"], each["who"]) for each in found]
        return sorted(found, key=lambda each: each.began)

    def end(self) -> list[Call]:
        """All, when the last has been answered."""
        self.proc.process.send_signal(signal.SIGTERM)
        self.proc.process.wait(2 * PATIENCE)
        return self.calls()


def start(switch: Switch, directory: Path) -> None:
    """Control plane, gateway and a caller on the first host, an instance of what they call on each of the others, whose
    clocks are five minutes apart. Envoy cannot be shown another time of day, so its clock is right everywhere."""
    one, two, three = switch.hosts
    for host, seconds in AHEAD.items():
        clock = {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        next(each for each in switch.hosts if each.name == host).variables = clock
    control = one.spawn(*WEFT, "serve", "--documents", str(directory / "mesh.yaml"), "--bind", one.address)
    until("the control plane answers", lambda: "ready: " in control.output())
    web = ("--name", "web", "--labels", "app=web", "--service-account", "web", "--port", "8080:auto")
    one.spawn(*WEFT, "run", *web, "--inbound-address", one.address, "--", *ECHO, WORKLOAD="web")
    join(one, two, "echo-two", "echo")
    join(one, three, "echo-three", "echo")
    one.spawn(*WEFT, "gateway", "front", "--bind", one.address, "--listen", "80=8080")
    for name in ("web", "echo-two", "echo-three"):
        healthy(one, name)


def proxy_of(host: Host, workload: str) -> str:
    return f"http://127.0.0.1:{host.state(workload).outbound}"


def instances(host: Host, workload: str) -> set[str]:
    return {json.loads(host.curl(workload, "http://echo/"))["workload"] for _ in range(6)}


def test_what_a_plain_connection_carries_the_mesh_carries(switch: Switch, tmp_path: Path) -> None:
    start(switch, tmp_path)
    one, two, three = switch.hosts
    three.spawn(*ECHO, WORKLOAD="plain", WEFT_HOST=three.address, PORT="9000")
    found = json.loads(one.weft("check", "-o", "json", check=False).stdout)
    told = {each["message"] for each in found["findings"] if each["code"] == "clock-differs"}
    assert len(told) == 2, "both clocks are told"
    until("both instances answer", lambda: instances(one, "web") == {"echo-two", "echo-three"})
    plain = f"http://{three.address}:9000/"
    until("a plain connection is answered", lambda: not one.call("curl", "-fsS", "-m", "5", plain).returncode)
    callers = {
        "mesh": Caller(one.spawn(*CALLER, "http://echo/", "50", str(PATIENCE), HTTP_PROXY=proxy_of(one, "web"))),
        "gateway": Caller(two.spawn(*CALLER, f"http://{one.address}:8080/", "20", str(PATIENCE)), AHEAD["two"]),
        "back": Caller(
            three.spawn(*CALLER, "http://web/", "20", str(PATIENCE), HTTP_PROXY=proxy_of(three, "echo-three")),
            AHEAD["three"],
        ),
        "plain": Caller(one.spawn(*CALLER, plain, "20", str(PATIENCE))),
    }
    for name, caller in callers.items():
        until(f"{name} calls", lambda caller=caller: len(caller.calls()) > 40)  # type: ignore[misc]
    pull(switch, OFF_SECONDS, callers)
    lost = {name: [each for each in caller.calls() if each.status != 200] for name, caller in callers.items()}
    if OFF_SECONDS < VANISHED:
        assert not any(lost.values()), lost
    off, back = pull(switch, VANISHED + 5, callers)
    ended = {name: caller.end() for name, caller in callers.items()}  # also those that hang until they are told
    for name in ("mesh", "gateway"):
        begun = [each for each in ended[name] if off < each.began < off + 5]
        assert any(each.took > 1 for each in begun), "some were sent to it"
        slow = [each for each in begun if each.began + each.took > back]
        assert not slow, "who was sent to it is told that it is gone, and does not hang until it is back"
        sent = [each for each in ended[name] if each.status != 200 and off + VANISHED + 2 < each.began]
        assert not sent, "then nobody is sent to the one that is off"
    for name, calls in ended.items():
        failed = [each for each in calls if each.status != 200]
        assert all(off - 1 < each.began + each.took and each.began <= back + 1 for each in failed), name


def pull(switch: Switch, seconds: float, callers: dict[str, Caller]) -> tuple[float, float]:
    """Have the third host off the network for so long, and wait until all callers have its answers again."""
    off = time.time()
    switch.cable(switch.hosts[2], "down")
    time.sleep(seconds)  # this long is what is tried
    switch.cable(switch.hosts[2], "up")
    back = time.time()
    for name, caller in callers.items():
        until(f"{name} is answered by three again", lambda caller=caller: again(caller, back))  # type: ignore[misc]
    return off, back


def again(caller: Caller, back: float) -> bool:
    """Whether the host that was off takes part in what this caller does now."""
    return any(each.began > back and each.status == 200 and each.who != "echo-two" for each in caller.calls())
