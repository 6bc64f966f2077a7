"""Several ServiceEntries of one host: each namespace may have its own, and none takes what another has for itself."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from support.meshdocs import Compiled, documents, service, workload
from weft.mesh.memo import Memo
from weft.mesh.services.catalog import build_catalog
from weft.mesh.services.service import BackendKey
from weft.mesh.services.serviceentry import ServiceEntryDocument
from weft.mesh.views import SidecarView
from weft.model.document import Document

HOST = "api.example.com"
SPACES = ("shop", "near", "far")


def entry(
    namespace: str, export: str, created: float, name: str = "api", host: str = HOST, more: str = ""
) -> list[Document[object]]:
    """A ServiceEntry of the host, answered by an instance that says whose it is."""
    return [
        *documents(
            f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: ["{host}"]
  exportTo: [{export}]
  resolution: DNS
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {name}.{namespace}.test}}]
{more}""",
            f"{namespace}-{name}.yaml",
            created=created,
        )
    ]


def reached(mesh: Compiled, namespace: str, path: str = "/", host: str = HOST) -> str:
    """The address to which a call of a caller in a namespace goes; empty where the mesh has no route."""
    client = workload("client", namespace=namespace)
    seen = mesh.sidecar(client)
    once_each(seen)
    verdict = mesh.ask(f"{host}{path}", client)
    if verdict.rule is None or verdict.passthrough:
        return ""
    [key] = verdict.rule.backends()
    backend = next(one.backend for one in seen.targets.targets() if one.backend.key == key)
    return ",".join(each.address.host for each in backend.dns)


def once_each(view: SidecarView) -> None:
    """Envoy refuses all routes of a port if a domain stands there twice."""
    found = Counter((host.port, domain) for host in view.outbound.virtual_hosts for domain in host.domains)
    assert [each for each, count in found.items() if count > 1] == []


def where(mesh: Compiled) -> list[str]:
    return [reached(mesh, namespace) for namespace in SPACES]


SHOP, NEAR, FAR = "api.shop.test", "api.near.test", "api.far.test"


@pytest.mark.parametrize("older", ["shop", "near"])
def test_each_namespace_has_its_own(older: str) -> None:
    mesh = Compiled(
        entry("shop", "'.'", 1 if older == "shop" else 2), entry("near", "'.'", 1 if older == "near" else 2)
    )
    assert (mesh.codes, where(mesh)) == ([], [SHOP, NEAR, ""])


@pytest.mark.parametrize("private", [1, 2])
def test_what_is_private_keeps_nobody_from_a_host_and_is_kept(private: int) -> None:
    """Neither the older nor the younger: nobody squats on a host, and nobody takes it from a namespace that has its
    own."""
    mesh = Compiled(entry("shop", "'.'", private), entry("far", "'*'", 3 - private))
    assert (mesh.codes, where(mesh)) == ([], [SHOP, FAR, FAR])


def test_lists_that_do_not_meet_stand_beside_each_other() -> None:
    mesh = Compiled(entry("shop", "'.', near", 1), entry("far", "'.'", 2))
    assert (mesh.codes, where(mesh)) == ([], [SHOP, SHOP, FAR])


def test_where_both_are_seen_the_oldest_is_meant_and_it_is_told() -> None:
    mesh = Compiled(entry("shop", "near", 1), entry("far", "'.', near", 2))
    assert (mesh.codes, where(mesh)) == (["host-conflict"], ["", SHOP, FAR])
    [problem] = mesh.mesh.problems
    assert "shop/api" in problem.message
    assert "callers of far only" in problem.message


def test_a_namespaces_own_is_meant_before_older_ones() -> None:
    mesh = Compiled(entry("shop", "'*'", 1), entry("near", "'*'", 2))
    assert (mesh.codes, where(mesh)) == (["host-conflict"], [SHOP, NEAR, SHOP])
    listed = Compiled(entry("shop", "'.', near", 1), entry("near", "'.'", 2))
    assert (listed.codes, where(listed)) == (["host-conflict"], [SHOP, NEAR, ""])


def test_of_one_namespace_the_oldest_is_meant() -> None:
    mesh = Compiled(entry("shop", "'.'", 1), entry("shop", "'.'", 2, name="b"))
    assert (mesh.codes, where(mesh)) == (["host-conflict"], [SHOP, "", ""])
    private_first = Compiled(entry("shop", "'.'", 1), entry("shop", "'*'", 2, name="b"))
    assert where(private_first) == [SHOP, "b.shop.test", "b.shop.test"]
    two = Compiled(entry("shop", "near", 1), entry("shop", "far", 2, name="b"), entry("x", "'*'", 3))
    assert (two.codes, where(two)) == ([], ["api.x.test", SHOP, "b.shop.test"])


def test_what_is_for_nobody_is_in_nobodys_way() -> None:
    mesh = Compiled(entry("shop", "'~'", 1), entry("far", "'*'", 2), entry("near", "'.'", 3))
    assert (mesh.codes, where(mesh)) == ([], [FAR, NEAR, FAR])
    assert where(Compiled(entry("shop", "'~'", 1), entry("far", "'~'", 2))) == ["", "", ""]


def test_a_service_and_a_wildcard_are_shared_with_nobody() -> None:
    mesh = Compiled(service("cart", namespace="shop"), entry("shop", "'.'", 1, host="cart.shop.svc.cluster.local"))
    assert mesh.codes == ["host-conflict"]
    wild = Compiled(entry("shop", "'.'", 1, host="*.example.com"), entry("far", "'.'", 2, host="*.example.com"))
    assert wild.codes.count("host-conflict") == 1


RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: {0}}}
spec:
  hosts: [{1}]
  http: [{{match: [{{uri: {{prefix: /x}}}}], route: [{{destination: {{host: api.example.com}}}}], timeout: 3s}},
         {{route: [{{destination: {{host: api.example.com}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: v, namespace: {0}}}
spec: {{host: {1}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}}}
"""


def connections(mesh: Compiled, namespace: str) -> int | None:
    """How many connections callers of a namespace open to what they reach by the host."""
    client = workload("client", namespace=namespace)
    rule = mesh.ask(f"{HOST}/", client).rule
    assert rule is not None
    [found] = [one for one in mesh.sidecar(client).targets.targets() if one.backend.key in rule.backends()]
    return found.backend.policy.limits.max_connections


@pytest.mark.parametrize("private", [1, 2])
def test_documents_mean_what_their_namespace_means(private: int) -> None:
    both = (entry("shop", "'.'", private), entry("far", "'*'", 3 - private))
    own = Compiled(*both, RULES.format("shop", HOST))
    assert (own.codes, where(own)) == ([], [SHOP, FAR, FAR])
    assert reached(own, "shop", "/x") == SHOP
    assert (connections(own, "shop"), connections(own, "near")) == (7, None)
    others = Compiled(*both, RULES.format("far", HOST))
    assert (others.codes, where(others)) == ([], [SHOP, FAR, FAR])
    assert (connections(others, "shop"), connections(others, "near")) == (None, 7)
    rule = others.ask(f"{HOST}/x", workload("client", namespace="shop")).rule
    assert rule is not None
    assert rule.name == "default"


def test_a_route_leads_everybodys_calls_to_what_its_own_namespace_means() -> None:
    """Callers elsewhere of a Service that leads to the host do not end up at what they themselves mean by it."""
    both = (entry("shop", "'.'", 2), entry("far", "'*'", 1))
    text = RULES.format("shop", "cart.shop.svc.cluster.local")
    mesh = Compiled(*both, service("cart", 80, namespace="shop"), text)
    for namespace in SPACES:
        client = workload("client", namespace=namespace)
        rule = mesh.ask("cart.shop/", client).rule
        assert rule is not None
        [key] = rule.backends()
        [found] = [one.backend for one in mesh.sidecar(client).targets.targets() if one.backend.key == key]
        assert [each.address.host for each in found.dns] == [SHOP]


def test_the_root_namespaces_rule_is_for_each_of_them() -> None:
    both = (entry("shop", "'.'", 2), entry("far", "'*'", 1))
    mesh = Compiled(*both, RULES.format("istio-system", HOST).partition("---")[2])
    assert connections(mesh, "shop") == connections(mesh, "near") == 7


@pytest.mark.parametrize(
    ("pattern", "found"), [("./*", SHOP), ("shop/api.example.com", SHOP), ("*/api.example.com", SHOP), ("far/*", "")]
)
def test_a_sidecar_names_what_its_namespace_means(pattern: str, found: str) -> None:
    text = f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: shop}}
spec: {{egress: [{{hosts: ["{pattern}"]}}], outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}
"""
    mesh = Compiled(entry("shop", "'.'", 2), entry("far", "'*'", 1), text)
    assert (reached(mesh, "shop"), reached(mesh, "near")) == (found, FAR)


def test_names_without_endpoints_are_looked_up_as_they_are_called() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: shop}
spec: {hosts: [api.example.com], exportTo: ['.'], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    mesh = Compiled(entry("far", "'*'", 0), text)
    assert reached(mesh, "shop") == HOST


def test_frontends_stay_the_same_objects() -> None:
    memo = Memo()
    found = cast(tuple[ServiceEntryDocument, ...], (*entry("far", "'*'", 1), *entry("shop", "'.'", 2)))
    rows = []
    for _ in range(2):
        memo.begin()
        rows.append(build_catalog((), memo, found).frontends)
        memo.end()
    assert all(one is two for one, two in zip(*rows, strict=True))
    assert [each.host for each in rows[0]] == [HOST, f"shop:api:{HOST}"]


def test_clusters_have_names_of_their_own() -> None:
    """A younger document does not change what the name of an older one's cluster means."""
    for older, younger, export in (("far", "shop", "'.'"), ("shop", "far", "'*'")):
        before = Compiled(entry(older, "'.'" if export == "'*'" else "'*'", 1))
        after = Compiled(entry(older, "'.'" if export == "'*'" else "'*'", 1), entry(younger, export, 2))
        assert set(after.mesh.targets.by_key) == {BackendKey(HOST, 80), BackendKey(f"{younger}:api:{HOST}", 80)}
        same = [mesh.mesh.targets.by_key[BackendKey(HOST, 80)].backend.dns for mesh in (before, after)]
        assert same[0] == same[1] != ()


def test_names_of_clusters_are_no_longer_than_those_of_hosts() -> None:
    host = ".".join(["a" * 61] * 4)
    mesh = Compiled(entry("far", "'*'", 1, host=host), entry("shop", "'.'", 2, host=host))
    assert reached(mesh, "shop", host=host) == SHOP
    assert max(len(key.host) for key in mesh.mesh.targets.by_key) == 253
