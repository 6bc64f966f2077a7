"""What an explanation says of connections that are described: rule, line, shares, endpoints, policies, causes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.meshdocs import Compiled, documents, gateway_workload, upstream, workload
from weft.explain.answer import Explanation
from weft.explain.connected import ConnectionQuestion, explain_connection
from weft.explain.connections import Connection
from weft.explain.facts import Facts
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.model.workload import Workload, WorkloadState

TEXT = (Path(__file__).parents[2] / "examples" / "connections.yaml").read_text()
BACKENDS = (
    workload("db", port=5432),
    workload("db", "v2", port=5432, number=1),
    workload("web", port=8443, number=2),
    workload("web", "v2", port=8443, number=3, state=WorkloadState.UNHEALTHY),
)
CALLER = workload("caller", number=9, upstreams=(upstream("db", 7000),))
DENY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec: {selector: {matchLabels: {app: db}}, action: DENY, rules: [{from: [{source: {namespaces: [default]}}]}]}
"""
GONE = """
---
apiVersion: v1
kind: Service
metadata: {name: half}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: half}
spec:
  parentRefs: [{group: "", kind: Service, name: half, port: 5432}]
  rules: [{backendRefs: [{name: db, port: 5432, weight: 1}, {name: gone, port: 1, weight: 3}]}]
"""


def asked(
    connection: Connection, *, text: str = TEXT, caller: Workload = CALLER, described: bool = False
) -> Explanation:
    found = documents(text)
    compiled = Compiled(found, workloads=(*BACKENDS, caller))
    facts = Facts(compiled.mesh, 1000.0, {document.key: document for document in found}, compiled.mesh.problems)
    view = build_view(compiled.mesh, caller, Memo())
    return explain_connection(facts, ConnectionQuestion(caller, view, connection, described))


def test_the_rule_its_line_the_shares_and_the_endpoints_are_named() -> None:
    found = asked(Connection(5432, "db"))
    assert found.answer.outcome == "forwarded"
    assert "db.default subset v1 (90 %), db.default subset v2 (10 %)" in found.answer.text
    assert "2 healthy endpoints" in found.answer.text
    out, inbound = found.hops
    assert out.rule is not None
    assert out.rule.object == "VirtualService default/db"
    number = int(out.rule.source.partition(":")[2])
    assert "subset: v1" in "".join(TEXT.splitlines()[number - 1 : number + 2])
    assert [(one.cluster, one.share) for one in out.split] == [
        ("outbound|5432|v1|db.default.svc.cluster.local", 0.9),
        ("outbound|5432|v2|db.default.svc.cluster.local", 0.1),
    ]
    assert [one.workload for one in out.endpoints if one.address] == ["db-v1.default", "db-v2.default"]
    assert out.match == "every connection"
    assert out.transport.startswith("mutual TLS")
    assert (inbound.proxy, inbound.side) == ("db-v1.default", "inbound")
    assert found.causes == ()


def test_tls_is_told_by_the_server_name_that_it_asks_for() -> None:
    found = asked(Connection(8443, "web", "shop.example.com", tls=True))
    assert found.answer.outcome == "forwarded"
    assert found.hops[0].match == "connections whose TLS asks for *.example.com"
    found = asked(Connection(8443, "web", "beta.example.com", tls=True))
    assert found.answer.outcome == "unavailable"
    assert [one.code for one in found.causes] == ["no-healthy-endpoint"]
    found = asked(Connection(8443, "web", "other.org", tls=True))
    assert found.answer.outcome == "refused"
    assert "beta.example.com" in found.causes[0].text


def test_a_policy_that_denies_is_named_with_its_line() -> None:
    text = TEXT + DENY
    found = asked(Connection(5432, "db"), text=text)
    assert found.answer.outcome == "refused"
    assert "AuthorizationPolicy default/closed" in found.answer.text
    assert found.causes[0].code == "access-denied"
    assert found.causes[0].source.startswith("mesh.yaml:")
    assert "denied" in found.hops[1].verdicts[0]
    assert asked(Connection(5432, "db"), text=text, described=True).answer.outcome == "refused"


def test_a_share_that_leads_nowhere_is_closed_and_said() -> None:
    found = asked(Connection(5432, "half"), text=TEXT + GONE)
    assert found.answer.outcome == "forwarded"
    assert "75 % are closed" in found.answer.text
    assert [(one.cluster, one.share) for one in found.hops[0].split][1:] == [("", 0.75)]
    assert "missing-backend" in [one.code for one in found.causes]


@pytest.mark.parametrize(
    ("connection", "outcome", "code", "words"),
    [
        (Connection(80, "half"), "refused", "not-tcp", "carries HTTP"),
        (Connection(5433, "db"), "refused", "unknown-port", "it has 5432, 7000"),
        (Connection(5432, "bd"), "forwarded", "unknown-host", "names 'bd'"),
    ],
)
def test_what_nothing_carries_is_told_why(connection: Connection, outcome: str, code: str, words: str) -> None:
    found = asked(connection, text=TEXT + GONE)
    assert found.answer.outcome == outcome
    assert [one.code for one in found.causes] == [code]
    assert words in found.causes[0].text


def test_a_port_that_says_nothing_is_carried_at_its_loopback_port_only() -> None:
    services = TEXT.partition("# The rules.\n")[0]
    found = asked(Connection(7000, "db"), text=services)
    assert found.answer.outcome == "forwarded"
    assert found.hops[0].split[0].cluster.endswith("|tcp")
    assert [one.health for one in found.hops[0].endpoints] == ["healthy", "healthy"]
    other = workload("other", number=8)
    assert [one.code for one in asked(Connection(7000, "db"), text=services, caller=other).causes] == ["not-tcp"]


def test_at_a_gateway_listener_and_name_decide() -> None:
    edge: dict[str, Any] = {"caller": gateway_workload("edge")}
    found = asked(Connection(5432), **edge)
    assert (found.answer.outcome, found.hops[0].side) == ("forwarded", "gateway")
    assert asked(Connection(8443, "x.org", "x.org", tls=True), **edge).answer.outcome == "refused"
    found = asked(Connection(9, "db"), **edge)
    assert "it has port 5432 (TCP), 8443 (TLS)" in found.causes[0].text


def test_mutual_tls_that_a_gateway_passes_on_is_told_by_its_name() -> None:
    text = TEXT + (
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: across}\nspec:\n"
        "  selector: {app: across}\n  servers:\n"
        "    - {port: {number: 15443, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: ['*.local']}\n"
    )
    across = gateway_workload("across", labels=(("app", "across"),))
    named = "outbound_.5432_.v1_.db.default.svc.cluster.local"
    found = asked(Connection(15443, named, named, tls=True), text=text, caller=across)
    assert found.answer.outcome == "forwarded", found
    assert found.hops[0].split[0].cluster == "outbound|5432|v1|db.default.svc.cluster.local"
    other = "outbound_.5432_.v9_.db.default.svc.cluster.local"
    assert asked(Connection(15443, other, other, tls=True), text=text, caller=across).answer.outcome == "refused"
