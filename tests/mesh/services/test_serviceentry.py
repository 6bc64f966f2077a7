"""ServiceEntries: each host is a service; who owns it, how it is found, and what is behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from support.meshdocs import Compiled, gateway_workload, service, workload
from weft.mesh.services.service import BackendKey, Health, MutualTls, PerEndpoint, Plaintext, Protocol, Target
from weft.model.identity import SpiffeId
from weft.model.locality import Locality
from weft.model.workload import SocketAddress
from weft.schema.decode import decode_documents


def entry(name: str, host: str, rest: str, port: str = "{number: 80, name: http, protocol: HTTP}") -> str:
    """A ServiceEntry of one host and port."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: ["{host}"]
  ports: [{port}]
{rest}"""


def target(mesh: Compiled, host: str, port: int = 80, subset: str = "") -> Target:
    """What callers send to."""
    return mesh.mesh.targets.by_key[BackendKey(host, port, subset)]


def test_dns_looks_up_the_host() -> None:
    backend = target(Compiled(entry("api", "api.example.com", "  resolution: DNS")), "api.example.com").backend
    assert [str(one.address) for one in backend.dns] == ["api.example.com:80"]
    assert not backend.single
    assert backend.transport == Plaintext()


def test_dns_round_robin_takes_one_address_for_each_connection() -> None:
    mesh = Compiled(entry("api", "api.example.com", "  resolution: DNS_ROUND_ROBIN"))
    assert target(mesh, "api.example.com").backend.single


def test_dns_with_endpoints_looks_up_theirs() -> None:
    rest = """  resolution: DNS
  endpoints:
  - {address: eu.example.com, ports: {http: 8080}, locality: eu/eu-1, weight: 3, labels: {zone: eu}}
  - {address: 192.0.2.7}
"""
    backend = target(Compiled(entry("api", "api.example.com", rest)), "api.example.com").backend
    assert [str(one.address) for one in backend.dns] == ["eu.example.com:8080", "192.0.2.7:80"]
    assert [one.weight for one in backend.dns] == [3, 1]
    assert backend.dns[0].locality == Locality("eu", "eu-1")


def test_static_endpoints_are_told_as_they_are_written() -> None:
    rest = "  resolution: STATIC\n  endpoints: [{address: 192.0.2.1}, {address: '2001:db8::1', ports: {http: 81}}]"
    found = target(
        Compiled(entry("db", "db.example.com", rest, "{number: 80, name: http, protocol: HTTP, targetPort: 90}")),
        "db.example.com",
    )
    assert found.endpoints is not None
    assert [str(one.address) for one in found.endpoints.endpoints] == ["192.0.2.1:90", "[2001:db8::1]:81"]
    assert all(one.identity is None for one in found.endpoints.endpoints)
    assert found.backend.transport == Plaintext()


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_a_wildcard_is_resolved_as_each_caller_writes_it(resolution: str) -> None:
    mesh = Compiled(entry("wiki", "*.wikipedia.org", f"  resolution: {resolution}"))
    backend = target(mesh, "*.wikipedia.org").backend
    assert backend.by_caller
    host = next(one for one in mesh.sidecar().outbound.virtual_hosts if "*.wikipedia.org" in one.domains)
    [weighted] = host.rules[0].action.backends  # type: ignore[union-attr]
    assert weighted.by_caller


def test_a_name_without_resolution_is_looked_up() -> None:
    backend = target(Compiled(entry("api", "api.example.com", "  resolution: NONE")), "api.example.com").backend
    assert [str(one.address) for one in backend.dns] == ["api.example.com:80"]


def test_tls_is_carried_as_it_is() -> None:
    mesh = Compiled(entry("api", "api.example.com", "  resolution: DNS", "{number: 443, name: tls, protocol: TLS}"))
    tunnel = next(one for one in mesh.sidecar().outbound.tunnels if one.domains == ("api.example.com",))
    assert tunnel.port == 443
    assert target(mesh, "api.example.com", 443).backend.protocol is Protocol.TCP


def test_addresses_are_names_of_the_first_host() -> None:
    rest = "  addresses: [192.0.2.10, '2001:db8::1', 10.1.0.0/16]\n  resolution: STATIC\n"
    rest += "  endpoints: [{address: 192.0.2.1}]"
    mesh = Compiled(entry("db", "db.example.com", rest))
    hosts = [one.domains for one in mesh.sidecar().outbound.virtual_hosts]
    assert ("db.example.com", "192.0.2.10", "[2001:db8::1]") in hosts


def test_the_oldest_entry_has_a_host_and_a_service_before_all() -> None:
    mesh = Compiled(
        service("reviews"),
        entry("a", "api.example.com", "  resolution: DNS") + entry("b", "api.example.com", "  resolution: DNS"),
        entry("c", "reviews.default.svc.cluster.local", "  resolution: DNS"),
    )
    assert mesh.codes.count("host-conflict") == 2
    assert mesh.mesh.catalog.by_host["api.example.com"].key.name == "a"
    assert mesh.mesh.catalog.by_host["reviews.default.svc.cluster.local"].is_service


def test_nobody_declares_what_others_are_called() -> None:
    """Who may write in one namespace does not get calls that are meant for another's."""
    for host in ("reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"):
        mesh = Compiled(service("reviews"), entry("a", host, "  resolution: DNS"))
        assert mesh.codes == ["host-conflict"], host
        assert mesh.mesh.catalog.full_name(host, "far") == "reviews.default.svc.cluster.local"
    assert Compiled(entry("a", "cart.shop.svc.cluster.local", "  resolution: DNS")).codes == ["host-conflict"]
    assert Compiled(entry("a", "cart.default.svc.cluster.local", "  resolution: DNS")).codes == []
    outside = Compiled(service("httpbin", namespace="org"), entry("a", "httpbin.org", "  resolution: DNS"))
    assert outside.codes == ["no-short-name"]


