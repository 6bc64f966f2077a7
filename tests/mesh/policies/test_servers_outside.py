"""TLS with servers outside: DestinationRule's modes, who is given which credential, and what is told of mistakes."""

from __future__ import annotations

import json

import pytest

from support.certificates import Leaf, TestAuthority
from support.meshdocs import Compiled, backends, gateway_workload, service, workload
from weft.mesh.services.service import BackendKey, CertificateName, MutualTls, NameKind, Tls, Transport
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView
from weft.model.identity import SpiffeId
from weft.schema.decode import decode_documents

API = "api.default.svc.cluster.local"
EXTERNAL = """
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {type: ExternalName, externalName: api.example.test, ports: [{name: http, port: 80}, {name: tcp, port: 5432}]}
"""


def entry(*, names: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api}}
spec:
  hosts: [api.example.test]
  resolution: DNS
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  subjectAltNames: [{names}]
"""


def rule(tls: str, host: str = "api", name: str = "api", selector: str = "", namespace: str = "default") -> str:
    chosen = f"  workloadSelector: {{matchLabels: {{{selector}}}}}\n" if selector else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {host}
{chosen}  trafficPolicy: {{tls: {{{tls}}}}}
"""


def secret(name: str, leaf: Leaf | None = None, authorities: bytes = b"", namespace: str = "default") -> str:
    data = {"tls.crt": leaf.chain.decode(), "tls.key": leaf.key.decode()} if leaf else {}
    if authorities:
        data["ca.crt"] = authorities.decode()
    about = json.dumps({"name": name, "namespace": namespace})
    return f"apiVersion: v1\nkind: Secret\nmetadata: {about}\nstringData: {json.dumps(data)}\n"


def transport(compiled: Compiled, host: str = API, port: int = 80) -> Transport:
    target = compiled.mesh.targets.by_key[BackendKey(host, port)]
    return target.backend.transport


PUBLIC = TestAuthority()
CLIENT = PUBLIC.issue(dns=("client.example.test",))
DNS = NameKind.DNS


def test_simple_asks_for_the_host_behind_another_name() -> None:
    compiled = Compiled(EXTERNAL, rule("mode: SIMPLE"))
    found = transport(compiled)
    assert found == Tls(
        sni="api.example.test", host="api.example.test", names=(CertificateName(DNS, "api.example.test"),)
    )
    assert found.by_system
    assert compiled.codes == []


def test_simple_leaves_the_name_of_an_entrys_host_to_requests() -> None:
    found = transport(Compiled(entry(), rule("mode: SIMPLE", "api.example.test")), "api.example.test")
    assert found == Tls(host="api.example.test")


def test_an_entry_says_which_names_its_servers_have_unless_the_rule_does() -> None:
    document = entry(names='"spiffe://else/api", b.example.test')
    found = transport(Compiled(document, rule("mode: SIMPLE", "api.example.test")), "api.example.test")
    assert isinstance(found, Tls)
    assert found.names == (CertificateName(NameKind.URI, "spiffe://else/api"), CertificateName(DNS, "b.example.test"))
    own = rule("mode: SIMPLE, subjectAltNames: [192.0.2.1, someone@example.test]", "api.example.test")
    found = transport(Compiled(document, own), "api.example.test")
    assert isinstance(found, Tls)
    assert [kind for kind, _ in found.names] == [NameKind.ADDRESS, NameKind.EMAIL]


def test_a_server_name_has_to_be_proved_to_those_who_believe_everybodys_authorities() -> None:
    found = transport(Compiled(EXTERNAL, rule("mode: SIMPLE, sni: else.example.test")))
    assert isinstance(found, Tls)
    assert (found.sni, found.names) == ("else.example.test", (CertificateName(DNS, "else.example.test"),))


