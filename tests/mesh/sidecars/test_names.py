"""The names of a workload: those of the services it may call, and no others."""

from __future__ import annotations

from typing import Any

from support.meshdocs import Compiled, documents, service, workload
from weft.mesh.memo import Memo
from weft.model.names import NameEntry, NameTable
from weft.model.workload import WorkloadState
from weft.xds.build import build_xds

MESH = service("reviews", 9080) + service("ratings", namespace="shop") + service("hidden", namespace="shop")
PRIVATE = MESH.replace("{name: hidden, namespace: shop}", "{name: hidden, namespace: shop, annotations: "
                       "{networking.istio.io/exportTo: .}}")  # fmt: skip
NUMBERS = {
    f"Service/{name}": number for number, name in enumerate(("default/reviews", "shop/ratings", "shop/hidden"), 1)
}
HEADLESS = service("db", 9080, extra="  clusterIP: None\n")


def table(compiled: Compiled, **changes: Any) -> NameTable:
    names = compiled.sidecar(dns=True, **changes).names
    assert names is not None
    return names


def by_name(table: NameTable) -> dict[str, NameEntry]:
    return {entry.names[0]: entry for entry in table.entries}


def test_who_does_not_ask_has_no_names() -> None:
    assert Compiled(MESH, numbers=NUMBERS).sidecar().names is None


def test_a_service_has_its_short_names_where_callers_have_them() -> None:
    found = by_name(table(Compiled(MESH, numbers=NUMBERS)))
    reviews, ratings = found["reviews.default.svc.cluster.local"], found["ratings.shop.svc.cluster.local"]
    assert set(reviews.names) == {
        "reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"
    }  # fmt: skip
    assert set(ratings.names) == {"ratings.shop", "ratings.shop.svc", "ratings.shop.svc.cluster.local"}
    assert reviews.addresses == ("240.240.0.1", "fd77:6566:7400::1")
    assert reviews.ports == (("http-9080", "tcp", 9080),)


def test_names_that_stay_outside_the_mesh_are_not_taken() -> None:
    found = by_name(table(Compiled(service("github", namespace="com"), numbers={"Service/com/github": 1})))
    assert "github.com" not in found["github.com.svc.cluster.local"].names


def test_what_is_not_exported_or_not_used_has_no_name_for_the_caller() -> None:
    compiled = Compiled(PRIVATE, numbers=NUMBERS)
    assert "hidden.shop.svc.cluster.local" not in by_name(table(compiled))
    assert "hidden.shop.svc.cluster.local" in by_name(table(compiled, namespace="shop"))
    assert list(by_name(table(compiled, uses=("ratings.shop",)))) == ["ratings.shop.svc.cluster.local"]


def test_a_sidecar_narrows_names_as_it_narrows_routes() -> None:
    sidecar = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: [shop/*]}]}
"""
    compiled = Compiled(MESH, sidecar, numbers=NUMBERS)
    assert list(by_name(table(compiled))) == ["hidden.shop.svc.cluster.local", "ratings.shop.svc.cluster.local"]


def test_a_headless_service_has_its_healthy_instances() -> None:
    instances = [
        workload("db", "v1"),
        workload("db", "v2", state=WorkloadState.UNHEALTHY),
        workload("db", "v3", state=WorkloadState.DRAINING),
    ]
    entry = by_name(table(Compiled(HEADLESS, workloads=instances)))["db.default.svc.cluster.local"]
    assert entry.headless
    assert entry.addresses == ()
    assert [(one.name, one.addresses) for one in entry.instances] == [("db-v1", ("127.0.0.1",))]


def test_a_service_without_a_number_yet_has_no_name_and_a_headless_one_without_instances_has() -> None:
    found = by_name(table(Compiled(MESH, HEADLESS)))
    assert list(found) == ["db.default.svc.cluster.local"]


def test_an_external_name_without_ports_is_another_name() -> None:
    text = (
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: old}\nspec: {type: ExternalName, externalName: a.example}"
    )
    entry = by_name(table(Compiled(text)))["old.default.svc.cluster.local"]
    assert (entry.alias, entry.addresses) == ("a.example", ())


def test_a_host_whose_callers_say_where_to_has_no_address_of_the_mesh() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: default}
spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
"""
    assert table(Compiled(text)).entries == ()


def test_of_one_host_of_two_namespaces_each_has_its_own() -> None:
    def entry(namespace: str) -> str:
        return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: {namespace}}}
spec:
  hosts: [api.example.com]
  exportTo: [.]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: DNS
"""

    numbers = {f"ServiceEntry/{space}/api/api.example.com": number for number, space in enumerate(("a", "b"), 1)}
    compiled = Compiled(entry("a") + entry("b"), numbers=numbers)
    found = {space: table(compiled, namespace=space).entries for space in ("a", "b", "c")}
    assert found["c"] == ()
    assert [one.names for one in found["a"]] == [one.names for one in found["b"]] == [("api.example.com",)]
    assert found["a"][0].addresses != found["b"][0].addresses


def test_callers_of_one_namespace_share_a_table_which_stays_while_instances_of_others_come_and_go() -> None:
    memo = Memo()
    text = documents(MESH + HEADLESS)
    first = Compiled(text, workloads=[workload("reviews")], memo=memo, numbers=NUMBERS)
    names = table(first)
    assert names is table(first, name="other", labels=())
    memo.end()
    again = Compiled(text, workloads=[workload("reviews", number=1)], memo=memo, numbers=NUMBERS)
    assert table(again).entries == names.entries
    memo.end()
    more = Compiled(text, workloads=[workload("reviews"), workload("db")], memo=memo, numbers=NUMBERS)
    assert table(more).entries != names.entries


def test_names_cost_nothing_where_nobody_asks_and_nothing_in_what_the_proxy_is_sent() -> None:
    memo = Memo()
    compiled = Compiled(MESH, memo=memo, numbers=NUMBERS)
    plain, asking = (build_xds(compiled.sidecar(dns=dns), 1, memo) for dns in (False, True))
    assert plain.names is None
    assert asking.names is not None
    bodies = [{one.name: one.body for layer in each.layers for kind in layer.by_type.values() for one in kind.values()}
              for each in (plain, asking)]  # fmt: skip
    assert bodies[0] == bodies[1]
