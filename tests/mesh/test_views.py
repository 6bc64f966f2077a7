"""Views: domains, tunnels, scopes, upstreams, inbound ports, and the reuse of unchanged nodes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weft.bookinfo
from support.examples import examples
from support.meshdocs import (
    Compiled,
    backends,
    documents,
    endpoints,
    gateway_workload,
    service,
    short,
    upstream,
    workload,
)
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.services.service import Plaintext, Protocol
from weft.mesh.view import build_view
from weft.mesh.views import SidecarView
from weft.model.origin import path_text
from weft.model.snapshot import ConfigSnapshot, MeshSettings, OutboundPolicy
from weft.model.workload import Scope, Workload, WorkloadState
from weft.xds.build import build_xds
from weft.xds.snapshot import TYPES

TCP = service("db", 5432).replace("http-5432", "tcp-sql")
EXTERNAL = """
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: www.example.com, ports: [{name: http, port: 80}]}
"""


def test_names_of_a_service_by_the_callers_namespace() -> None:
    mesh = Compiled(service("web"))
    full = ("web.default.svc.cluster.local", "web.default.svc", "web.default")
    assert mesh.sidecar().outbound.virtual_hosts[0].domains == (*full, "web")
    assert mesh.sidecar(namespace="other").outbound.virtual_hosts[0].domains == full


def test_a_namespace_named_like_a_domain_of_the_internet_captures_no_host_of_it() -> None:
    outsider = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outsider}
spec: {hosts: [github.com], http: [{directResponse: {status: 418}}]}
"""
    mesh = Compiled(service("github", 80, 443, namespace="com"), service("localhost", 80), outsider)
    shortest = {host.domains for host in mesh.sidecar().outbound.virtual_hosts if host.port in (80, 443)}
    github, own = "github.com.svc", "localhost.default"
    assert shortest == {
        ("github.com.svc.cluster.local", github),
        ("localhost.default.svc.cluster.local", f"{own}.svc", own),
        ("github.com",),
    }
    assert mesh.ask("github.com.svc/").status != 418
    assert mesh.ask("github.com/").status == 418
    told = {path_text(problem.path) for problem in mesh.mesh.problems if problem.code == "no-short-name"}
    assert told == {"metadata.namespace", "metadata.name"}


def test_tcp_ports_are_tunnels_and_the_rest_virtual_hosts() -> None:
    view = Compiled(service("web"), TCP).sidecar().outbound
    assert [item.connections.backends()[0].host for item in view.tunnels] == ["db.default.svc.cluster.local"]
    assert view.tunnels[0].domains[-1] == "db"
    assert [item.port for item in view.virtual_hosts] == [9080]


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ("name: http", Protocol.HTTP),
        ("name: http-web", Protocol.HTTP),
        ("name: grpc-api", Protocol.HTTP2),
        ("name: http2", Protocol.HTTP2),
        ("name: tcp-db", Protocol.TCP),
        ("name: https", Protocol.TCP),
        ("name: postgres", Protocol.TCP),
        ("name: web", Protocol.AUTO),
        ("name: tcp, appProtocol: http", Protocol.HTTP),
        ("name: x, appProtocol: kubernetes.io/h2c", Protocol.HTTP2),
        ("name: x, appProtocol: kubernetes.io/ws", Protocol.WEBSOCKET),
    ],
)
def test_what_a_port_speaks(port: str, protocol: Protocol) -> None:
    text = service("web").replace("name: http-9080", port)
    server = workload("web")
    mesh = Compiled(text, workloads=[server])
    assert mesh.mesh.catalog.frontends[0].ports[0].protocol is protocol
    assert mesh.sidecar(server).inbound[0].protocol is protocol
    hosts = mesh.sidecar().outbound.virtual_hosts
    upgrades = [getattr(rule.action, "websocket", None) for host in hosts for rule in host.rules]
    assert upgrades == ([] if protocol is Protocol.TCP else [protocol is Protocol.WEBSOCKET])


