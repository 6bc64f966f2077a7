"""DestinationRule and PeerAuthentication: which is in force, and what it comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import Compiled, backends, documents, endpoints, service, short, workload
from weft.mesh.services.service import (
    Backend,
    Balancing,
    ConnectionLimits,
    Ejection,
    HashKey,
    MutualTls,
    MutualTlsMode,
    PerEndpoint,
    Plaintext,
    TrafficPolicy,
)
from weft.model.workload import WorkloadState

WEB = service("web", 80, 81)


def rule(spec: str, name: str = "dr", namespace: str = "default", host: str = "web") -> str:
    """A DestinationRule."""
    return f"""
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {host}
{spec}"""


def balanced(algorithm: str) -> str:
    """A policy told by its algorithm."""
    return f"  trafficPolicy: {{loadBalancer: {{simple: {algorithm}}}}}\n"


def backend(mesh: Compiled, name: str, namespace: str = "default") -> Backend:
    """A backend ``PORT|SUBSET`` of web as a client sees it."""
    view = mesh.sidecar(workload("client", namespace=namespace))
    return backends(view)[f"outbound|{name}|web.default.svc.cluster.local"]


def accounts(backend: Backend) -> list[str]:
    """The service accounts that a backend's endpoints may prove."""
    assert isinstance(backend.transport, MutualTls)
    return [identity.service_account for identity in backend.transport.identities]


def algorithm(mesh: Compiled, namespace: str = "default") -> str:
    """The algorithm by which callers of a namespace use port 80."""
    return backend(mesh, "80|", namespace=namespace).policy.balancing.algorithm


def test_defaults() -> None:
    found = backend(Compiled(WEB), "80|")
    assert found.policy == TrafficPolicy(balancing=Balancing("least-request"))
    assert found.transport == MutualTls(())


def test_the_callers_namespace_comes_first_then_the_services_then_the_root() -> None:
    full = "web.default.svc.cluster.local"
    root = rule(balanced("RANDOM"), namespace="istio-system", host='"*.local"')
    own = rule(balanced("ROUND_ROBIN"))
    consumer = rule(
        "  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}\n", namespace="far", host=full
    )
    assert algorithm(Compiled(WEB, root)) == "random"
    mesh = Compiled(WEB, root, own, consumer)
    found = [algorithm(mesh, namespace) for namespace in ("default", "far", "third")]
    assert found == ["round-robin", "ring-hash", "round-robin"]
    assert mesh.ask("web.default:80/", workload("c", namespace="far")).rule == mesh.ask("web.default:80/").rule


def test_an_exact_host_beats_a_wildcard_in_one_namespace() -> None:
    wildcard = rule(balanced("RANDOM"), "a", host='"*.default.svc.cluster.local"')
    assert algorithm(Compiled(WEB, wildcard, rule(balanced("ROUND_ROBIN"), "b"))) == "round-robin"


def test_of_two_for_one_host_the_oldest_is_in_force() -> None:
    young = documents(rule(balanced("RANDOM"), "a"), "young.yaml", created=2.0)
    old = documents(rule(balanced("ROUND_ROBIN"), "z", host="web.default"), "old.yaml", created=1.0)
    mesh = Compiled(WEB, young, old)
    assert algorithm(mesh) == "round-robin"
    (problem,) = mesh.mesh.problems
    assert (problem.code, problem.object and problem.object.name) == ("host-conflict", "a")
    assert "DestinationRule default/z (old.yaml:3)" in problem.message


SUBSETS = """
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s}, http: {http2MaxRequests: 5}}
    outlierDetection: {consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 30s, maxEjectionPercent: 100}
    tls: {mode: ISTIO_MUTUAL}
    portLevelSettings:
    - {port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - name: plain
    labels: {version: v1}
  - name: own
    labels: {version: v2}
    trafficPolicy:
      tls: {mode: DISABLE}
      portLevelSettings:
      - {port: {number: 81}, connectionPool: {tcp: {maxConnections: 9}}}
"""
ROUTE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /own}}]
    route: [{destination: {host: web, subset: own}}]
  - route: [{destination: {host: web, subset: plain}}]
