"""TrafficSplit: requests and connections of a Service divided over Services, all of them or those of groups."""

from __future__ import annotations

from typing import Any

from support.meshdocs import Compiled, service, short, upstream, workload

SERVICES = (
    service("web", 80)
    + service("web-v1", 80)
    + service("web-v2", 8080)
    + """
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: beta}
spec: {matches: [{name: cookie, headers: {cookie: "user=beta"}, methods: [GET, HEAD], pathRegex: "/app.*"}]}
"""
)


def split(backends: str, matches: str = "", version: str = "v1alpha4", name: str = "split") -> str:
    """A TrafficSplit of web."""
    return f"""
---
apiVersion: split.smi-spec.io/{version}
kind: TrafficSplit
metadata: {{name: {name}}}
spec: {{service: web, backends: [{backends}]{matches}}}
"""


def asked(mesh: Compiled, **fields: Any) -> list[tuple[str, float]]:
    """Where a request to web may go."""
    verdict = mesh.ask("web:80/app", **fields)
    return [(name.split("|")[3].split(".")[0], share) for name, share in verdict.backends] or [(short(verdict), 1.0)]


def test_requests_are_divided_over_services() -> None:
    for version in ("v1alpha2", "v1alpha3", "v1alpha4"):
        mesh = Compiled(SERVICES, split("{service: web-v1, weight: 1}, {service: web-v2, weight: 3}", version=version))
        assert mesh.codes == []
        assert asked(mesh) == [("web-v1", 0.25), ("web-v2", 0.75)]


def test_only_the_requests_of_groups_are_divided() -> None:
    matches = ", matches: [{kind: HTTPRouteGroup, name: beta}]"
    mesh = Compiled(SERVICES, split("{service: web-v2, weight: 1}", matches))
    assert asked(mesh, headers={"cookie": "user=beta"}) == [("web-v2", 1.0)]
    assert asked(mesh, headers={"cookie": "user=beta"}, method="POST") == [("web", 1.0)]
    assert asked(mesh) == [("web", 1.0)]


def test_what_is_not_there_is_told_and_its_share_refused() -> None:
    mesh = Compiled(SERVICES, split("{service: web-v3, weight: 1}", ", matches: [{kind: HTTPRouteGroup, name: bet}]"))
    assert sorted(mesh.codes) == ["unknown-host", "unknown-target"]
    assert asked(mesh) == [("web", 1.0)]
    assert short(Compiled(SERVICES, split("{service: web-v3, weight: 1}")).ask("web:80/")) == "503"


def test_connections_are_divided_too() -> None:
    ports = "  - {name: tcp, port: 5432}\n"
    services = service("web", extra=ports) + service("db", extra=ports)
    client = workload("client", upstreams=(upstream("web", 5432, 1),))
    mesh = Compiled(services, split("{service: db, weight: 2}, {service: web, weight: 1}"))
    [found] = mesh.sidecar(client).upstreams
    assert found.connections.otherwise is not None
    shares = [
        (each.backend.host.split(".")[0], each.weight) for each in found.connections.otherwise.backends if each.backend
    ]
    assert shares == [("db", 2), ("web", 1)]


def test_the_older_of_two_has_the_service() -> None:
    mesh = Compiled(
        SERVICES, split("{service: web-v2, weight: 1}", name="b"), split("{service: web-v1, weight: 1}", name="a")
    )
    assert (mesh.codes, asked(mesh)) == (["host-conflict"], [("web-v1", 1.0)])
