"""RateLimitPolicy: which one holds for which port and route, and what is wrong with the others."""

from __future__ import annotations

from support.meshdocs import gateway_workload, service, workload
from weft.mesh.access.limits import Limit, LimitKey
from weft.mesh.build import build_mesh
from weft.mesh.gateways.limited import limited_at
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.mesh.routes.rules import NamedMatch, RequestMatch, TextMatch
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView, SidecarView
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.schema.decode import decode_documents

WORLD = f"""{service("web")}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{gatewayClassName: weft, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.example.com]
  rules: [{{backendRefs: [{{name: web, port: 9080}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: blog}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [blog.example.com]
  rules: [{{backendRefs: [{{name: web, port: 9080}}]}}]
"""
CALLS = "limits: [{name: calls, requests: 5, unit: Second}]"

UNSERVED = """---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: side}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def policy(name: str, target: str, spec: str = CALLS, namespace: str = "default") -> str:
    """`target` is ``KIND NAME``, perhaps with a section after a slash."""
    kind, _, which = target.partition(" ")
    which, _, section = which.partition("/")
    where = f"{{kind: {kind}, name: {which}" + (f", sectionName: {section}}}" if section else "}")
    return (
        f"---\napiVersion: weft.dev/v1alpha1\nkind: RateLimitPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{targetRefs: [{where}], {spec}}}\n"
    )


def build(*texts: str) -> Mesh:
    found = decode_documents(WORLD + "".join(texts), "mesh.yaml")
    assert found.problems == ()
    workloads = (workload("web"), workload("other"), gateway_workload("edge"))
    memo = Memo()
    memo.begin()
    return build_mesh(ConfigSnapshot(1, tuple(found.documents), workloads, (), MeshSettings()), memo)


def before(mesh: Mesh, name: str = "web-v1") -> list[str]:
    """The policies before an application's only port."""
    [found] = [each for each in mesh.workloads if each.name == name]
    view = build_view(mesh, found, Memo())
    assert isinstance(view, SidecarView)
    [port] = view.inbound
    return [each.name for each in port.access.limits]


def at_gateway(mesh: Mesh) -> dict[str, str]:
    """The policy of each host."""
    [found] = [each for each in mesh.workloads if each.gateway]
    view = build_view(mesh, found, Memo())
    assert isinstance(view, GatewayView)
    [port] = view.ports
    hosts = {host.domains[0]: host.rules[0].limited for host in port.servers[0].virtual_hosts if host.rules}
    assert {name for name in hosts.values() if name} == {each.name for each in port.access.limits}
    return hosts


def codes(mesh: Mesh) -> list[str]:
    return [problem.code for problem in mesh.problems]


def test_a_service_is_limited_before_its_applications() -> None:
    mesh = build(policy("web", "Service web"))
    assert (before(mesh), before(mesh, "other-v1")) == (["default/web"], [])
    assert set(at_gateway(mesh).values()) == {""}
    assert codes(mesh) == []


def test_a_port_takes_the_place_of_its_service() -> None:
    both = policy("web", "Service web") + policy("port", "Service web/http-9080")
    assert before(build(both)) == ["default/port"]
    assert before(build(policy("web", "Service web") + policy("none", "Service web/http-9090"))) == ["default/web"]


def test_a_route_takes_the_place_of_its_gateway() -> None:
    mesh = build(policy("all", "Gateway edge"), policy("shop", "HTTPRoute shop"))
    assert at_gateway(mesh) == {"shop.example.com": "default/shop", "blog.example.com": "default/all"}
    assert before(mesh) == []


def test_which_policies_a_gateway_may_ask_about() -> None:
    mesh = build(
        policy("all", "Gateway edge"), policy("shop", "HTTPRoute shop"), policy("web", "Service web"), UNSERVED
    )
    served = mesh.gateways.by_name["default/edge"]
    assert {key.name for key in limited_at(served, mesh.limits)} == {"all", "shop"}
    assert {key.name for key in limited_at(mesh.gateways.by_name["default/side"], mesh.limits)} == set()


def test_of_two_for_one_target_one_is_in_force() -> None:
    mesh = build(policy("b", "Gateway edge"), policy("a", "Gateway edge"))
    assert set(at_gateway(mesh).values()) == {"default/a"}
    assert codes(mesh) == ["policy-conflict"]


def test_targets_that_are_not_there_are_told() -> None:
    mesh = build(
        policy("a", "Service wep"),
        policy("b", "Gateway egde"),
        policy("c", "HTTPRoute shopp"),
        policy("d", "Service web/http-908"),
        policy("e", "Service web", namespace="other"),
    )
    found = [(problem.object.name if problem.object else "", problem.nearest) for problem in mesh.problems]
    assert found == [("a", "web"), ("b", "edge"), ("c", "shop"), ("d", "http-9080"), ("e", "")]
    assert set(codes(mesh)) == {"unknown-target"}
    assert before(mesh) == []


def test_what_a_policy_says() -> None:
    spec = (
        "mode: Global, failureMode: Closed, limits: [{name: writes, requests: 10, unit: Minute, burst: 3, "
        "match: {path: {value: /api}, method: POST, headers: [{name: X-Plan, value: free}]}, "
        "by: [{type: Header, name: X-Key}, {type: Claim, name: realm.user}, {type: ClientAddress}]}]"
    )
    found = build(policy("web", "Service web", spec)).limits.by_target["Service default/web"]
    assert found.kind == "shared-closed"
    match = RequestMatch(
        path=TextMatch("segment-prefix", "/api"),
        method=TextMatch("exact", "POST"),
        headers=(NamedMatch("x-plan", TextMatch("exact", "free")),),
    )
    keys = (LimitKey("header", "x-key"), LimitKey("claim", "realm.user"), LimitKey("address"))
    assert found.limits == (Limit("writes", 10, 60, 3, match, keys),)
    assert found.limit_id(found.limits[0]) == "default/web/writes"


def test_who_counts() -> None:
    kinds = {
        "mode: Local": "local",
        "dryRun: true": "dry-run",
        "mode: Global": "shared-open",
        "mode: Global, failureMode: Closed": "shared-closed",
        "mode: Global, failureMode: Closed, dryRun: true": "shared-open",
    }
    for said, kind in kinds.items():
        assert (
            build(policy("web", "Service web", f"{said}, {CALLS}")).limits.by_target["Service default/web"].kind == kind
        )