def test_with_authorities_of_ones_own_and_a_server_name_any_name_will_do_and_that_is_told() -> None:
    given = rule("mode: SIMPLE, credentialName: client, sni: else.example.test")
    compiled = Compiled(EXTERNAL, secret("client", authorities=PUBLIC.bundle), given)
    found = transport(compiled)
    assert isinstance(found, Tls)
    assert (found.sni, found.names) == ("else.example.test", ())
    assert compiled.codes == ["unverified-server"]


def test_istio_mutual_names_a_server_and_accepts_some_of_its_identities() -> None:
    members = [workload("reviews", number=1), workload("reviews", number=2, service_account="other")]
    sa = members[0].service_account
    own = SpiffeId("cluster.local", "default", sa)
    tls = f'mode: ISTIO_MUTUAL, sni: outbound.example.test, subjectAltNames: ["{own}"]'
    compiled = Compiled(service("reviews", 9080), rule(tls, "reviews"), workloads=members)
    found = transport(compiled, "reviews.default.svc.cluster.local", 9080)
    assert found == MutualTls((own,), "outbound.example.test")
    nobody = Compiled(
        service("reviews", 9080),
        rule('mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://x/y"]', "reviews"),
        workloads=members,
    )
    assert transport(nobody, "reviews.default.svc.cluster.local", 9080) == MutualTls(())


def test_sidecars_have_the_credentials_of_rules_that_select_them() -> None:
    given = (EXTERNAL, secret("client", CLIENT, PUBLIC.bundle), secret("client", namespace="other"))
    compiled = Compiled(*given, rule("mode: MUTUAL, credentialName: client", selector="app: client"))
    chosen, other = compiled.sidecar(), compiled.sidecar(workload("other"))
    assert [(each.name, each.key) for each in chosen.credentials] == [("client", CLIENT.key)]
    found = backends(chosen)[f"outbound|80||{API}"].transport
    assert isinstance(found, Tls) and found.proves and found.credential == "client"
    assert other.credentials == ()
    assert not isinstance(backends(other)[f"outbound|80||{API}"].transport, Tls)
    assert compiled.sidecar(namespace="other").credentials == ()
    assert CLIENT.key.decode() not in repr(chosen)


def test_a_rule_that_selects_comes_before_one_that_does_not_and_its_namespaces_only() -> None:
    documents = (
        EXTERNAL,
        rule("mode: SIMPLE, sni: all.example.test"),
        rule("mode: SIMPLE, sni: some.example.test", name="b", selector="app: client"),
        rule("mode: SIMPLE, sni: red.example.test", name="c", selector="app: red", host=API, namespace="other"),
    )
    compiled = Compiled(*documents)

    def sni(app: str, namespace: str = "default") -> str:
        view = compiled.sidecar(workload(app, namespace=namespace))
        found = backends(view)[f"outbound|80||{API}"].transport
        assert isinstance(found, Tls)
        return found.sni

    assert sni("client") == "some.example.test"
    assert sni("red") == sni("client", "other") == "all.example.test"
    assert sni("red", "other") == "red.example.test"
    assert compiled.codes == []


def test_gateways_have_what_they_route_to_from_their_own_namespace() -> None:
    gateway = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: api, port: 80}]}]}
