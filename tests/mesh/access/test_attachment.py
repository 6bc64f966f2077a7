"""Where access policies hold: before which ports of which workloads, at which gateways, and what is the same object."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, gateway_workload, service, workload
from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.policy import Action
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView
from weft.model.document import Document
from weft.model.snapshot import MeshSettings
from weft.model.workload import SocketAddress, Workload, WorkloadPort
from weft.schema.decode import decode_documents

WEB = service("web", 80)
SERVER = workload("web", port=80)
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def policy(
    name: str, spec: str = "", namespace: str = "default", annotations: str = ""
) -> tuple[Document[object], ...]:
    """An AuthorizationPolicy, understood or not."""
    text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    text += f"metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}}}\nspec: {{{spec}}}\n"
    return decode_documents(text, f"{name}.yaml").documents


def names(access: Access) -> list[str]:
    """What holds there."""
    closed = [f"closed {each.object.name if each.object else ''}" for each in access.closed]
    return [*(each.object.name for each in access.policies), *closed]


def at_web(*documents: str | tuple[Document[object], ...], server: Workload = SERVER) -> list[str]:
    """What holds before the port of the server."""
    (port,) = Compiled(WEB, *documents, workloads=[server]).sidecar(server).inbound
    return names(port.access)


@pytest.mark.parametrize(
    ("document", "holds"),
    [
        (policy("p"), True),
        (policy("p", namespace="other"), False),
        (policy("p", namespace="istio-system"), True),
        (policy("p", "selector: {matchLabels: {app: web}}"), True),
        (policy("p", "selector: {matchLabels: {app: web, version: v2}}"), False),
        (policy("p", "selector: {matchLabels: {app: web}}", "istio-system"), True),
        (policy("p", "selector: {matchLabels: {app: web}}", "other"), False),
        (policy("p", "targetRef: {kind: Service, name: web}"), True),
        (policy("p", "targetRefs: [{kind: Service, name: other}, {kind: Service, name: web}]"), True),
        (policy("p", "targetRefs: [{kind: Service, name: other}]"), False),
        (policy("p", "targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: web}"), False),
        (policy("p", "targetRef: {kind: Service, name: web}", "istio-system"), False),
    ],
)
def test_where_a_policy_holds(document: tuple[Document[object], ...], holds: bool) -> None:
    assert at_web(document) == (["p"] if holds else [])


WRONG = "rules: [{from: [{source: {principals: [a b]}}]}]"


@pytest.mark.parametrize(
    ("document", "holds"),
    [
        (policy("p", WRONG), True),
        (policy("p", WRONG, "other"), False),
        (policy("p", WRONG, "istio-system"), True),
        (policy("p", f"selector: {{matchLabels: {{app: web}}}}, {WRONG}"), True),
        (policy("p", f"selector: {{matchLabels: {{app: nope}}}}, {WRONG}"), False),
        (policy("p", f"selecter: {{matchLabels: {{app: nope}}}}, {WRONG}"), True),
        (policy("p", f"selector: {{matchLabels: {{app: web}}}}, {WRONG}", "istio-system"), True),
        (policy("p", f"targetRefs: [{{kind: Service, name: web}}], {WRONG}"), True),
        (policy("p", f"targetRefs: [{{kind: Service, name: nope}}], {WRONG}"), False),
        (policy("p", f"targetRefs: [{{kind: Pod, name: nope}}], {WRONG}"), True),
        (policy("p", "action: DENY, when: [{key: source.ip, values: [1.2.3.4]}]"), True),
        (policy("p", "action: CUSTOM, provider: {name: nobody}, rules: [{}]"), True),
    ],
)
def test_what_cannot_be_understood_closes_what_it_names(document: tuple[Document[object], ...], holds: bool) -> None:
    assert at_web(document, policy("open", "rules: [{}]")) == ["open", *(["closed p"] if holds else [])]
    codes = Compiled(WEB, document, workloads=[SERVER]).codes
    assert {"policy-unreadable", "unknown-provider"} & set(codes)


def test_a_dry_run_is_known_and_closes_nothing() -> None:
    mesh = Compiled(WEB, policy("p", annotations='istio.io/dry-run: "true"'), workloads=[SERVER])
    (found,) = mesh.sidecar(SERVER).inbound[0].access.policies
    assert found.dry_run
    assert not found.decides
    wrong = Compiled(WEB, policy("p", annotations='istio.io/dry-run: "yes"'), workloads=[SERVER])
    assert wrong.codes == ["bad-value"]
    assert not wrong.sidecar(SERVER).inbound[0].access.policies[0].dry_run


def test_a_service_is_the_port_behind_it() -> None:
    ports = tuple(
        WorkloadPort(number, SocketAddress("127.0.0.1", 8000 + number), SocketAddress("127.0.0.1", 20000 + number))
        for number in (80, 81)
    )
    server = workload("web", ports=ports)
    mesh = Compiled(WEB, policy("p", "targetRef: {kind: Service, name: web}"), workloads=[server])
    first, second = mesh.sidecar(server).inbound
    assert (names(first.access), names(second.access)) == (["p"], [])
    assert second.access is OPEN


def test_at_gateways() -> None:
    of_class = "targetRef: {kind: GatewayClass, group: gateway.networking.k8s.io, name: weft}"
    documents = (
        policy("own", "targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: edge}"),
        policy("all", namespace="istio-system"),
        policy("class", of_class, "istio-system"),
        policy("elsewhere", namespace="other"),
        policy("service", "targetRef: {kind: Service, name: web}"),
    )
    mesh = Compiled(WEB, GATEWAY, *documents, workloads=[SERVER])
    (port,) = mesh.gateway("edge").ports
    assert sorted(names(port.access)) == ["all", "class", "own"]
    assert port.access.port == 80
    misplaced = Compiled(GATEWAY, policy("class", of_class))
    assert misplaced.codes == ["misplaced-policy"]
    assert misplaced.gateway("edge").ports[0].access is OPEN


def default(kind: str, said: str, name: str = "default", namespace: str = "") -> str:
    """A Namespace or MeshConfig that says who may call by default."""
    if kind == "Namespace":
        annotations = f"{{weft.dev/default-access: {said}}}"
        return f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, annotations: {annotations}}}\n"
    return (
        "---\napiVersion: weft.dev/v1alpha1\nkind: MeshConfig\n"
        f"metadata: {{name: default, namespace: istio-system}}\nspec: {{defaultAccess: {said}}}\n"
    )


@pytest.mark.parametrize(
    ("documents", "label", "closed"),
    [
        ((), "", False),
        ((default("MeshConfig", "deny"),), "", True),
        ((default("MeshConfig", "deny"), default("Namespace", "allow")), "", False),
        ((default("Namespace", "deny"),), "", True),
        ((default("Namespace", "deny", name="other"),), "", False),
        ((), "deny", True),
        ((default("Namespace", "allow"),), "deny", True),
        ((default("MeshConfig", "deny"),), "allow", True),
        ((), "Deny", True),
        ((), "allow", False),
    ],
)
def test_nobody_by_default(documents: tuple[str, ...], label: str, closed: bool) -> None:
    labels = (("app", "web"), *([("weft.dev/default-access", label)] if label else []))
    server = workload("web", port=80, labels=labels)
    mesh = Compiled(WEB, GATEWAY, *documents, workloads=[server])
    (port,) = mesh.sidecar(server).inbound
    assert [(each.action, each.rules) for each in port.access.policies] == ([(Action.ALLOW, ())] if closed else [])
    assert mesh.gateway("edge").ports[0].access is OPEN, "whom a gateway lets in is what its routes say"


NAMED = "apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, annotations: {{{}}}}}\n"
MESH = (
    "apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\n"
    "metadata: {{name: default, namespace: istio-system}}\nspec: {{{}}}\n"
)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        (NAMED.format("weft.dev/default-access: dney"), True),
        (NAMED.format("weft.dev/default-acces: deny"), True),
        (NAMED.format("weft.dev/default-access: allow, weft.dev/nonsense: allow"), False),
        (NAMED.format("weft.dev/default-access: deny").replace("v1", "v2"), True),
        (MESH.format("defaultAccess: dney"), True),
        (MESH.format("defaultAccess: deny, conectTimeout: 1s"), True),
        (MESH.format("defaultAccess: allow, conectTimeout: 1s"), False),
        (MESH.format("conectTimeout: 1s"), False),
    ],
)
def test_a_mistake_in_what_says_the_default_closes(text: str, closed: bool) -> None:
    mesh = Compiled(WEB, decode_documents(text, "wrong.yaml").documents, workloads=[SERVER])
    assert len(mesh.sidecar(SERVER).inbound[0].access.policies) == closed
    assert mesh.codes == (["policy-unreadable"] if closed else [])


def test_a_gateway_may_be_shut_by_its_own_label() -> None:
    mesh = Compiled(GATEWAY)
    shut = gateway_workload("edge")
    shut = Workload(
        shut.name, shut.namespace, shut.service_account, (("weft.dev/default-access", "deny"),), gateway=shut.gateway
    )
    view = build_view(mesh.mesh, shut, mesh.memo)
    assert isinstance(view, GatewayView)
    assert len(view.ports[0].access.policies) == 1


def test_what_did_not_change_is_the_same_object() -> None:
    memo = Memo()
    web, again, far = SERVER, workload("web", "v2", port=80, number=1), workload("far", namespace="other", port=80)
    mine, other = policy("mine"), policy("other", namespace="other")
    texts, settings = decode_documents(WEB, "web.yaml").documents, MeshSettings()

    def views(*documents: tuple[Document[object], ...]) -> list[object]:
        mesh = Compiled(texts, *documents, workloads=[web, again, far], memo=memo, settings=settings)
        return [build_view(mesh.mesh, each, memo) for each in (web, again, far)]

    before = views(mine, other)
    after = views(mine, policy("other", "rules: [{}]", "other"))
    assert [one is two for one, two in zip(before, after, strict=True)] == [True, True, False]
    first, second = (view.inbound[0].access for view in before[:2])  # type: ignore[attr-defined]
    assert first is second


def test_targets_that_are_not_there_are_told() -> None:
    group = "gateway.networking.k8s.io"
    found = Compiled(
        WEB,
        policy("a", "targetRef: {kind: Service, name: wep}"),
        policy("b", f"targetRefs: [{{kind: Gateway, group: {group}, name: egde}}]"),
        GATEWAY,
    ).mesh.problems
    assert [(each.code, each.nearest) for each in found if each.code == "unknown-target"] == [
        ("unknown-target", "web"),
        ("unknown-target", "edge"),
    ]


TCP = """
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}
"""


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("rules: [{from: [{source: {namespaces: [a]}}]}]", False),
        ("rules: [{to: [{operation: {methods: [GET]}}]}]", True),
        ("action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]", True),
        ("action: DENY, rules: [{to: [{operation: {paths: [/a], ports: ['80']}}]}]", False),
        ("selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {methods: [GET]}}]}]", False),
    ],
)
def test_rules_for_requests_before_tcp_ports_are_told(spec: str, told: bool) -> None:
    assert ("http-rule-on-tcp" in Compiled(TCP, policy("p", spec)).codes) is told


def test_cluster_local_is_the_meshs_own_trust_domain() -> None:
    settings = MeshSettings(trust_domain="example.org")
    spec = "rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, 'cluster.local/*', other.org/x]}}]}]"
    mesh = Compiled(WEB, policy("p", spec), workloads=[SERVER], settings=settings)
    access = mesh.sidecar(SERVER).inbound[0].access
    ((condition,),) = access.policies[0].rules[0].sources
    assert [each.value for each in condition.patterns] == ["example.org/ns/a/sa/b", "example.org/", "other.org/x"]
    assert access.trust_domain == "example.org"