"""


def test_policies_merge_field_by_field_and_a_port_replaces_everything_above_it() -> None:
    mesh = Compiled(WEB, rule(SUBSETS), ROUTE)
    base, plain, own = (backend(mesh, f"80|{subset}").policy for subset in ("", "plain", "own"))
    assert plain == base
    assert base.balancing.algorithm == "random"
    assert (base.limits.max_connections, base.limits.connect_timeout, base.limits.max_requests) == (7, 3.0, 5)
    assert base.ejection == Ejection(consecutive_5xx=3, interval=5.0, base_time=30.0, max_percent=100)
    assert (base.mutual_tls, own.mutual_tls) == (True, False)
    assert own.limits == base.limits
    on_port, own_on_port = (backend(mesh, f"81|{subset}").policy for subset in ("", "own"))
    assert on_port == TrafficPolicy(balancing=Balancing("round-robin"))
    assert own_on_port == TrafficPolicy(limits=ConnectionLimits(max_connections=9))


def test_subsets_hold_the_endpoints_that_carry_their_labels_and_their_identities() -> None:
    instances = [
        workload("web", "v1", port=80, number=1),
        workload("web", "v2", port=80, number=2, service_account="second"),
    ]
    mesh = Compiled(WEB, rule(SUBSETS), ROUTE, workloads=instances)
    found = endpoints(mesh.sidecar())
    sets = {name.rsplit("|", 1)[0]: [end.workload for end in item.endpoints] for name, item in found.items()}
    assert sets["outbound|80|"] == ["web-v1.default", "web-v2.default"]
    assert sets["outbound|80|plain"] == ["web-v1.default"]
    assert sets["outbound|80|own"] == ["web-v2.default"]
    assert sets["outbound|81|"] == []
    assert accounts(backend(mesh, "80|")) == ["second", "web"]
    assert accounts(backend(mesh, "80|plain")) == ["web"]
    assert backend(mesh, "80|own").transport == Plaintext()
    assert [str(origin) for origin in backend(mesh, "80|own").origins][1].startswith("doc1.yaml:19")


@pytest.mark.parametrize(
    ("key", "expected", "balancing"),
    [
        ("httpHeaderName: X-User", HashKey(header="x-user"), Balancing("ring-hash", 1024)),
        ("useSourceIp: true, maglev: {tableSize: 251}", HashKey(source_ip=True), Balancing("maglev", 251)),
        ("httpQueryParameterName: q, ringHash: {minimumRingSize: 64}", HashKey(query="q"), Balancing("ring-hash", 64)),
        ("httpCookie: {name: c}, minimumRingSize: 128", HashKey(cookie="c"), Balancing("ring-hash", 128)),
        ("httpCookie: {name: c, ttl: 0s}", HashKey(cookie="c", cookie_ttl=0.0), Balancing("ring-hash", 1024)),
        ("httpCookie: {name: c, ttl: 5s}", HashKey(cookie="c", cookie_ttl=5.0), Balancing("ring-hash", 1024)),
    ],
)
def test_consistent_hashing_is_the_backends_affair(key: str, expected: HashKey, balancing: Balancing) -> None:
    mesh = Compiled(WEB, rule(f"  trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}\n"))
    assert backend(mesh, "80|").policy.balancing == replace(balancing, hash=expected)


def peer(spec: str, name: str, namespace: str = "default") -> str:
    """A PeerAuthentication."""
    return f"""
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"""


MESH = peer("mtls: {mode: PERMISSIVE}", "mesh", "istio-system")
SPACE = peer("mtls: {mode: DISABLE}", "space")
SELECTED = peer("selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}", "selected")
ON_PORT = peer(
    "selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}", "selected"
)


@pytest.mark.parametrize(
    ("texts", "mode"),
    [
        ((), "strict"),
        ((MESH,), "permissive"),
        ((MESH, SPACE), "disable"),
        ((MESH, SPACE, SELECTED), "strict"),
        ((MESH, SPACE, ON_PORT), "permissive"),
        ((MESH, peer("", "unset")), "permissive"),
        ((SPACE, peer("selector: {matchLabels: {app: web}}, mtls: {mode: UNSET}", "unset")), "disable"),
        ((SPACE, peer("selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}", "other")), "disable"),
        ((peer("mtls: {mode: DISABLE}", "elsewhere", "other"),), "strict"),
    ],
)
def test_the_narrowest_mode_is_in_force(texts: tuple[str, ...], mode: str) -> None:
    server = workload("web", port=80)
    mesh = Compiled(WEB, *texts, workloads=[server])
    (port,) = mesh.sidecar(server).inbound
    assert port.mode == MutualTlsMode(mode)
    (endpoint,) = endpoints(mesh.sidecar())["outbound|80||web.default.svc.cluster.local"].endpoints
    assert endpoint.mutual_tls is (mode != "disable")
    assert isinstance(backend(mesh, "80|").transport, Plaintext if mode == "disable" else MutualTls)


def test_of_two_for_the_same_workloads_the_oldest_is_in_force() -> None:
    young = documents(peer("mtls: {mode: DISABLE}", "a"), "young.yaml", created=2.0)
    old = documents(peer("mtls: {mode: PERMISSIVE}", "z"), "old.yaml", created=1.0)
    server = workload("web", port=80)
    mesh = Compiled(WEB, young, old, workloads=[server])
    assert mesh.sidecar(server).inbound[0].mode is MutualTlsMode.PERMISSIVE
    assert "policy-conflict" in mesh.codes


def test_automatic_mutual_tls_may_differ_between_endpoints() -> None:
    old = peer("selector: {matchLabels: {version: v1}}, mtls: {mode: DISABLE}", "old")
    both = [workload("web", version, port=80, number=place) for place, version in enumerate(("v1", "v2"))]
    assert isinstance(backend(Compiled(WEB, old, workloads=both), "80|").transport, PerEndpoint)
    forced = rule("  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n")
    assert isinstance(backend(Compiled(WEB, old, forced, workloads=both), "80|").transport, MutualTls)


@pytest.mark.parametrize(
    ("state", "health"),
    [("starting", []), ("healthy", ["healthy"]), ("unhealthy", ["unhealthy"]), ("draining", ["draining"])],
)
def test_the_state_of_a_workload_is_the_health_of_its_endpoint(state: str, health: list[str]) -> None:
    server = workload("web", port=80, state=WorkloadState(state))
    ends = endpoints(Compiled(WEB, workloads=[server]).sidecar())["outbound|80||web.default.svc.cluster.local"]
    assert [str(item.health) for item in ends.endpoints] == health


def test_a_target_port_leads_to_the_workloads_port() -> None:
    text = service("web").replace("port: 9080}", "port: 80, targetPort: 9080}")
    server = workload("web", number=5)
    mesh = Compiled(text, workloads=[server, workload("web", "v2", port=1)])
    (found,) = endpoints(mesh.sidecar()).values()
    assert [item.address for item in found.endpoints] == [server.ports[0].inbound]
    assert short(mesh.ask("web/")) == "web:80"


def test_a_target_port_by_name_leads_to_the_port_that_each_workload_calls_so() -> None:
    text = service("web").replace("port: 9080}", "port: 80, targetPort: main}")
    servers = [
        workload("web", f"v{number}", port=port, number=number, name=f"web-v{number}")
        for number, port in enumerate((9080, 8000), 1)
    ]
    named = [replace(item, ports=(replace(item.ports[0], name="main"),)) for item in servers]
    mesh = Compiled(text, workloads=named)
    assert mesh.codes == []
    (found,) = endpoints(mesh.sidecar()).values()
    assert [item.address for item in found.endpoints] == [item.ports[0].inbound for item in named]
    assert str(mesh.sidecar(named[1]).inbound[0].protocol) == "http"

    assert Compiled(text, workloads=servers).codes == []
    others = [replace(item, ports=(replace(item.ports[0], name="other"),)) for item in servers]
    (problem,) = Compiled(text, workloads=others).mesh.problems
    assert (problem.code, problem.path) == ("named-target-port", ("spec", "ports", 0, "targetPort"))
    assert problem.message == "none of the workloads it selects has a port called 'main'"
    assert problem.expected == "one of other, 8000, 9080, or a workload run with --port main=PORT"
    assert Compiled(text, workloads=[others[0], named[1]]).codes == []
    assert Compiled(text).codes == []


def test_a_port_that_no_selected_workload_serves_is_told() -> None:
    mesh = Compiled(WEB, workloads=[workload("web", port=80)])
    assert [(item.code, item.path) for item in mesh.mesh.problems] == [
        ("target-port-not-served", ("spec", "ports", 1, "targetPort"))
    ]
