"""weft.yaml: what it may say, and what is told about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.local import shared_proxy
from weft.local.commands import mesh_launches, run_launch
from weft.local.demo import demo_mesh
from weft.local.hostfile import HostFile, shared_entries
from weft.local.meshfile import MeshFile, MeshFileError, MetricsEntry, decode_meshfile, read_meshfile
from weft.settings.home import Home

EXAMPLES = Path(__file__).parents[2] / "examples"

WHOLE = """\
trustDomain: shop.example
documents: [documents]
bind: 10.0.0.5
workloads:
  - name: web
    namespace: shop
    serviceAccount: web
    labels: {app: web, version: v1}
    ports: [80, "8080:auto"]
    upstreams: ["postgres:5432=15432"]
    uses: [catalog]
    command: python3 -m http.server "a b"
    workingDirectory: web
    env: {DEBUG: 1, NAME: x}
    healthCheck: {http: /health, interval: 500ms, timeout: 1s}
    metrics: {port: 9100}
gateways:
  - name: front
    bind: 0.0.0.0
    listen: {80: auto, 443: 8443}
ports: {admin: 15080}
"""
SHARED = "proxy: shared\nworkloads:\n"


def refused(text: str) -> str:
    with pytest.raises(MeshFileError) as caught:
        decode_meshfile(text, "weft.yaml")
    return str(caught.value)


def test_everything_is_understood() -> None:
    mesh = decode_meshfile(WHOLE, "weft.yaml")
    web, front = mesh.workloads[0], mesh.gateways[0]
    assert (mesh.trust_domain, mesh.documents, mesh.ports.admin) == ("shop.example", ("documents",), 15080)
    assert mesh.bind == "10.0.0.5"
    assert web.ports == ("80", "8080:auto")
    assert web.command == ("python3", "-m", "http.server", "a b")
    assert web.env == {"DEBUG": "1", "NAME": "x"}
    assert (web.health_check.http, web.health_check.interval) == ("/health", 0.5)
    assert web.metrics == MetricsEntry(port=9100)
    assert front.listen == {80: "auto", 443: "8443"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workloads:\n  - name: a\n    comand: [x]\n", ["weft.yaml:3", "workloads[0].comand", "'command'"]),
        ("bind: 0.0.0.0\n", ["weft.yaml:1", "bind", "found '0.0.0.0'", "such as 10.0.0.5"]),
        ("bind: control.example\n", ["weft.yaml:1", "bind", "the IP address at which other hosts reach this one"]),
        ("workloads:\n  - name: a\n", ["weft.yaml:2", "'command' is missing"]),
        ("workloads:\n  - {name: a, command: [x], ports: [0]}\n", ["weft.yaml:2", "ports[0]", "9080:auto"]),
        ("workloads:\n  - {name: A_b, command: [x]}\n", ["weft.yaml:2", "name", "lower-case"]),
        ("workloads:\n  - {name: a, command: [x]}\n  - {name: a, command: [y]}\n", ["weft.yaml:3", "workloads[0]"]),
        ("workloads:\n  - {name: control-plane, command: [x]}\n", ["weft.yaml:2", "taken by the control plane"]),
        (
            "workloads:\n  - {name: a, namespace: b, command: [x]}\ngateways:\n  - {name: a.b}\n",
            ["weft.yaml:4", "'a.b' is taken by workloads[0]"],
        ),
        ("workloads:\n  - {name: a, command: [x], upstreams: [db]}\n", ["upstreams[0]", "SERVICE:PORT"]),
        ("workloads:\n  - {name: a, command: []}\n", ["workloads[0].command", "empty"]),
        ("workloads:\n  - {name: a, command: [x], healthCheck: {http: health}}\n", ["healthCheck.http", "/health"]),
        ("workloads:\n  - {name: a, command: [x], healthCheck: {http: /, tcp: true}}\n", ["healthCheck"]),
        ("workloads:\n  - {name: a, command: [x], metrics: {port: 1, path: m}}\n", ["metrics.path", "/metrics"]),
        ("workloads:\n  - {name: a, command: [x], metrics: {port: 1, path: '/m x'}}\n", ["metrics.path"]),
        ("workloads:\n  - {name: a, command: [x], metrics: {path: /m}}\n", ["'port' is missing"]),
        ("workloads:\n  - {name: a, command: [x], uses: [b], scope: all}\n", ["workloads[0].scope", "uses"]),
        ("workloads:\n  - {name: a, command: [x], dns: maybe}\n", ["workloads[0].dns", "on, off or a port"]),
        (
            "workloads:\n  - {name: a, command: [x], capture: maybe}\n",
            ["workloads[0].capture", "on, off, seccomp, strict, rules"],
        ),
        ("workloads:\n  - {name: a, command: [x], inboundCapture: x}\n", ["inboundCapture", "tproxy:PORT"]),
        ("workloads:\n  - {name: a, command: [x], dns: on, dnsUpstreams: [host]}\n", ["dns", "found 'host'"]),
        ("workloads:\n  - {name: a, command: [x], dnsUpstreams: [10.0.0.2]}\n", ["dns", "or no resolvers"]),
        ("gateways:\n  - {name: g, listen: {80: here}}\n", ["gateways[0].listen", "80=8080"]),
        ("proxy: both\n", ["weft.yaml:1", "proxy", "shared"]),
        ("workloads:\n  - {name: a, command: [x], proxy: sidecar}\n", ["weft.yaml:2", "workloads[0].proxy", "shared"]),
        (SHARED + "  - {name: a, command: [x], capture: on}\n", ["weft.yaml:3", "capture", "proxy: sidecar"]),
        (SHARED + "  - {name: a, command: [x], dns: on}\n", ["weft.yaml:3", "dns", "proxy: sidecar"]),
        (SHARED + "  - {name: a, command: [x], identityFrom: spire}\n", ["weft.yaml:3", "identityFrom"]),
        (SHARED + "  - {name: a, networkNamespace: /etc/x}\n", ["weft.yaml:3", "networkNamespace", "below /run"]),
        (
            SHARED + "  - {name: a, proxy: sidecar, networkNamespace: x}\n",
            ["weft.yaml:3", "networkNamespace", "shared"],
        ),
        ("workloads:\n  - {name: a, networkNamespace: x}\n", ["weft.yaml:2", "networkNamespace", "ip netns exec"]),
        (SHARED + "  - {name: host, command: [x]}\n", ["weft.yaml:3", "'host' is the shared proxy's"]),
        ("gateways: {}\n", ["weft.yaml:1", "gateways", "a list"]),
        ("trustDomain: 'a b'\n", ["trustDomain", "cluster.local"]),
        ("apiVersion: v1\nkind: Service\n", ["weft.yaml:2", "weft apply"]),
        ("a: [\n", ["weft.yaml:", "not valid YAML"]),
        ("", ["weft.yaml", "empty"]),
        ("a: 1\n---\nb: 2\n", ["2 YAML documents"]),
    ],
)
def test_mistakes_are_told_with_line_and_field(text: str, told: list[str]) -> None:
    message = refused(text)
    for part in told:
        assert part in message


def test_all_mistakes_are_told_at_once() -> None:
    told = refused("workloads:\n  - {name: a}\n  - {name: b, comand: x}\n").splitlines()
    assert len(told) == 2, "a misspelt field is one mistake: it is not missing besides"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeshFileError, match="cannot be read"):
        read_meshfile(tmp_path / "weft.yaml")


def test_the_demo_and_the_example_are_good() -> None:
    assert len(demo_mesh().workloads) == 6
    assert isinstance(read_meshfile(EXAMPLES / "shop" / "weft.yaml"), MeshFile)
    assert len(read_meshfile(EXAMPLES / "traffic" / "weft.yaml").workloads) == 3
    assert [one.locality for one in read_meshfile(EXAMPLES / "zones" / "weft.yaml").workloads] == [
        "eu/a",
        "eu/b",
        "",
        "eu/a",
    ]


def test_workloads_that_share_a_proxy_are_one_process() -> None:
    text = SHARED + "  - {name: a, command: [x]}\n  - {name: b, command: [x], proxy: sidecar, dns: on}\n"
    mesh = decode_meshfile(text, "weft.yaml")
    launches = {one.name: one for one in mesh_launches(Home(Path("/home")), mesh, Path("/base"))}
    assert list(launches) == ["control-plane", "host", "b"]
    assert launches["host"].arguments == ("host", "--home", "/home", "/base/weft.yaml")
    assert [one.name for one in shared_entries(mesh)] == ["a"]


def test_the_file_of_a_host_is_read_again_when_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "weft.yaml"
    file.write_text("workloads:\n  - {name: a, command: [x], ports: ['80:auto']}\n")
    source = HostFile(file, Home(tmp_path))
    first = source.read()
    assert [one.name for one in first] == ["a"]
    assert source.read() is first
    file.write_text("workloads:\n  - {name: b, command: [x], capture: on}\n")
    with pytest.raises(MeshFileError, match="capture"):
        source.read()
    assert (source.is_news("x"), source.is_news("x")) == (True, False)
    file.write_text("workloads:\n  - {name: b, command: [x]}\n")
    assert [one.name for one in source.read()] == ["b"]


def test_a_host_that_may_not_enter_a_namespace_says_so_at_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weft.yaml"
    file.write_text("workloads:\n  - name: a\n    networkNamespace: shop\n  - {name: b, command: [x]}\n")
    source = HostFile(file, Home(tmp_path))
    monkeypatch.setattr(shared_proxy, "may_enter_namespaces", lambda: False)
    with pytest.raises(MeshFileError, match=r"weft\.yaml:3.* workloads\[0\]\.networkNamespace.*CAP_SYS_ADMIN"):
        source.read()
    monkeypatch.setattr(shared_proxy, "may_enter_namespaces", lambda: True)
    a, b = source.read()
    assert (a.network_namespace, b.network_namespace) == ("/run/netns/shop", "")
    assert a.arguments[-1] == "--"
    assert a.place == f"{file}:3: workloads[0].networkNamespace"


def test_a_locality_that_is_none_is_told_at_its_line() -> None:
    text = """workloads:
- {name: a, command: [x], locality: eu//b}
gateways:
- {name: g, locality: /}
"""
    with pytest.raises(MeshFileError) as error:
        decode_meshfile(text, "weft.yaml")
    found = [(problem.origin.line, problem.code, problem.path[-1]) for problem in error.value.problems]
    assert found == [(2, "bad-value", "locality"), (4, "bad-value", "locality")]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", []),
        ("capture: off", []),
        ("capture: on", ["--capture", "on"]),
        ("capture: 15002", ["--capture", "15002"]),
        ("inboundCapture: tproxy", ["--inbound-capture", "tproxy"]),
    ],
)
def test_capture_is_passed_on_as_it_is_said(said: str, told: list[str]) -> None:
    mesh = decode_meshfile(f"workloads:\n  - {{name: a, command: [x], {said}}}\n", "weft.yaml")
    arguments = run_launch(Home(Path("/home")), mesh.workloads[0], Path("/base")).arguments
    assert [word for word in arguments if word.endswith("capture") or word in told] == told