def test_services_that_disagree_about_a_port_leave_it_to_the_connection() -> None:
    other = service("also", selector="app: web").replace("http-9080", "grpc")
    server = workload("web")
    (port,) = Compiled(service("web"), other, workloads=[server]).sidecar(server).inbound
    assert port.protocol is Protocol.AUTO
    assert len(port.origins) == 2


def test_an_external_name_is_a_backend_without_endpoints() -> None:
    view = Compiled(EXTERNAL).sidecar()
    (found,) = backends(view).values()
    assert (found.dns_names(), found.single) == (("www.example.com",), True)
    assert (found.transport, endpoints(view)) == (Plaintext(), {})


def test_unknown_hosts_pass_or_not_by_policy() -> None:
    assert short(Compiled().ask("www.example.com/")) == "passthrough"
    closed = Compiled(settings=MeshSettings(outbound_policy=OutboundPolicy.REGISTRY_ONLY))
    assert short(closed.ask("www.example.com/")) == "502"


def test_subsets_are_there_whether_or_not_a_route_sends_to_them() -> None:
    """A proxy that asks for one while its last route goes must not hear that there is none."""
    rule = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: blue, labels: {version: blue}}]}
"""
    mesh = Compiled(service("web"), rule)
    web = "web.default.svc.cluster.local"
    assert set(backends(mesh.sidecar())) == {f"outbound|9080||{web}", f"outbound|9080|blue|{web}"}
    assert set(backends(mesh.sidecar(uses=("web",)))) == {f"outbound|9080||{web}"}, "it says what it uses"


def test_uses_limit_a_view_to_these_hosts_and_where_their_routes_lead() -> None:
    to_b = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: b}}]}]}
"""
    mesh = Compiled(*map(service, "abc"), to_b)
    view = mesh.sidecar(uses=("a",))
    assert [item.name.split(".")[0] for item in view.outbound.virtual_hosts] == ["a"]
    assert [item.key.host.split(".")[0] for item in backends(view).values()] == ["a", "b"]
    nothing = mesh.sidecar(uses=("nobody",))
    assert (nothing.outbound.virtual_hosts, backends(nothing)) == ((), {})
    again = mesh.sidecar(uses=("a.default",))
    assert (again.outbound, again.targets) == (view.outbound, view.targets)


def test_upstreams_lead_to_services_and_unknown_ones_are_told() -> None:
    wanted = (upstream("db", 5432, 1), upstream("bd", 5432, 2), upstream("db", 1, 3))
    client = workload("client", upstreams=wanted)
    mesh = Compiled(TCP, workloads=[client])
    found = mesh.sidecar(client).upstreams
    assert [(item.listen.port, item.protocol, item.backends[0].key.host) for item in found] == [
        (1, Protocol.TCP, "db.default.svc.cluster.local")
    ]
    assert mesh.codes == ["unknown-upstream", "unknown-upstream"]


def test_sidecars_of_a_namespace_share_their_outbound_view() -> None:
    mesh = Compiled(service("web"))
    first, second = mesh.sidecar(workload("x")), mesh.sidecar(workload("y"))
    assert first.outbound is second.outbound
    assert mesh.sidecar(workload("x", namespace="far")).targets is first.targets


# Reuse


SERVICES, INSTANCES = 1000, 10
CLIENT = workload("client")


