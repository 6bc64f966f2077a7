"""What a statistic's key says about where a request was for."""

from __future__ import annotations

import json

import pytest

from weft.agent.deltas import Deltas
from weft.agent.series import parse_reading

RATINGS = "ratings.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (f"200;-;;;;Service default/ratings;;outbound|9080|v1|{RATINGS}", (RATINGS, 9080, "v1")),
        (f"503;FI;;;;VirtualService default/ratings;{RATINGS}|9080;", (RATINGS, 9080, "")),
        ("503;NC;;;;Service default/ratings;;", (RATINGS, 0, "")),
        ("503;NC;;;;HTTPRoute default/ratings;;", ("", 0, "")),
    ],
)
def test_the_service_of_a_request_is_known_also_without_a_cluster(key: str, expected: tuple[str, int, str]) -> None:
    details = [{"name": f"weft.outbound.duration.key.{key}", "totals": [{"lower_bound": 1, "width": 0, "count": 2}]}]
    [found] = parse_reading(json.dumps({"stats": [{"histograms": {"details": details}}]}).encode()).series
    assert (found.key.service, found.key.port, found.key.subset) == expected
    assert found.count == 2


def test_peers_of_another_trust_domain_are_not_taken_for_ours() -> None:
    """Ours is a Pod that was revoked once, and restored."""

    def named(domain: str, count: int, trust: str = "") -> dict[str, object]:
        key = f"200;-;;spiffe://{domain}/ns/default/sa/client;{trust}O=client,CN=client-v1.default;;{RATINGS};"
        totals = [{"lower_bound": 1, "width": 0.1, "count": count}]
        return {"name": f"weft.inbound.duration.key.{key}", "totals": totals}

    details = [
        named("a.test", 2, "title=client,UID=5f0d3a1c-0b1e,serialNumber=7.0,"),
        named("b.test", 3),
        named("c.test", 4),
    ]
    body = json.dumps({"stats": [{"histograms": {"details": details}}]}).encode()
    found = {one.key.peer: one.count for one in parse_reading(body, "a.test").series}
    assert {peer.principal: (peer.workload, peer.owner, count) for peer, count in found.items() if peer} == {
        "spiffe://a.test/ns/default/sa/client": ("client-v1", "client", 2),
        "spiffe://b.test/ns/default/sa/client": ("", "", 3),
        "spiffe://c.test/ns/default/sa/client": ("", "", 4),
    }
    assert all(one.key.mtls for one in parse_reading(body, "a.test").series)
    edges = Deltas().since_last("1", parse_reading(body, "a.test")).edges
    assert sorted((key[4], count.requests) for key, count in edges.items()) == [("", 7), ("default/client-v1", 2)]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (f"inbound|9080|{RATINGS}|80", (RATINGS, 80, "")),
        ("inbound|9080||9080", ("", 9080, "")),
        ("-", ("", 0, "")),
        (f"{RATINGS}|80", (RATINGS, 80, "")),
    ],
    ids=["by the route's name", "of no service", "no route", "as former proxies say it"],
)
def test_the_service_of_a_request_before_an_application_is_known_by_its_route(
    route: str, expected: tuple[str, int, str]
) -> None:
    details = [
        {
            "name": f"weft.inbound.duration.key.200;-;;;;;{route};",
            "totals": [{"lower_bound": 1, "width": 0, "count": 2}],
        }
    ]
    [found] = parse_reading(json.dumps({"stats": [{"histograms": {"details": details}}]}).encode()).series
    assert (found.key.service, found.key.port, found.key.subset) == expected
    assert found.key.reporter == "destination"
