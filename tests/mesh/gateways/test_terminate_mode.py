"""Istio's option of the Gateway API's listeners: what clients show where TLS ends."""

from __future__ import annotations

import json

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, service
from weft.mesh.gateways.status import listener_statuses
from weft.mesh.routes.status import parents_mapping
from weft.mesh.views import ClientCheck, EdgeTls
from weft.schema.decode import decode_documents

OPTION = "gateway.istio.io/tls-terminate-mode"
CLIENTS = TestAuthority().bundle.decode()
LEAF = TestAuthority().issue(dns=("x.example",))
PAIR = {"tls.crt": LEAF.chain.decode(), "tls.key": LEAF.key.decode()}


def secret(name: str, data: dict[str, str], namespace: str = "default") -> str:
    metadata = {"name": name, "namespace": namespace}
    return "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def gateway(tls: str, more: str = "", protocol: str = "HTTPS") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: istio
  {more}
  listeners: [{{name: one, port: 443, protocol: {protocol}, tls: {{{tls}}}}}]
"""


def asked(mode: str, references: str = "[{name: c}]") -> str:
    return f"certificateRefs: {references}, options: {{{OPTION}: {mode}}}"


def served(mesh: Compiled) -> list[EdgeTls | None]:
    return [server.tls for port in mesh.gateway("front").ports for server in port.servers]


@pytest.mark.parametrize(("granted", "in_force"), [("name: c", False), ("", True)])
def test_what_stands_beside_a_foreign_secret_needs_a_grant_too(granted: str, in_force: bool) -> None:
    grant = f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: one, namespace: vault}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}}]
  to: [{{group: "", kind: Secret, {granted}}}]
"""
    secrets = secret("c", PAIR, "vault") + secret("c-cacert", {"ca.crt": CLIENTS}, "vault")
    mesh = Compiled(service("a"), secrets, grant, gateway(asked("MUTUAL", "[{name: c, namespace: vault}]")))
    assert mesh.codes == ([] if in_force else ["no-client-authority"])
    assert len(mesh.gateway("front").roots) == in_force


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("protocol", ["HTTPS", "TLS"])
def test_mutual_asks_for_what_the_secret_vouches_for(beside: bool, protocol: str) -> None:
    data = PAIR if beside else PAIR | {"ca.crt": CLIENTS}
    more = secret("c-cacert", {"ca.crt": CLIENTS}) if beside else ""
    mesh = Compiled(service("a"), secret("c", data), more, gateway(asked("MUTUAL"), protocol=protocol))
    assert mesh.codes == []
    view = mesh.gateway("front")
    [roots] = view.roots
    assert roots.roots.decode().strip() == CLIENTS.strip()
    if protocol == "HTTPS":
        [tls] = served(mesh)
        assert tls is not None
        assert tls.clients == ClientCheck(roots.name, required=True)


def test_without_anybody_who_vouches_nobody_gets_in() -> None:
    mesh = Compiled(service("a"), secret("c", PAIR), gateway(asked("MUTUAL")))
    [problem] = mesh.mesh.problems
    assert problem.code == "no-client-authority"
    assert problem.path[-1] == OPTION
    assert "c-cacert" in f"{problem.message} {problem.expected}"
    assert served(mesh) == []


def test_who_vouches_for_the_port_vouches_here_and_all_are_asked() -> None:
    lenient = (
        'tls: {frontend: {default: {validation: {mode: AllowInsecureFallback, caCertificateRefs: [{group: "", '
        "kind: ConfigMap, name: clients}]}}}}"
    )
    authorities = "\n---\n" + json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clients"}, "data": {"ca.crt": CLIENTS}}
    )
    mesh = Compiled(service("a"), secret("c", PAIR), authorities, gateway(asked("MUTUAL"), lenient))
    [tls] = served(mesh)
    assert tls is not None
    assert tls.clients == ClientCheck("default/front|clients|default", required=True, lenient=False)


def test_mutual_tls_of_the_mesh_needs_no_certificate() -> None:
    mesh = Compiled(service("a"), gateway(f"mode: Terminate, options: {{{OPTION}: ISTIO_MUTUAL}}"))
    assert mesh.codes == []
    assert served(mesh) == [EdgeTls(mesh=True)]


def test_simple_is_what_holds_without_it() -> None:
    said, unsaid = (
        served(Compiled(service("a"), secret("c", PAIR), gateway(tls)))
        for tls in (asked("SIMPLE"), "certificateRefs: [{name: c}]")
    )
    assert said == unsaid
    assert said[0] is not None
    assert said[0].clients is None


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (gateway(asked("OPTIONAL")), f"options.{OPTION}", "MUTUAL"),
        (gateway(asked("ISTIO_MUTUAL")), "certificateRefs", "mesh's own certificate"),
        (
            gateway(f"mode: Passthrough, options: {{{OPTION}: MUTUAL}}", protocol="TLS"),
            f"options.{OPTION}",
            "unopened",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, field: str, words: str) -> None:
    [problem] = decode_documents(text, "a.yaml").problems
    assert ".".join(map(str, problem.path)) == f"spec.listeners.0.tls.{field}"
    assert words in f"{problem.message} {problem.expected}"


TWO = f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: istio
  listeners:
  - {{name: open, port: 443, hostname: "*.x.example", protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}]}}}}
  - name: shut
    port: 443
    hostname: admin.x.example
    protocol: HTTPS
    tls: {{certificateRefs: [{{name: OWN}}], options: {{{OPTION}: MUTUAL}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec:
  parentRefs: [{{name: front}}]
  hostnames: [admin.x.example, www.x.example]
  rules: [{{backendRefs: [{{name: a, port: 9080}}]}}]
"""


@pytest.mark.parametrize("own", ["c", "nowhere"])
def test_no_wider_listener_has_the_hosts_of_one_that_cannot_ask(own: str) -> None:
    """Whether what vouches for its clients is missing, or the certificate that it shows."""
    mesh = Compiled(service("a"), secret("c", PAIR), TWO.replace("OWN", own))
    [port] = mesh.gateway("front").ports
    [server] = port.servers
    assert [host.domains for host in server.virtual_hosts] == [("*.x.example",), ("www.x.example",)]
    assert server.misdirected == ("admin.x.example",)
    [chain] = port.chains
    assert (chain.hostnames, chain.tls, chain.route.backends) == (("admin.x.example",), None, ())
    [status] = mesh.mesh.acceptance
    assert [each.status for each in status.parents[0].conditions] == [True, True]
    listeners = listener_statuses(port.object, mesh.mesh.gateways, mesh.mesh.problems)
    assert [each.conditions[2].status for each in listeners] == [True, False]
    alone = parents_mapping(Compiled(service("a"), secret("c", PAIR), _of_section("shut", own)).mesh.acceptance[0])
    assert alone[0]["conditions"][0]["reason"] == "Accepted"  # type: ignore[index] # a list of mappings


def _of_section(name: str, own: str) -> str:
    return TWO.replace("OWN", own).replace(
        "parentRefs: [{name: front}]", f"parentRefs: [{{name: front, sectionName: {name}}}]"
    )