MIRRORED = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: [a], http: [{route: [{destination: {host: b}}], mirror: {host: c}}]}
"""


def told(compiled: Compiled, **caller: Any) -> tuple[list[str], bool]:
    """What a sidecar is told without asking, and whether it may ask for more."""
    view = compiled.sidecar(**caller)
    assert view.outbound.on_demand is view.targets.on_demand
    found = view.targets.told if view.targets.on_demand else view.targets.targets()
    return [each.backend.key.host.split(".")[0] for each in found], view.targets.on_demand


def test_the_scope_says_what_is_told_at_once_and_what_on_demand() -> None:
    compiled = Compiled(service("a"), service("b"), service("c"), service("d"), MIRRORED)
    assert told(compiled) == (["c"], True)  # Envoy asks for no mirror
    assert told(compiled, namespace="other") == (["c"], True)
    assert told(compiled, scope=Scope.ALL) == (["a", "b", "c", "d"], False)
    assert told(compiled, uses=("a",)) == (["a", "b", "c"], False)
    assert told(compiled, uses=("d",), upstreams=(upstream("b", 9080),)) == (["b", "d"], False)


@pytest.fixture(scope="module")
def large() -> ConfigSnapshot:
    """A mesh of 1,000 services with 10 instances each."""
    found = documents("".join(service(f"s{number}") for number in range(3)))
    model = found[0]
    texts = [
        replace(
            model,
            key=replace(model.key, name=f"s{number}"),
            spec=replace(model.spec, selector={"app": f"s{number}"}),  # type: ignore[type-var]
        )
        for number in range(SERVICES)
    ]
    instances = [
        workload(f"s{service_number}", f"v{number}", number=service_number * INSTANCES + number)
        for service_number in range(SERVICES)
        for number in range(INSTANCES)
    ]
    return ConfigSnapshot(1, tuple(texts), tuple(instances))


def compiled(snapshot: ConfigSnapshot, memo: Memo) -> SidecarView:
    """One more build in the same memo, and the view of a client."""
    memo.begin()
    view = build_view(build_mesh(snapshot, memo), CLIENT, memo)
    assert isinstance(view, SidecarView)
    return view


def test_one_endpoint_changes_one_set_of_endpoints_and_nothing_else(large: ConfigSnapshot) -> None:
    memo = Memo()
    before = compiled(large, memo)
    changed = (replace(large.workloads[0], state=WorkloadState.DRAINING), *large.workloads[1:])
    after = compiled(replace(large, revision=2, workloads=changed), memo)
    assert memo.misses <= 10
    assert after.outbound is before.outbound
    pairs = list(zip(before.targets.targets(), after.targets.targets(), strict=True))
    assert [old.backend.key.host.split(".")[0] for old, new in pairs if old is not new] == ["s0"]
    assert all(old.backend is new.backend for old, new in pairs)


def test_one_document_changes_only_what_it_is_about_even_after_quiet_builds(large: ConfigSnapshot) -> None:
    memo = Memo()
    before = compiled(large, memo)
    assert compiled(replace(large, revision=2), memo) is before
    assert memo.misses == 0
    route = documents("""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: s7}]
  rules: [{backendRefs: [{name: s8, port: 9080}]}]
