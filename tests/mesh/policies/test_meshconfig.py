"""Mesh-wide settings: which document's are in force, and what they do."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, backends, documents, service, workload
from weft.mesh.policies.telemetry import metric_settings
from weft.mesh.routes.rules import Forward, Retry
from weft.model.snapshot import MeshSettings
from weft.model.telemetry import MetricPush
from weft.schema.decode import decode_documents

ISTIO = Retry(2, ("connect-failure", "refused-stream", "unavailable", "cancelled"), other_host=True)


def config(spec: str, name: str = "default", namespace: str = "istio-system") -> str:
    """A MeshConfig."""
    return f"""
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"""


def config_map(text: str, name: str = "istio", key: str = "mesh", namespace: str = "istio-system") -> str:
    """A ConfigMap with settings."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return f"""
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}}}
data:
  {key}: |
{lines}"""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("endpoint: 'http://10.0.0.9:4318'", "plaintext on a network"),
        ("endpoint: 'collector:4318'", "a URL such as"),
        ("endpoint: 'https://me:hidden@collector:4318'", "a name or a password"),
        ("endpoint: 'https://collector/a b'", "a URL such as"),
        ("endpoint: 'https://collector:99999'", "a URL such as"),
        ("endpoint: 'http://localhost:4318', interval: 100ms", "1s or more"),
    ],
)
def test_metrics_are_pushed_only_to_where_an_agent_may_send(given: str, words: str) -> None:
    decoded = decode_documents(config(f"otlpMetrics: {{{given}}}"), "mesh.yaml")
    assert len(decoded.problems) == 1
    assert words in str(decoded.problems[0])
    assert "hidden" not in str(decoded.problems[0])


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:4318", "http://[::1]/otlp/v1/metrics", "https://collector:4318"]
)
def test_agents_are_told_where_to_push_metrics(endpoint: str) -> None:
    one = Compiled(service("web"), config(f"otlpMetrics: {{endpoint: '{endpoint}', interval: 20s}}")).mesh
    settings = metric_settings(one.telemetries, workload("web"), one.catalog)
    assert settings.push == MetricPush(endpoint, 20.0)
    silent = Compiled(service("web")).mesh
    assert metric_settings(silent.telemetries, workload("web"), silent.catalog).push is None


CLOSED = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"
OPEN = "outboundTrafficPolicy: {mode: ALLOW_ANY}"


@pytest.mark.parametrize(
    ("texts", "started", "expected"),
    [
        ((), "ALLOW_ANY", True),
        ((config(CLOSED),), "ALLOW_ANY", False),
        ((config(OPEN),), "REGISTRY_ONLY", True),
        ((config("connectTimeout: 1s"),), "REGISTRY_ONLY", False),
        ((config_map(CLOSED),), "ALLOW_ANY", False),
        ((config_map(CLOSED, "any", "meshConfig"),), "ALLOW_ANY", False),
        ((config_map(CLOSED), config(OPEN)), "REGISTRY_ONLY", True),
    ],
)
def test_the_document_goes_over_what_the_control_plane_was_started_with(
    texts: tuple[str, ...], started: str, expected: bool
) -> None:
    mesh = Compiled(service("web"), *texts, settings=MeshSettings(outbound_policy=started))
    assert mesh.sidecar().outbound.allow_any is expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (config(CLOSED, "other"), "mesh-config-misplaced"),
        (config(CLOSED, namespace="default"), "mesh-config-misplaced"),
        (config_map(CLOSED, namespace="default"), "mesh-config-misplaced"),
        (config(OPEN) + config_map(CLOSED), "mesh-config-conflict"),
        (config("trustDomain: other.example"), "trust-domain-mismatch"),
    ],
)
def test_what_is_not_in_force_is_told(text: str, code: str) -> None:
    mesh = Compiled(text)
    assert mesh.codes == [code]
    assert mesh.mesh.settings == MeshSettings()


def test_of_two_config_maps_the_oldest_is_in_force() -> None:
    old = documents(config_map(CLOSED, "z", "meshConfig"), "old.yaml", created=1.0)
    young = documents(config_map(OPEN, "a", "meshConfig"), "young.yaml", created=2.0)
    mesh = Compiled(young, old)
    assert mesh.mesh.settings.outbound_policy == "REGISTRY_ONLY"
    assert mesh.codes == ["mesh-config-conflict"]


def test_another_trust_domain_is_told_with_what_to_do_and_the_rest_is_in_force() -> None:
    mesh = Compiled(config_map(f"{CLOSED}\ntrustDomain: other.example"))
    (problem,) = mesh.mesh.problems
    assert problem.origin.line == 9, "the line in the file, not in the text within it"
    assert "--trust-domain other.example" in problem.message
    assert mesh.mesh.settings == MeshSettings(outbound_policy="REGISTRY_ONLY")
    same = Compiled(config("trustDomain: a.example"), settings=MeshSettings("a.example"))
    assert same.codes == []
    checked = Compiled(config("trustDomain: a.example"), settings=MeshSettings(""))
    assert (checked.codes, checked.mesh.settings.trust_domain) == ([], "a.example")
    assert Compiled(settings=MeshSettings("")).mesh.settings == MeshSettings()


def test_the_root_namespace_moves() -> None:
    peer = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    peer += "metadata: {name: a, namespace: root}\nspec: {mtls: {mode: DISABLE}}\n"
    server = workload("web")
    for text, mode in (("", "strict"), (config("rootNamespace: root"), "disable")):
        mesh = Compiled(service("web"), peer, text or service("other"), workloads=[server])
        assert str(mesh.sidecar(server).inbound[0].mode) == mode


ROUTES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec: {hosts: [own], http: [{route: [{destination: {host: own}}], retries: {attempts: 7}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: limited}
spec:
  parentRefs: [{kind: Service, group: "", name: limited}]
  rules: [{backendRefs: [{name: limited, port: 9080}], timeouts: {backendRequest: 1s}}]
"""