def test_an_entry_selects_workloads_and_described_instances() -> None:
    mesh = Compiled(
        entry(
            "reviews",
            "reviews.example.com",
            "  location: MESH_INTERNAL\n  resolution: STATIC\n  workloadSelector: {labels: {app: reviews}}",
            "{number: 80, name: http, protocol: HTTP, targetPort: 9080}",
        ),
        ENTRY,
        workloads=[workload("reviews")],
    )
    found = target(mesh, "reviews.example.com")
    assert found.endpoints is not None
    assert [one.workload for one in found.endpoints.endpoints] == ["reviews-v1.default", "vm.default"]
    assert str(found.endpoints.endpoints[1].address) == "192.0.2.9:7070"
    assert isinstance(found.backend.transport, PerEndpoint)


ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec:
  address: 192.0.2.9
  labels: {app: reviews}
  ports: {http: 7070, http-9080: 7071}
  locality: eu/eu-1/rack
"""


def test_a_service_selects_described_instances() -> None:
    mesh = Compiled(service("reviews"), ENTRY)
    found = target(mesh, "reviews.default.svc.cluster.local", 9080)
    assert found.endpoints is not None
    [one] = found.endpoints.endpoints
    assert (one.workload, one.address, one.health) == ("vm.default", SocketAddress("192.0.2.9", 7071), Health.HEALTHY)
    assert one.locality == Locality("eu", "eu-1", "rack")
    assert found.backend.transport == Plaintext()


def test_a_described_instance_behind_a_proxy_proves_its_account() -> None:
    labels = "{app: reviews, security.istio.io/tlsMode: istio}"
    meshed = ENTRY.replace("{app: reviews}", labels) + "  serviceAccount: vm\n"
    found = target(Compiled(service("reviews"), meshed), "reviews.default.svc.cluster.local", 9080)
    assert found.backend.transport == MutualTls((SpiffeId("cluster.local", "default", "vm"),))


def test_what_does_not_change_stays_the_same_object() -> None:
    texts = (service("reviews"), entry("api", "api.example.com", "  resolution: DNS"), ENTRY)
    first = Compiled(*texts)
    documents = [*first.mesh.catalog.documents]
    again = Compiled(documents, ENTRY, workloads=[workload("reviews")], memo=first.memo)
    for host, port in (("api.example.com", 80),):
        assert target(first, host, port).backend is target(again, host, port).backend


def test_rules_of_a_host_outside_are_those_of_its_service() -> None:
    mesh = Compiled(
        entry("api", "api.example.com", "  resolution: DNS"),
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api}
spec:
  hosts: [api.example.com]
  http: [{route: [{destination: {host: api.example.com}}], timeout: 3s}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
""",
    )
    assert not mesh.codes
    assert target(mesh, "api.example.com").backend.policy.limits.max_connections == 7
    rule = mesh.ask("api.example.com/").rule
    assert rule is not None and rule.name == "default/api/0"


