"""exportTo: which namespaces' callers are told of a service, and of what is to be done with it."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, workload
from weft.mesh.services.exports import exports_of
from weft.mesh.services.service import BackendKey

HOST = "api.example.com"


def meshed(service: str = "", entry: str = "", rule: str = "", settings: str = "") -> Compiled:
    """A Service, a ServiceEntry and a DestinationRule of namespace shop, with what each says of exportTo."""
    return Compiled(
        f"""
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop{service}}}
spec: {{selector: {{app: cart}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: shop}}
spec: {{hosts: [{HOST}], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]{entry}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: api, namespace: shop}}
spec: {{host: {HOST}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}{rule}}}
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec: {{connectTimeout: 3s{settings}}}
"""
    )


def told(mesh: Compiled, namespace: str) -> set[str]:
    """The hosts that callers of a namespace are told of."""
    view = mesh.sidecar(workload("client", namespace=namespace))
    return {host.name.removesuffix(":80") for host in view.outbound.virtual_hosts}


CART = "cart.shop.svc.cluster.local"


def annotated(words: str) -> str:
    return f", annotations: {{networking.istio.io/exportTo: '{words}'}}"


def test_everybody_is_told_where_nothing_is_said() -> None:
    assert told(meshed(), "far") == {CART, HOST}
    assert not meshed().mesh.catalog.restricted


@pytest.mark.parametrize(
    ("words", "who"), [(".", {"shop"}), ("near", {"near"}), ("., near", {"shop", "near"}), ("~", set())]
)
def test_a_service_says_it_by_an_annotation(words: str, who: set[str]) -> None:
    mesh = meshed(service=annotated(words))
    assert {space for space in ("shop", "near", "far") if CART in told(mesh, space)} == who
    assert mesh.mesh.catalog.find("cart.shop", "far") is None


def test_an_entry_says_it_in_its_spec() -> None:
    mesh = meshed(entry=", exportTo: ['.', near]")
    assert [HOST in told(mesh, space) for space in ("shop", "near", "far")] == [True, True, False]


def test_the_mesh_has_a_default_that_documents_take_back() -> None:
    mesh = meshed(service=annotated("*"), settings=", defaultServiceExportTo: ['.']")
    assert told(mesh, "far") == {CART}
    assert told(mesh, "shop") == {CART, HOST}


@pytest.mark.parametrize(
    ("words", "who"), [("", {"shop", "near", "far"}), (", exportTo: ['.']", {"shop"}), (", exportTo: [near]", {"near"})]
)
def test_a_rule_is_in_force_for_callers_that_it_is_exported_to(words: str, who: set[str]) -> None:
    mesh = meshed(rule=words)
    found = set()
    for space in ("shop", "near", "far"):
        targets = mesh.sidecar(workload("client", namespace=space)).targets.targets()
        limits = next(one.backend.policy.limits for one in targets if one.backend.key == BackendKey(HOST, 80))
        if limits.max_connections == 7:
            found.add(space)
    assert found == who


def test_a_destination_that_is_not_exported_is_no_service() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: far}
spec: {hosts: [shop.example.test], http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]}
"""
    mesh = Compiled([*meshed(service=annotated(".")).mesh.catalog.documents], text)
    assert mesh.codes == ["unknown-host"]


def test_words() -> None:
    assert exports_of((), "a") == exports_of(("*", "."), "a") == ()
    assert exports_of((".", "b"), "a") == ("a", "b")
    assert exports_of(("~",), "a") == ("~",)
    assert exports_of((), "a", (".",)) == ("a",)


RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}], timeout: 3s}}]{more}}}
"""


def routed(mesh: Compiled, host: str) -> set[str]:
    """The namespaces whose callers meet the rules of a VirtualService."""
    found = set()
    for space in ("shop", "near", "far"):
        rule = mesh.ask(f"{host}/", workload("client", namespace=space)).rule
        if rule is not None and rule.object is not None and rule.object.kind == "VirtualService":
            found.add(space)
    return found


@pytest.mark.parametrize(
    ("more", "who"),
    [("", {"shop", "near", "far"}), (", exportTo: ['.']", {"shop"}), (", exportTo: [near, '.']", {"shop", "near"})],
)
@pytest.mark.parametrize("host", [HOST, CART])
def test_a_route_is_for_callers_that_it_is_exported_to(host: str, more: str, who: set[str]) -> None:
    text = RULES.format(name="v", namespace="shop", host=host, more=more)
    assert routed(Compiled([*meshed().mesh.catalog.documents], text), host) == who


def test_the_mesh_has_a_default_for_routes() -> None:
    text = RULES.format(name="v", namespace="shop", host=HOST, more="")
    settings = "apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    settings += "spec: {defaultVirtualServiceExportTo: ['.']}"
    assert routed(Compiled([*meshed().mesh.catalog.documents], text, settings), HOST) == {"shop"}


def test_of_two_routes_that_a_caller_sees_the_first_is_in_force() -> None:
    both = RULES.format(name="b", namespace="shop", host=HOST, more="") + "---"
    both += RULES.format(name="a", namespace="shop", host=HOST, more=", exportTo: [near]")
    mesh = Compiled([*meshed().mesh.catalog.documents], both)
    names = {}
    for space in ("shop", "near"):
        rule = mesh.ask(f"{HOST}/", workload("client", namespace=space)).rule
        names[space] = rule.object.name if rule is not None and rule.object is not None else ""
    assert names == {"shop": "b", "near": "a"}


def test_a_host_outside_is_routed_for_those_it_is_exported_to() -> None:
    text = RULES.format(name="v", namespace="far", host="x.example.org", more=", exportTo: [near]")
    text = text.replace("destination: {host: x.example.org}", f"destination: {{host: {HOST}}}")
    view = Compiled([*meshed().mesh.catalog.documents], text).sidecar(workload("client", namespace="far"))
    assert "x.example.org" not in {host.name for host in view.outbound.virtual_hosts}
