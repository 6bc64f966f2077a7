"""What the Gateway API's Gateways ask of their clients, and where they listen."""

from __future__ import annotations

import json

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, service
from weft.mesh.gateways.status import listener_statuses
from weft.mesh.views import ClientCheck, EdgeTls

LEAF = TestAuthority().issue(dns=("x.example",))
DATA = {"tls.crt": LEAF.chain.decode(), "tls.key": LEAF.key.decode()}
SECRET = "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "stringData": DATA})
REFERENCE = '{caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]'


def authorities(name: str = "clients", namespace: str = "default") -> str:
    metadata = {"name": name, "namespace": namespace}
    data = {"ca.crt": TestAuthority().bundle.decode()}
    return "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def gateway(default: str, per_port: str = "", more: str = "") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: weft
  {more}
  tls: {{frontend: {{default: {default}, perPort: [{per_port}]}}}}
  listeners:
    - {{name: one, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}]}}}}
    - {{name: two, port: 8443, protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}]}}}}
    - {{name: plain, port: 80, protocol: HTTP}}
"""


def checks(mesh: Compiled) -> dict[int, ClientCheck | None]:
    ports = mesh.gateway("front").ports
    return {port.port: (port.servers[0].tls or EdgeTls()).clients for port in ports}


def test_a_port_may_have_an_answer_of_its_own() -> None:
    fallback = f"{{port: 8443, tls: {{validation: {REFERENCE}, mode: AllowInsecureFallback}}}}}}"
    mesh = Compiled(service("a"), SECRET, authorities(), gateway(f"{{validation: {REFERENCE}}}}}", fallback))
    assert mesh.codes == []
    assert checks(mesh) == {
        80: None,
        443: ClientCheck("default/front|clients|default"),
        8443: ClientCheck("default/front|clients|8443", required=False, lenient=True),
    }
    assert len(mesh.gateway("front").roots) == 2
    off = Compiled(
        service("a"), SECRET, authorities(), gateway(f"{{validation: {REFERENCE}}}}}", "{port: 443, tls: {}}")
    )
    assert (checks(off)[443], checks(off)[8443]) == (None, ClientCheck("default/front|clients|default"))


@pytest.mark.parametrize(
    ("reference", "documents", "code", "reason"),
    [
        ('{group: "", kind: ConfigMap, name: clients}', (), "unknown-authority", "InvalidCACertificateRef"),
        ('{group: "", kind: Secret, name: c}', (), "bad-authority-kind", "InvalidCACertificateKind"),
        (
            '{group: "", kind: ConfigMap, name: clients, namespace: far}',
            ("far",),
            "reference-not-granted",
            "RefNotPermitted",
        ),
    ],
)
def test_without_anybody_who_vouches_nobody_gets_in(
    reference: str, documents: tuple[str, ...], code: str, reason: str
) -> None:
    maps = [authorities(namespace=namespace) for namespace in documents]
    mesh = Compiled(service("a"), SECRET, *maps, gateway(f"{{validation: {{caCertificateRefs: [{reference}]}}}}"))
    assert set(mesh.codes) == {code, "no-client-authority"}
    assert [port.port for port in mesh.gateway("front").ports] == [80]
    [key] = mesh.mesh.gateways.declared
    problems = [problem for problem in mesh.mesh.problems if problem.object == key]
    one = listener_statuses(key, mesh.mesh.gateways, problems)[0]
    assert [(each.type, each.reason) for each in one.conditions if each.reason != each.type] == [
        ("Accepted", "NoValidCACertificate"),
        ("Conflicted", "NoConflicts"),
        ("Programmed", "Invalid"),
        ("ResolvedRefs", reason),
    ]