""")
    after = compiled(replace(large, revision=3, documents=(*large.documents, *route)), memo)
    assert memo.misses <= 25
    assert after.targets is before.targets
    pairs = zip(before.outbound.virtual_hosts, after.outbound.virtual_hosts, strict=True)
    assert [new.domains[-1] for old, new in pairs if old is not new] == ["s7"]


# Order and memory do not matter

MIXED = f"""
{service("a", 80)}{service("b", 80, 81)}{service("c", namespace="far")}{TCP}{EXTERNAL}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one}}
spec: {{hosts: [a, x.example], gateways: [mesh, front], http: [{{match: [{{sourceLabels: {{app: client}}}}], route: [{{destination: {{host: b, subset: v1}}}}]}}, {{route: [{{destination: {{host: b}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: two}}
spec: {{hosts: [a], http: [{{route: [{{destination: {{host: nobody}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: b}}
spec: {{host: b, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: b2}}
spec: {{host: b.default}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: h1}}
spec:
  parentRefs: [{{group: "", kind: Service, name: b}}, {{name: front}}]
  rules: [{{matches: [{{path: {{value: /x}}}}], backendRefs: [{{name: a, port: 80}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: h2, namespace: far}}
spec:
  parentRefs: [{{group: "", kind: Service, name: b, namespace: default}}]
  rules: [{{backendRefs: [{{name: c, port: 9080}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec: {{gatewayClassName: weft, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: p}}
spec: {{selector: {{matchLabels: {{app: a}}}}, mtls: {{mode: DISABLE}}}}
"""  # noqa: E501
INSTANCE_LIST = [
    workload("a", port=80, number=1),
    workload("a", "v2", port=80, number=2),
    workload("b", port=80, number=3),
    workload("c", number=4, namespace="far"),
    workload("client"),
    gateway_workload("front"),
]


def views_of(snapshot: ConfigSnapshot, memo: Memo) -> tuple[list[dict[str, str]], tuple[object, ...]]:
    """The resources of every workload with their versions, and the problems."""
    memo.begin()
    mesh = build_mesh(snapshot, memo)
    snapshots = [build_xds(build_view(mesh, item, memo), 1, memo) for item in INSTANCE_LIST]
    found = [{f"{kind} {one.name}": one.version for kind in TYPES for one in each.of_type(kind)} for each in snapshots]
    memo.end()
    return found, mesh.problems


SOURCE = documents(MIXED)
EXPECTED = views_of(ConfigSnapshot(1, SOURCE, tuple(INSTANCE_LIST)), Memo())


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), drop=st.integers(0, len(SOURCE) - 1))
def test_shuffled_documents_and_an_old_or_fresh_memo_give_equal_views(seed: int, drop: int) -> None:
    shuffle = random.Random(seed)
    shuffled = shuffle.sample(SOURCE, len(SOURCE))
    workloads: list[Workload] = shuffle.sample(INSTANCE_LIST, len(INSTANCE_LIST))
    memo = Memo()
    views_of(ConfigSnapshot(1, tuple(shuffled[:drop] + shuffled[drop + 1 :]), tuple(workloads[1:])), memo)
    whole = ConfigSnapshot(2, tuple(shuffled), tuple(workloads))
    assert views_of(whole, memo) == EXPECTED
    assert views_of(whole, Memo()) == EXPECTED


def test_the_mixed_mesh_is_as_told() -> None:
    mesh = Compiled(SOURCE, workloads=INSTANCE_LIST)
    told = ["host-conflict", "host-conflict", "target-port-not-served", "unknown-host"]
    assert sorted(mesh.codes) == told
    assert short(mesh.ask("a/")) == "v1"
    assert short(mesh.ask("a/", workload("d"))) == "b:80"
    assert short(mesh.ask("b.default:80/", workload("client", namespace="far"))) == "c.far:9080"


# The book-information application


def test_the_documents_of_the_book_information_application_have_no_problems() -> None:
    folder = Path(weft.bookinfo.__file__).parent / "documents"
    texts = [documents(path.read_text(), path.name) for path in sorted(folder.glob("*.yaml"))]
    versions = ("v1", "v2", "v3")
    instances = [
        *(workload("reviews", version, number=place) for place, version in enumerate(versions)),
        *(workload(name, number=5) for name in ("details", "ratings", "productpage")),
    ]
    split = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v3}, weight: 10}
"""
    mesh = Compiled(*texts, split, workloads=instances)
    assert [str(problem) for problem in mesh.mesh.problems] == []
    page = workload("productpage")
    assert short(mesh.ask("reviews:9080/", page, headers={"end-user": "jason"})) == "v2"
    assert [short(mesh.ask("reviews:9080/", page, random=point)) for point in (0.89, 0.91)] == ["v1", "v3"]
    assert short(mesh.knock("bookinfo-gateway", "127.0.0.1:8080/productpage")) == "productpage:9080"
    assert short(mesh.knock("bookinfo-gateway", "127.0.0.1:8080/admin")) == "404"
    reviews = endpoints(mesh.sidecar(page))["outbound|9080|v3|reviews.default.svc.cluster.local"]
    assert [item.workload for item in reviews.endpoints] == ["reviews-v3.default"]


def test_a_workload_that_no_service_selects_is_told_with_the_label_that_may_be_meant() -> None:
    mesh = Compiled(SOURCE, workloads=[workload("x", labels=(("app", "aa"),))])
    (problem,) = [one for one in mesh.mesh.idle if one.code == "not-selected"]
    assert (problem.severity, problem.nearest, problem.path) == ("warning", "app=a", ("labels",))
    assert problem.origin.source == "workload x-v1.default"
