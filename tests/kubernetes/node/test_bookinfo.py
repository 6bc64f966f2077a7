"""The book-information application in a cluster, as Istio's tutorial has it: called from outside, through gateways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tools.kubernetes_node import NodeCluster
from tools.packages.payload import ROOT

from support.mesh import until
from support.pod_apps import make_room, namespace_of
from support.visitors import Answer, balance, visit

BOOKINFO = "bookinfo"
EXAMPLES = ROOT / "examples"
OWN = EXAMPLES / "kubernetes" / "bookinfo"
SUBSETS = ROOT / "src" / "weft" / "bookinfo" / "documents" / "subsets.yaml"
GATEWAY, ISTIO = "198.18.0.100", "198.18.0.101"
"""Addresses that a load balancer would give to the two gateways."""


@pytest.fixture(scope="module")
def bookinfo(weft_node: NodeCluster) -> Iterator[NodeCluster]:
    """Everything that is not a task: the application, its subsets, a Service for each version, and both gateways."""
    node = weft_node
    node.kubectl("apply", "-f", "-", given=namespace_of(BOOKINFO, **{"istio-injection": "enabled"}))
    own = (OWN / name for name in ("bookinfo.yaml", "versions.yaml", "gateway.yaml", "istio-gateway.yaml"))
    for path in (*own, SUBSETS):
        node.kubectl("apply", "-n", BOOKINFO, "-f", str(path))
    node.kubectl("wait", "-n", BOOKINFO, "--for=condition=Available", "deployment", "--all", "--timeout=240s")
    for name, address in (("bookinfo-gateway", GATEWAY), ("istio-ingressgateway", ISTIO)):
        balance(node, BOOKINFO, f"{name}-weft", address)
        programmed = ("--for=condition=Programmed", f"gateways.gateway.networking.k8s.io/{name}", "--timeout=180s")
        node.kubectl("wait", "-n", BOOKINFO, *programmed)
    yield node
    make_room(node, BOOKINFO)


@contextmanager
def applied(node: NodeCluster, *paths: Path) -> Iterator[None]:
    """Documents of a task, while it lasts."""
    given = [word for path in paths for word in ("-f", str(path))]
    node.kubectl("apply", "-n", BOOKINFO, *given)
    try:
        yield
    finally:
        node.kubectl("delete", "-n", BOOKINFO, *given)


def pages(node: NodeCluster, count: int = 6, user: str = "", at: str = f"http://{GATEWAY}") -> list[Answer]:
    return visit(node, f"{at}/productpage", count, {"cookie": f"user={user}"} if user else {})


def versions(node: NodeCluster, count: int = 6, user: str = "", at: str = f"http://{GATEWAY}") -> Counter[str]:
    """From which versions of reviews pages came; AssertionError if one did not."""
    found = pages(node, count, user, at)
    assert {each.status for each in found} == {200}, found[:2]
    return Counter(match for each in found for match in re.findall(r'data-version="(v\d)"', each.body))


def test_every_version_is_seen_through_either_gateway(bookinfo: NodeCluster) -> None:
    for at in (f"http://{GATEWAY}", f"http://{ISTIO}:8080"):
        until(f"three versions at {at}", partial(_all_versions, bookinfo, at))
        (elsewhere,) = visit(bookinfo, f"{at}/elsewhere")
        assert elsewhere.status == 404


def _all_versions(node: NodeCluster, at: str) -> bool:
    return set(versions(node, 12, at=at)) == {"v1", "v2", "v3"}


def test_everybody_gets_version_1(bookinfo: NodeCluster) -> None:
    with applied(bookinfo, OWN / "all-v1.yaml"):
        until("only v1", lambda: versions(bookinfo) == {"v1": 6})
        assert versions(bookinfo, 12) == {"v1": 12}


def test_one_user_gets_another_version(bookinfo: NodeCluster) -> None:
    with applied(bookinfo, EXAMPLES / "reviews-jason-v2.yaml"):
        until("jason gets v2", lambda: versions(bookinfo, user="jason") == {"v2": 6})
        assert versions(bookinfo) == {"v1": 6}


def test_traffic_is_shifted_by_weight(bookinfo: NodeCluster) -> None:
    with applied(bookinfo, EXAMPLES / "split-reviews-90-10.yaml"):
        until("no v2", lambda: "v2" not in versions(bookinfo, 20))
        found = versions(bookinfo, 100)
        assert 75 <= found["v1"] <= 99, found
        assert found["v1"] + found["v3"] == 100
        bookinfo.kubectl("apply", "-n", BOOKINFO, "-f", str(EXAMPLES / "shift-reviews-v3.yaml"))
        until("only v3", lambda: versions(bookinfo) == {"v3": 6})


def test_the_same_in_words_of_the_gateway_api(bookinfo: NodeCluster) -> None:
    with applied(bookinfo, OWN / "httproute-jason.yaml"):
        until("jason gets v2", lambda: versions(bookinfo, user="jason") == {"v2": 6})
        found = versions(bookinfo, 60)
        assert set(found) <= {"v1", "v3"}
        assert found["v1"] > 30, found


def test_what_the_guides_of_the_gateway_api_show(bookinfo: NodeCluster) -> None:
    def get(path: str, count: int = 1, **headers: str) -> list[Answer]:
        return visit(bookinfo, f"http://{GATEWAY}{path}", count, {"host": "guides.example", **headers})

    def answered(path: str, count: int = 1, **headers: str) -> Counter[str]:
        found = get(path, count, **headers)
        assert {each.status for each in found} == {200}, found[0]
        return Counter(each.headers["x-reviews-version"] for each in found)

    with applied(bookinfo, OWN / "guides.yaml"):
        until("the route is in force", lambda: answered("/reviews/0") == {"v1": 1})
        (plain,) = get("/reviews/0")
        assert plain.headers["x-guide"] == "headers"
        (moved,) = get("/moved")
        assert (moved.status, moved.headers["location"]) == (301, "http://guides.example/reviews/0")
        assert answered("/old/reviews/0") == {"v2": 1}
        assert answered("/reviews/0", env="canary") == {"v3": 1}
        shares = answered("/split/reviews/0", 60)
        assert set(shares) == {"v1", "v3"}
        assert shares["v1"] > shares["v3"], shares


def test_metrics_call_pods_by_their_deployments(bookinfo: NodeCluster) -> None:
    about = ("-n", BOOKINFO, "-l", "app=productpage", "-o", "jsonpath={.items[0].status.podIP}")
    address = bookinfo.kubectl("get", "pods", *about)

    def told() -> bool:
        pages(bookinfo, 3)
        (metrics,) = visit(bookinfo, f"http://{address}:15020/metrics")
        wanted = ('source_workload="bookinfo-gateway-weft"', 'destination_workload="reviews-v1"')
        return all(each in metrics.body for each in wanted)

    until("both sides are told", told)


def test_a_fault_is_what_one_user_sees(bookinfo: NodeCluster) -> None:
    """The delay is longer than reviews may take, the abort is told where the stars would be."""
    with applied(bookinfo, EXAMPLES / "reviews-jason-v2.yaml", EXAMPLES / "ratings-abort.yaml"):
        told = "Ratings service is currently unavailable"
        until("jason sees no stars", lambda: told in pages(bookinfo, 1, "jason")[0].body)
        assert told not in pages(bookinfo, 1)[0].body
    with applied(bookinfo, EXAMPLES / "reviews-jason-v2.yaml", EXAMPLES / "ratings-delay-jason.yaml"):
        told = "product reviews are currently unavailable"
        until("jason waits in vain", lambda: told in pages(bookinfo, 1, "jason")[0].body)
        assert told not in pages(bookinfo, 1)[0].body


def test_a_time_limit_ends_what_a_delay_holds_up(bookinfo: NodeCluster) -> None:
    with applied(bookinfo, EXAMPLES / "reviews-timeout-retries.yaml", EXAMPLES / "ratings-delay.yaml"):
        told = "product reviews are currently unavailable"
        until("reviews are too late", lambda: told in pages(bookinfo, 1)[0].body)


def test_only_who_should_calls_and_only_to_read(bookinfo: NodeCluster) -> None:
    def status(method: str) -> int:
        return visit(bookinfo, f"http://{GATEWAY}/productpage", method=method)[0].status

    with applied(bookinfo, OWN / "authorization.yaml"):
        until("nothing may be posted", lambda: status("POST") == 403)
        until("pages are whole", lambda: set(versions(bookinfo, 12)) == {"v1", "v2", "v3"})
        until("whole in each part", lambda: all("unavailable" not in each.body for each in pages(bookinfo, 12)))
        bookinfo.kubectl("delete", "-n", BOOKINFO, "authorizationpolicies.security.istio.io", "ratings-viewer")
        told = "Ratings service is currently unavailable"
        until("nobody may ask for ratings", lambda: any(told in each.body for each in pages(bookinfo)))
        bookinfo.kubectl("apply", "-n", BOOKINFO, "-f", str(OWN / "authorization.yaml"))
        until("they may again", lambda: all(told not in each.body for each in pages(bookinfo, 12)))
