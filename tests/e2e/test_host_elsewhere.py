"""A shared proxy on a host whose control plane is another one: everybody joins by a token of its own, and another Envoy
takes over."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, until

ECHO = [sys.executable, str(APPS / "http_echo.py")]
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    (tmp_path / "mesh.yaml").write_text("---".join(SERVICES.replace("NAME", name) for name in ("web", "a", "b")))
    with two_hosts(tmp_path) as hosts:
        yield hosts


def entry(name: str) -> dict[str, object]:
    more = {"labels": {"app": name}, "ports": ["8080:auto"], "command": ECHO, "env": {"WORKLOAD": name}}
    return {"name": name, "serviceAccount": name, **more}


def token(control: Host, name: str, *more: str) -> dict[str, str]:
    done = control.weft("token", "create", "--name", name, *more, "-o", "json")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_everybody_joins_by_a_token_of_its_own(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = hosts
    control = one.spawn(*WEFT, "serve", "--documents", str(tmp_path / "mesh.yaml"), "--bind", one.address)
    until("the control plane answers", lambda: "ready: " in control.output())
    web = ("--name", "web", "--labels", "app=web", "--service-account", "web", "--port", "8080:auto")
    one.spawn(*WEFT, "run", *web, "--inbound-address", one.address, "--", *ECHO, WORKLOAD="web")
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    given = token(one, "vm", "--service-account", "weft-host")
    (tokens / "vm").write_text(given["token"])
    for name in ("a", "b"):
        own = ("--service-account", name, "--labels", f"app={name}", "--port", "8080:auto")
        (tokens / name).write_text(token(one, name, *own)["token"])
    (tmp_path / "host.yaml").write_text(yaml.safe_dump({"workloads": [entry("a"), entry("b")]}))
    where = ("--control-plane", f"{one.address}:15013", "--ca-fingerprint", given["fingerprint"])
    host = ("host", str(tmp_path / "host.yaml"), "--name", "vm", *where)
    refused = two.weft(*host[:2], "--tokens", str(tokens), check=False)
    assert (refused.returncode, "goes with --control-plane" in refused.stderr) == (2, True)
    agent = two.spawn(*WEFT, *host, "--tokens", str(tokens))
    for name in ("web", "a", "b"):
        healthy(one, name)
    for path in tokens.iterdir():
        path.unlink()
    until("from elsewhere", lambda: '"a"' in one.curl("web", "http://a/") and '"b"' in one.curl("web", "http://b/"))
    until("to elsewhere", lambda: '"web"' in two.curl("a", "http://web/"))
    found = json.loads(two.curl("a", "http://b/"))
    assert any("sa/a" in value for name, value in found["headers"] if name == "x-forwarded-client-cert")
    envoy = two.state("vm").envoy
    carried = two.weft("proxy", "restart", "a", check=False)
    assert "its Envoy is that of vm.default; weft proxy restart vm.default" in carried.stderr
    done = two.weft("proxy", "restart", "vm", "--timeout=45", check=False)
    assert done.returncode == 0, f"{done.stderr}\n{agent.output()}"
    assert two.state("vm").envoy != envoy
    assert '"b"' in two.curl("a", "http://b/")
    assert '"a"' in one.curl("web", "http://a/")