"""
    given = (EXTERNAL, gateway, secret("client", CLIENT, PUBLIC.bundle), secret("unused", CLIENT, PUBLIC.bundle))
    both = (
        rule("mode: MUTUAL, credentialName: client"),
        rule("mode: SIMPLE, credentialName: unused", "x.example.com", "x"),
    )
    compiled = Compiled(*given, *both)
    view = build_view(compiled.mesh, gateway_workload("edge"), compiled.memo)
    assert isinstance(view, GatewayView)
    assert [each.name for each in view.credentials] == ["client"]
    assert compiled.sidecar().credentials == ()


def test_authorities_may_be_in_a_secret_of_their_own_and_in_istios_spelling() -> None:
    own = json.dumps({"cert": CLIENT.chain.decode(), "key": CLIENT.key.decode(), "cacert": "not these"})
    others = json.dumps({"cacert": PUBLIC.bundle.decode(), "crl": PUBLIC.crl().decode()})
    compiled = Compiled(
        EXTERNAL,
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: client}}\nstringData: {own}\n",
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: client-cacert}}\nstringData: {others}\n",
        rule("mode: MUTUAL, credentialName: client", selector="app: client"),
    )
    (found,) = compiled.sidecar().credentials
    assert (found.chain, found.key, found.authorities) == (CLIENT.chain, CLIENT.key, PUBLIC.bundle)
    assert found.crl
    assert compiled.codes == []


@pytest.mark.parametrize(
    ("secrets", "tls", "codes"),
    [
        ("", "mode: MUTUAL, credentialName: clients", ["unknown-secret"]),
        (secret("client", CLIENT), "mode: MUTUAL, credentialName: client", ["incomplete-credential"]),
        (
            secret("client", authorities=PUBLIC.bundle),
            "mode: MUTUAL, credentialName: client",
            ["incomplete-credential"],
        ),
        (secret("client", authorities=b"nothing"), "mode: SIMPLE, credentialName: client", ["incomplete-credential"]),
        (
            secret("client", Leaf(CLIENT.chain, PUBLIC.issue(dns=("x",)).key), PUBLIC.bundle),
            "mode: MUTUAL, credentialName: client",
            ["incomplete-credential"],
        ),
        (secret("client", authorities=PUBLIC.bundle), "mode: SIMPLE, credentialName: client", []),
        (secret("client", CLIENT), "mode: MUTUAL, credentialName: client, insecureSkipVerify: true", []),
    ],
)
def test_what_a_secret_lacks_is_told(secrets: str, tls: str, codes: list[str]) -> None:
    assert Compiled(EXTERNAL, secrets, rule(tls)).codes == codes


@pytest.mark.parametrize(
    ("tls", "path"),
    [
        ("mode: MUTUAL", ""),
        ("mode: SIMPLE, caCertificates: /etc/ca.pem", "caCertificates"),
        ("mode: SIMPLE, credentialName: a, caCertificates: system", "caCertificates"),
        ("mode: SIMPLE, credentialName: a, insecureSkipVerify: true", "credentialName"),
        ("mode: SIMPLE, subjectAltNames: [a], insecureSkipVerify: true", "subjectAltNames"),
        ("mode: ISTIO_MUTUAL, credentialName: a", "credentialName"),
        ("mode: DISABLE, sni: a", "sni"),
        ("mode: SIMPLE, sni: 'a b'", "sni"),
        ("mode: SIMPLE, sni: \u00e9.example.test", "sni"),
    ],
)
def test_what_excludes_each_other_is_refused(tls: str, path: str) -> None:
    problems = decode_documents(rule(tls), "rule.yaml").problems
    assert [str(each.severity) for each in problems] == ["error"]
    assert problems[0].path[-1] == (path or "tls")


@pytest.mark.parametrize(
    ("reference", "shown", "codes"),
    [
        ("{name: client}", "default/client", []),
        ("{name: clients}", "", ["unknown-secret"]),
        ("{name: client, namespace: other}", "", ["reference-not-granted"]),
    ],
)
def test_a_gateway_shows_its_own_certificate_where_no_credential_is_said(
    reference: str, shown: str, codes: list[str]
) -> None:
    gateway = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: weft
  tls: {{backend: {{clientCertificateRef: {reference}}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: api}}
spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: api, port: 80}}]}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: api}}
spec:
  targetRefs: [{{group: "", kind: Service, name: api}}]
  validation: {{hostname: api.example.test, wellKnownCACertificates: System}}
"""
    compiled = Compiled(EXTERNAL, secret("client", CLIENT), gateway)
    view = compiled.gateway("edge")
    found = backends(view)[f"outbound|80||{API}"].transport
    assert isinstance(found, Tls)
    assert found.shown == shown
    assert [each.name for each in view.certificates] == ([shown] if shown else [])
    assert compiled.codes == codes
    plain = backends(compiled.sidecar())[f"outbound|80||{API}"].transport
    assert isinstance(plain, Tls) and not plain.shown
