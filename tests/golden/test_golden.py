"""Golden cases: the documents a user writes, and what proxies are sent because of them.

A case is a directory with ``input.yaml`` and one expected file for each resource that its ``case.yaml`` shows:

    proxy: productpage-v1.default        # whose configuration
    show: [routes/outbound, "clusters/outbound|9080|*"]   # type/name, names may hold wildcards

``routes/outbound#reviews*`` shows only those virtual hosts, and not their CONNECT routes, which are all alike.
``distrusted`` are ends of trust (`weft.model.distrust`). With ``capture`` connections are led to the proxy, by a port
(``"on"``) or from ``inside`` of it; with ``inbound_capture`` those of callers, by TPROXY.

Services and workloads that all cases share are in ``world.yaml``. Every case also goes through a real Envoy.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import yaml

from support.certificates import TestAuthority, write_workload_directory
from support.corpus import CAPTURE, INBOUND_CAPTURE, compile_mesh, documents_of, world_documents, world_workloads
from support.envoy import validate
from support.views import identity
from weft.model.distrust import Distrust
from weft.model.workload import Scope
from weft.xds.describe import describe_resource
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, XdsSnapshot
from weft.xds.static import static_bootstrap

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/case.yaml"))
KINDS = {
    "clusters": CLUSTER,
    "endpoints": ENDPOINTS,
    "listeners": LISTENER,
    "routes": ROUTES,
    "filters": EXTENSION,
    "secrets": SECRET,
}
INPUTS = {"case.yaml", "input.yaml"}


@dataclass(frozen=True)
class Case:
    """``case.yaml``."""

    proxy: str
    show: tuple[str, ...]
    distrusted: tuple[Distrust, ...] = ()
    capture: Literal["on", "inside", "off"] = "off"
    inbound_capture: bool = False


@pytest.fixture(scope="session")
def workload_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("workload")
    authority = TestAuthority()
    write_workload_directory(directory, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    return directory


@pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)
def test_golden(directory: Path, workload_directory: Path, request: pytest.FixtureRequest) -> None:
    case = msgspec.convert(yaml.safe_load((directory / "case.yaml").read_text()), Case)
    snapshot = compile_case(directory / "input.yaml", case, distrusted=case.distrusted)
    produced = {f"{name}.yaml": text for name, text in shown(snapshot, case)}
    if request.config.getoption("--update-golden", default=False):
        _rewrite(directory, produced)
    expected = {path.name: path.read_text() for path in directory.iterdir() if path.name not in INPUTS}
    assert produced == expected, "changed on purpose? run: ./run golden"
    assert validate(static_bootstrap(snapshot), workload_directory) == ""


@pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)
def test_the_order_of_documents_and_workloads_does_not_matter(directory: Path) -> None:
    case = msgspec.convert(yaml.safe_load((directory / "case.yaml").read_text()), Case)
    one, other = (compile_case(directory / "input.yaml", case, order) for order in (1, -1))
    for kind in KINDS.values():
        versions = {each.name: each.version for each in one.of_type(kind)}
        assert versions == {each.name: each.version for each in other.of_type(kind)}


@pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)
def test_what_a_resource_refers_to_is_what_it_requires(directory: Path) -> None:
    """The order in which proxies are sent things, and when things are removed, stands on `Resource.requires`. (What is
    on demand is not required.)"""
    case = msgspec.convert(yaml.safe_load((directory / "case.yaml").read_text()), Case)
    snapshot = compile_case(directory / "input.yaml", case, scope=Scope.ALL)
    for kind in (LISTENER, ROUTES, EXTENSION):
        for resource in snapshot.of_type(kind):
            found = {each for each in references(describe_resource(resource)) if snapshot.get(*each) is not None}
            assert found == {each for each in resource.requires if snapshot.get(*each) is not None}, resource.name


def references(described: Any) -> Iterator[tuple[str, str]]:
    """Everything that a resource, as JSON, names of other resources."""
    if isinstance(described, list):
        for each in described:
            yield from references(each)
    if not isinstance(described, dict):
        return
    if "config_discovery" in described:
        yield EXTENSION, described["name"]
    for key, value in described.items():
        if key == "typed_per_filter_config":
            yield from ((EXTENSION, name) for name in value)
        if key in ("cluster", "cluster_name", "collector_cluster") and isinstance(value, str):
            yield CLUSTER, value
        elif key == "clusters":
            yield from ((CLUSTER, each["name"]) for each in value if each.get("weight"))
        elif key == "route_config_name":
            yield ROUTES, value
        elif key == "tls_certificate_sds_secret_configs":
            yield from ((SECRET, each["name"]) for each in value)
        elif key in ("token_secret", "hmac_secret", "validation_context_sds_secret_config"):
            yield SECRET, value["name"]
        else:
            yield from references(value)


def compile_case(
    path: Path, case: Case, order: int = 1, scope: Scope = Scope.DEMAND, distrusted: tuple[Distrust, ...] = ()
) -> XdsSnapshot:
    """What the proxy is sent for the documents of `path` in the world. `order` -1 gives everything in reverse."""
    own = documents_of(path.read_text(), path.name)
    wanted = (each for each in world_workloads() if each.gateway is None or each.proxy == case.proxy)
    led = {case.proxy: CAPTURE} if case.capture == "on" else {}
    inside = {case.proxy} if case.capture == "inside" else set()
    called = {case.proxy: INBOUND_CAPTURE} if case.inbound_capture else {}
    registered = tuple(
        replace(
            each,
            scope=scope,
            capture=led.get(each.proxy, ()),
            capture_inside=each.proxy in inside,
            inbound_capture=called.get(each.proxy, ()),
            transparent=each.proxy in called,
        )
        for each in wanted
    )
    everything = tuple(sorted((*world_documents(), *own), key=lambda document: document.key))
    return compile_mesh(everything[::order], registered[::order], distrusted).snapshots[case.proxy]


def shown(snapshot: XdsSnapshot, case: Case) -> list[tuple[str, str]]:
    """Name and text of each resource that the case is about."""
    found = []
    for pattern in case.show:
        kind, _, wanted = pattern.partition("/")
        names, _, hosts = wanted.partition("#")
        matching = [each for each in snapshot.of_type(KINDS[kind]) if fnmatch.fnmatchcase(each.name, names)]
        assert matching, f"no resource matches {pattern}"
        for resource in matching:
            file = f"{kind}-{resource.name}".replace("|", "_").replace("/", "_").replace(":", "_")
            found.append((file, _text(_only_hosts(describe_resource(resource), hosts))))
    return found


def _only_hosts(described: dict[str, Any], pattern: str) -> dict[str, Any]:
    if pattern:
        hosts = [host for host in described["virtual_hosts"] if fnmatch.fnmatchcase(host["name"], pattern)]
        assert hosts, f"no virtual host matches {pattern}"
        described["virtual_hosts"] = hosts
        for host in hosts:
            host["routes"] = [route for route in host["routes"] if route["name"] != "connect"]
    return described


def _text(described: dict[str, Any]) -> str:
    return yaml.safe_dump(described, sort_keys=True, width=120)


def _rewrite(directory: Path, produced: dict[str, str]) -> None:
    """The produced files and no others."""
    for path in directory.iterdir():
        if path.name not in INPUTS:
            path.unlink()
    for name, text in produced.items():
        (directory / name).write_text(text)
