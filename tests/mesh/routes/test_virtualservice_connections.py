"""VirtualService: tcp and tls rules, what they come to for callers, and what is wrong with them."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, service, short, upstream, workload
from weft.mesh.routes.connections import Connections
from weft.mesh.services.service import BackendKey

PORTS = """  - {name: tcp, port: 5432}
  - {name: tls-web, port: 8443}
  - {name: unsaid, port: 7000}
"""
SUBSETS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
"""
DB = service("db", 80, extra=PORTS) + service("other", extra="  - {name: tcp, port: 5432}\n") + SUBSETS


def virtual(rules: str, hosts: str = "db", name: str = "vs") -> str:
    """A VirtualService with these rules."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{hosts}], {rules}}}
"""


def connections(mesh: Compiled, port: int, caller: str = "client") -> Connections:
    """Where a caller's connections to a port of db go."""
    [found] = mesh.sidecar(workload(caller, upstreams=(upstream("db", port, 1),))).upstreams
    return found.connections


def shares(found: Connections) -> list[tuple[str, int]]:
    """Where connections go, without regard to server names: ``SERVICE:PORT/SUBSET`` and weight."""
    assert found.otherwise is not None
    return [(_text(each.backend), each.weight) for each in found.otherwise.backends]


def _text(key: BackendKey | None) -> str:
    if key is None:
        return "nowhere"
    return f"{key.host.split('.')[0]}:{key.port}{'/' + key.subset if key.subset else ''}{' as it is' * key.opaque}"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("tcp: [{route: [{destination: {host: db, subset: v1}}]}]", [("db:5432/v1", 1)]),
        (
            "tcp: [{route: [{destination: {host: db, subset: v1}, weight: 20}, "
            "{destination: {host: other, port: {number: 5432}}, weight: 80}]}]",
            [("db:5432/v1", 20), ("other:5432", 80)],
        ),
        (
            "tcp: [{route: [{destination: {host: db, port: {number: 80}}, weight: 1}, "
            "{destination: {host: none}, weight: 3}]}]",
            [("db:80 as it is", 1), ("nowhere", 3)],
        ),
        ("tcp: [{match: [{port: 1}], route: [{destination: {host: other}}]}]", [("db:5432", 1)]),
        ("tcp: [{match: [{sourceLabels: {app: other}}], route: [{destination: {host: other}}]}]", [("db:5432", 1)]),
        ("tcp: [{match: [{sourceNamespace: far}], route: [{destination: {host: other}}]}]", [("db:5432", 1)]),
        (
            "tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: other}}]}]",
            [("db:5432", 1)],
        ),
        (
            "tcp: [{match: [{port: 1}, {sourceLabels: {app: client}, sourceNamespace: default, port: 5432}], "
            "route: [{destination: {host: db, subset: v2}}]}, {route: [{destination: {host: other}}]}]",
            [("db:5432/v2", 1)],
        ),
        ("tls: [{match: [{sniHosts: [db]}], route: [{destination: {host: other}}]}]", [("db:5432", 1)]),
        ("http: [{route: [{destination: {host: other}}]}]", [("db:5432", 1)]),
    ],
)
def test_tcp_rules_divide_connections(rules: str, expected: list[tuple[str, int]]) -> None:
    assert shares(connections(Compiled(DB, virtual(rules)), 5432)) == expected


def test_tls_rules_choose_by_server_name_and_close_what_no_rule_takes() -> None:
    rules = (
        "tls: [{match: [{sniHosts: [a.example.com], sourceLabels: {app: client}}], "
        "route: [{destination: {host: db, subset: v1}}]}, "
        "{match: [{sniHosts: [a.example.com, '*.example.com']}], route: [{destination: {host: db, subset: v2}}]}]"
    )
    mesh = Compiled(DB, virtual(rules, "db, '*.example.com'"))
    found = connections(mesh, 8443)
    assert [(name, route.backends[0].backend.subset) for name, route in found.by_name if route.backends[0].backend] == [
        ("*.example.com", "v2"),
        ("a.example.com", "v1"),
    ]
    assert found.otherwise is None
    others = connections(mesh, 8443, "someone")
    assert {route.backends[0].backend.subset for route in others.routes() if route.backends[0].backend} == {"v2"}
    assert shares(connections(mesh, 5432)) == [("db:5432", 1)]


def test_server_names_are_among_the_hosts() -> None:
    rules = "tls: [{match: [{sniHosts: ['*']}], route: [{destination: {host: db, subset: v1}}]}]"
    with pytest.raises(AssertionError, match="not among the document's hosts"):
        Compiled(DB, virtual(rules, "db"))


def test_ports_of_which_nobody_knows_take_rules_for_what_is_not_http() -> None:
    mesh = Compiled(DB, virtual("tcp: [{route: [{destination: {host: db, subset: v1}}]}]"))
    assert shares(connections(mesh, 7000)) == [("db:7000/v1 as it is", 1)]
    view = mesh.sidecar(workload("client", uses=("db",)))
    carried = [target.backend.key for target in view.targets.carried]
    assert [(key.port, key.subset, key.opaque) for key in carried] == [(7000, "v1", True)]


def test_a_document_of_connections_leaves_requests_alone() -> None:
    tcp = virtual("tcp: [{route: [{destination: {host: db, subset: v1}}]}]", name="a")
    http = virtual("http: [{route: [{destination: {host: other, port: {number: 9080}}}]}]", name="b")
    mesh = Compiled(DB, tcp, http)
    assert mesh.codes == []
    assert short(mesh.ask("db:80/")) == "other:9080"
    assert shares(connections(mesh, 5432)) == [("db:5432/v1", 1)]


def test_two_documents_of_connections_contend_for_a_host() -> None:
    first = virtual("tcp: [{route: [{destination: {host: db, subset: v1}}]}]", name="a")
    second = virtual("tcp: [{route: [{destination: {host: db, subset: v2}}]}]", name="b")
    mesh = Compiled(DB, second, first)
    assert mesh.codes == ["host-conflict"]
    assert shares(connections(mesh, 5432)) == [("db:5432/v1", 1)]


def test_what_is_wrong_is_told_at_its_field() -> None:
    tcp = "tcp: [{match: [{gateways: [nobody]}], route: [{destination: {host: db, subset: v9}}]}]"
    mesh = Compiled(
        DB + service("web"),
        virtual(tcp),
        virtual("tls: [{match: [{sniHosts: [other]}], " + ROUTE, "other", "b"),
        virtual("tcp: [{" + ROUTE, "web", "c"),
    )
    assert sorted(mesh.codes) == ["no-tls-port", "not-tcp", "unknown-gateway", "unreachable"]


ROUTE = "route: [{destination: {host: other, port: {number: 5432}}}]}]"


def test_a_host_outside_is_routed_on_the_ports_of_its_rules() -> None:
    rules = "tls: [{match: [{sniHosts: [pay.example.com]}], " + ROUTE + ", tcp: [{match: [{port: 9000}], " + ROUTE
    mesh = Compiled(DB, virtual(rules, "pay.example.com"))
    tunnels = mesh.sidecar(workload("client")).outbound.tunnels
    outside = {each.port: each.connections for each in tunnels if each.host == "pay.example.com"}
    assert sorted(outside) == [443, 9000]
    assert [name for name, _ in outside[443].by_name] == ["pay.example.com"]
    assert shares(outside[9000]) == [("other:5432", 1)]
