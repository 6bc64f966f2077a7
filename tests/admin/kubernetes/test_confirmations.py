"""Whether the proxies of a Gateway have confirmed it, by values."""

from __future__ import annotations

from dataclasses import replace

from support.meshdocs import documents, gateway_workload
from weft.admin.kubernetes.confirmations import Confirmations
from weft.admin.kubernetes.wanted import Unconfirmed
from weft.discovery.status import Lack
from weft.model.document import Document
from weft.model.workload import GatewayBinding, SocketAddress, Workload

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
EDGE, OTHER = gateway_workload("edge", "shop"), gateway_workload("other", "shop")
SLOW = Lack("has not confirmed it yet")


class Script:
    """Proxies that have confirmed revisions, by name; `lacks` is what they lack whatever they have confirmed."""

    def __init__(self, *workloads: Workload) -> None:
        self.workloads = workloads
        self.confirmed = {each.proxy: 0 for each in workloads}
        self.lacks: dict[str, Lack] = {}
        self.confirmations = Confirmations(self._lacks, hold=3.0)
        [self.document] = documents(GATEWAY)

    def _lacks(self, proxy: str, revision: int, _: Document[object]) -> Lack | None:
        return self.lacks.get(proxy) or (SLOW if self.confirmed[proxy] < revision else None)

    def look(self, revision: int, now: float, document: Document[object] | None = None) -> str:
        """What is said: held, good, or why not."""
        self.document = document or self.document
        self.confirmations.begin(self.workloads, revision, {self.document.key: self.document})
        if self.confirmations.held(self.document, now):
            return "held"
        found: Unconfirmed | None = self.confirmations.of(self.document, now)
        return f"{found.reason}: {found.message}" if found is not None else "good"


def test_nothing_is_said_at_first_and_then_who_is_waited_for() -> None:
    script = Script(EDGE, OTHER)
    assert script.look(5, 0) == "held"
    assert script.look(6, 2) == "held"
    assert script.look(7, 4) == "Pending: edge.shop has not confirmed it yet"
    assert script.confirmations.awaited
    script.confirmed["edge.shop"] = 5
    assert script.look(8, 5) == "good", "the revision counts in which it came"
    assert not script.confirmations.awaited


def test_what_was_confirmed_stays_so_until_the_document_is_another() -> None:
    script = Script(EDGE)
    script.confirmed["edge.shop"] = 1
    assert script.look(1, 0) == "good"
    script.lacks["edge.shop"] = Lack("is not connected")
    assert script.look(2, 1) == "good", "other changes, and a proxy that starts anew, are not this Gateway's"
    [changed] = documents(GATEWAY)
    assert script.look(3, 2, changed) == "held"
    assert script.look(3, 6) == "Pending: edge.shop is not connected"


def test_nobody_confirms_nothing() -> None:
    """The mesh says that nobody serves it. A process that comes then has to confirm it, as has one that takes the place
    of all that did."""
    script = Script(EDGE)
    script.workloads = ()
    assert script.look(1, 0) == "good"
    script.workloads = (replace(EDGE, pod="first"),)
    script.lacks["edge.shop"] = Lack("is not connected")
    assert script.look(2, 5) == "Pending: edge.shop is not connected"
    script.lacks.clear()
    script.confirmed["edge.shop"] = 2
    assert script.look(3, 6) == "good"
    script.workloads = (replace(EDGE, pod="second"),)
    script.lacks["edge.shop"] = Lack("is not connected")
    assert script.look(4, 9) == "Pending: edge.shop is not connected"


def test_one_that_comes_beside_others_changes_nothing() -> None:
    script = Script(EDGE, replace(EDGE, name="edge-2"))
    script.workloads, both = (EDGE,), script.workloads
    assert script.look(0, 0) == "good"
    script.workloads = both
    script.lacks["edge-2.shop"] = Lack("is not connected")
    assert script.look(1, 5) == "good"
    script.workloads = both[1:]
    assert script.look(2, 6) == "Pending: edge-2.shop is not connected"


def test_a_refusal_counts_at_any_time() -> None:
    script = Script(EDGE)
    script.confirmed["edge.shop"] = 1
    assert script.look(1, 0) == "good"
    script.lacks["edge.shop"] = Lack("Listener 0.0.0.0:80: no", refused=True)
    assert script.look(1, 1) == "Invalid: edge.shop refuses it: Listener 0.0.0.0:80: no"
    script.lacks.clear()
    assert script.look(1, 5) == "good"


def test_only_so_many_are_named() -> None:
    many = tuple(replace(EDGE, name=f"edge-{number}") for number in range(5))
    script = Script(*many)
    script.look(1, 0)
    assert script.look(1, 4).endswith("; edge-2.shop has not confirmed it yet, and 2 more")


def test_addresses() -> None:
    [document] = documents(GATEWAY)
    binding = GatewayBinding("edge", "0.0.0.0")
    pod = replace(EDGE, gateway=binding, pod="uid", metrics=SocketAddress("10.0.0.7", 15020))
    host = replace(EDGE, gateway=binding, metrics=SocketAddress("127.0.0.1", 15020))
    confirmations = Confirmations(lambda *_: None)
    for workloads, found in (((EDGE,), ("127.0.0.1",)), ((pod,), ()), ((host,), ()), ((OTHER,), ())):
        confirmations.begin(workloads, 1, {})
        assert confirmations.addresses(document) == found