def test_a_service_may_lead_to_a_gateway() -> None:
    """That is how calls of sidecars leave through an egress gateway."""
    gate = replace(gateway_workload("egress", offset=8000), labels=(("istio", "egressgateway"),))
    egress = service("egress", 80, 443, selector="istio: egressgateway")
    mesh = Compiled(egress, workloads=[gate])
    found = target(mesh, "egress.default.svc.cluster.local", 443)
    assert found.endpoints is not None
    [one] = found.endpoints.endpoints
    assert (one.workload, one.address) == ("egress.default", SocketAddress("127.0.0.1", 8443))
    assert found.backend.transport == Plaintext()
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress}
spec: {host: egress, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
"""
    protected = target(Compiled(egress, rule, workloads=[gate]), "egress.default.svc.cluster.local", 443)
    assert protected.backend.transport == MutualTls((SpiffeId("cluster.local", "default", "gateway-egress"),))


def test_what_a_workload_uses_may_be_below_a_wildcard() -> None:
    mesh = Compiled(entry("wiki", "*.wikipedia.org", "  resolution: DYNAMIC_DNS"))
    view = mesh.sidecar(uses=("en.wikipedia.org",))
    assert [host.domains for host in view.outbound.virtual_hosts] == [("*.wikipedia.org",)]
    assert view.outbound.refusals == ()


@pytest.mark.parametrize(
    "host",
    [
        "*.shop.svc.cluster.local",
        "*.svc.cluster.local",
        "*.cluster.local",
        "*.local",
        "pay.shop.svc",
        "*.shop.svc",
        "*.svc",
        "a.pay.shop.svc.cluster.local",
    ],
)
def test_nobody_takes_the_names_of_another_namespaces_services_before_they_are_there(host: str) -> None:
    rest = "  resolution: STATIC\n  endpoints: [{address: 192.0.2.66}]"
    mesh = Compiled(entry("trap", host, rest))
    assert [problem.code for problem in mesh.mesh.problems] == ["host-conflict"]
    for name in ("pay.shop.svc.cluster.local", "pay.shop.svc", "a.pay.shop.svc.cluster.local"):
        assert mesh.mesh.catalog.called(name, "shop") is None
    own = Compiled(entry("own", host.replace("shop", "default"), rest)) if "shop" in host else None
    assert own is None or own.mesh.problems == ()


def test_a_wildcard_that_others_keep_to_themselves_hides_none() -> None:
    rest = "  resolution: DYNAMIC_DNS"
    hidden = entry("mine", "*.api.example.com", f'{rest}\n  exportTo: ["."]').replace(
        "name: mine", "name: mine, namespace: other"
    )
    catalog = Compiled(entry("wide", "*.example.com", rest), hidden).mesh.catalog
    found = catalog.called("eu.api.example.com", "default")
    assert found is not None
    assert found.host == "*.example.com"


@pytest.mark.parametrize(("hosts", "ports", "endpoints", "field"), [(256, 17, 1, "hosts"), (64, 16, 65, "endpoints")])
def test_one_document_is_not_many_thousand_services(hosts: int, ports: int, endpoints: int, field: str) -> None:
    text = yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "all"},
            "spec": {
                "hosts": [f"h{number}.example.com" for number in range(hosts)],
                "ports": [{"number": 1 + each, "name": f"p{each}", "protocol": "TCP"} for each in range(ports)],
                "resolution": "STATIC",
                "endpoints": [{"address": f"192.0.2.{number}"} for number in range(endpoints)],
            },
        }
    )
    [problem] = decode_documents(text, "all.yaml").problems
    assert (problem.code, problem.path) == ("too-large", ("spec", field))


def test_names_of_ports_say_nothing_to_a_terminal() -> None:
    text = entry("api", "api.example.com", "  resolution: DNS", '{number: 80, name: "a\\e[2J", protocol: HTTP}')
    text += '\n  endpoints: [{address: 192.0.2.1, ports: {"a\\e[2J": 80}}]\n'
    paths = {problem.path[:4] for problem in decode_documents(text, "api.yaml").problems}
    assert paths == {("spec", "ports", 0, "name"), ("spec", "endpoints", 0, "ports")}
