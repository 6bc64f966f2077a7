"""Refusals: wrong ports and unknown uses are answered with a sentence, and never by DNS."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, service, short, workload

TCP = service("db", 5432).replace("http-5432", "tcp-sql")
HELLO = ("hello.default.svc.cluster.local", "hello.default.svc", "hello.default", "hello")


def test_a_port_that_a_service_does_not_have_is_refused_with_those_it_has() -> None:
    mesh = Compiled(service("hello", 80, 9080))
    (refusal,) = mesh.sidecar().outbound.refusals
    assert (refusal.domains, refusal.bare) == (HELLO, False)
    assert refusal.reason == "hello.default has no such port; it has 80, 9080"
    assert short(mesh.ask("hello:8001/")) == "502"
    assert mesh.sidecar(namespace="other").outbound.refusals == ()


@pytest.mark.parametrize(
    ("ports", "bare"), [((80,), False), ((9080,), False), ((9080, 9081), True), ((80, 9080), False)]
)
def test_a_name_without_a_port_is_refused_where_it_could_mean_several(ports: tuple[int, ...], bare: bool) -> None:
    assert [each.bare for each in Compiled(service("hello", *ports)).sidecar().outbound.refusals] == [bare]


def test_tcp_ports_do_not_answer_names_without_a_port() -> None:
    assert [each.bare for each in Compiled(TCP).sidecar().outbound.refusals] == [True]
    assert short(Compiled(TCP).ask("db:5432/")) == "502"


def test_an_unknown_use_is_refused_and_so_is_the_name_that_was_meant() -> None:
    client = workload("client", uses=("helllo", "shop"))
    mesh = Compiled(service("hello"), service("shop"), workloads=[client])
    (problem,) = mesh.mesh.problems
    assert (problem.code, problem.nearest) == ("unknown-use", "hello")
    assert "'helllo'" in problem.message
    shop, unknown = mesh.sidecar(client).outbound.refusals
    assert shop.domains[-1] == "shop"
    assert (unknown.domains, unknown.bare) == (("helllo", *HELLO), True)
    assert unknown.reason == (
        "no Service is called 'helllo', which this workload says that it uses; did you mean 'hello'?"
    )


def test_a_hint_is_written_as_the_name_was() -> None:
    client = workload("client", uses=("helllo.shop", "helllo.shop.svc.cluster.local"))
    mesh = Compiled(service("hello", namespace="shop"), workloads=[client])
    assert [problem.nearest for problem in mesh.mesh.problems] == ["hello.shop", "hello.shop.svc.cluster.local"]
    first, _ = mesh.sidecar(client).outbound.refusals
    assert first.domains == ("helllo.shop", "hello.shop.svc.cluster.local", "hello.shop.svc", "hello.shop")


def test_a_host_outside_that_a_document_routes_may_be_used() -> None:
    routed = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec: {hosts: [api.example.com, "*.example.org"], http: [{route: [{destination: {host: hello}}]}]}
"""
    client = workload("client", uses=("api.example.com", "www.example.org", "hello"))
    mesh = Compiled(service("hello"), routed, workloads=[client])
    assert mesh.mesh.problems == ()
    assert [each.domains for each in mesh.sidecar(client).outbound.refusals] == [HELLO]
    assert short(mesh.ask("api.example.com/", client)) == "hello:9080"


def test_wrong_ports_of_used_services_of_other_namespaces_are_refused_too() -> None:
    mesh = Compiled(service("hello", namespace="shop"))
    assert mesh.sidecar().outbound.refusals == ()
    (refusal,) = mesh.sidecar(uses=("hello.shop", "hello.shop.svc.cluster.local")).outbound.refusals
    assert refusal.domains == ("hello.shop.svc.cluster.local", "hello.shop.svc", "hello.shop")
    assert refusal.reason == "hello.shop has no such port; it has 9080"


def test_nothing_is_refused_that_is_no_host_name() -> None:
    uses = ("*", "*.com", "shop/*", "Nobody.", "api.example.com")
    refusals = Compiled().sidecar(workload("client", uses=uses)).outbound.refusals
    assert [each.domains for each in refusals] == [("nobody",), ("api.example.com",)]


def test_refusals_stay_the_same_objects_while_nothing_changes() -> None:
    first = Compiled(service("hello"), workloads=[client := workload("client", uses=("nobody", "hello"))])
    before = first.sidecar(client).outbound
    again = Compiled(service("hello"), service("other"), workloads=[client], memo=first.memo)
    assert again.sidecar(client).outbound.refusals[-1] is before.refusals[-1]