def retry_of(mesh: Compiled, host: str) -> tuple[Retry | None, float | None]:
    rule = mesh.ask(f"{host}/").rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    return rule.action.retry, rule.action.per_try_timeout


def test_default_retries_are_for_routes_that_name_none() -> None:
    services = service("plain") + service("own") + service("limited") + ROUTES
    without = Compiled(services)
    assert retry_of(without, "plain") == (None, None)
    assert retry_of(without, "limited") == (None, 1.0)
    mesh = Compiled(services, config("defaultHttpRetryPolicy: {attempts: 2}"))
    assert retry_of(mesh, "plain")[0] == ISTIO
    assert retry_of(mesh, "own")[0] == retry_of(without, "own")[0]
    limited = retry_of(mesh, "limited")[0]
    assert limited is not None
    assert (limited.conditions, limited.per_try_timeout) == (ISTIO.conditions, 1.0)
    off = Compiled(services, config("defaultHttpRetryPolicy: {attempts: 0}"))
    assert retry_of(off, "plain")[0] == Retry(0)
    assert retry_of(off, "limited")[0] == Retry(0, per_try_timeout=1.0)


def test_the_connect_timeout_is_for_backends_whose_policy_has_none() -> None:
    rule = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own}
spec: {host: own, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}}
"""
    mesh = Compiled(service("plain") + service("own") + rule, config("connectTimeout: 500ms"))
    found = {item.key.host.partition(".")[0]: item.policy.limits for item in backends(mesh.sidecar()).values()}
    assert {name: limits.connect_timeout for name, limits in found.items()} == {"plain": 0.5, "own": 3.0}


def test_a_gateway_follows_the_settings_too() -> None:
    gateway = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 9080}]}]}
"""
    settings = "connectTimeout: 500ms, defaultHttpRetryPolicy: {attempts: 2}, gatewayMaxRequestDuration: 10m"
    mesh = Compiled(service("web") + gateway, config(settings))
    view = mesh.gateway("gw")
    ((rule,),) = [host.rules for port in view.ports for each in port.servers for host in each.virtual_hosts]
    assert isinstance(rule.action, Forward)
    assert rule.action.retry == ISTIO
    assert [port.longest_request for port in view.ports] == [600.0]
    assert [item.policy.limits.connect_timeout for item in backends(view).values()] == [0.5]


def test_nodes_stay_the_same_objects_while_the_document_does() -> None:
    given = documents(service("web") + config("connectTimeout: 1s, defaultHttpRetryPolicy: {attempts: 2}"))
    settings = MeshSettings()
    first = Compiled(given, settings=settings)
    before = first.sidecar().outbound
    assert Compiled(given, settings=settings, memo=first.memo).sidecar().outbound is before
