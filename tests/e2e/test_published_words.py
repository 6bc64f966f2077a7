"""Documents as they are published for the book-information application apply unchanged and are seen in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import weft.bookinfo
from support.http import Answer, Client
from weft.local.client import RefusedError
from weft.testing.mesh import RunningMesh, running_mesh

ISTIO = "apiVersion: networking.istio.io/v1alpha3\n"
ROUTES = "apiVersion: gateway.networking.k8s.io/v1\n"


@pytest.fixture(scope="module")
def bookinfo() -> Iterator[RunningMesh]:
    with running_mesh(Path(weft.bookinfo.__file__).parent / "weft.yaml") as mesh:
        yield mesh


def page(mesh: RunningMesh, user: str = "") -> Answer:
    return Client()(
        f"http://{mesh.gateway('bookinfo-gateway')}/productpage", headers={"cookie": f"user={user}"} if user else {}
    )


def versions(mesh: RunningMesh, user: str = "", count: int = 9) -> set[str]:
    """The versions of reviews that pages came from."""
    return {found for _ in range(count) for found in re.findall(r"reviews-v[123]", page(mesh, user).body.decode())}


def virtual_service(name: str, rules: str) -> str:
    return (
        f"{ISTIO}kind: VirtualService\nmetadata:\n  name: {name}\nspec:\n  hosts:\n    - {name}\n  http:\n{rules}---\n"
    )


def to(host: str, subset: str) -> str:
    return f"    - destination:\n        host: {host}\n        subset: {subset}\n"


def only_jason(host: str, subset: str, otherwise: str, more: str = "") -> str:
    match = f"  - match:\n    - headers:\n        end-user:\n          exact: jason\n{more}"
    return f"{match}    route:\n{to(host, subset)}  - route:\n{to(host, otherwise)}"


def test_one_user_gets_another_version_and_a_fault(bookinfo: RunningMesh) -> None:
    everybody = "".join(
        virtual_service(name, f"  - route:\n{to(name, 'v1')}")
        for name in ("productpage", "reviews", "ratings", "details")
    )
    bookinfo.apply(everybody)
    assert versions(bookinfo) == {"reviews-v1"}
    bookinfo.apply(virtual_service("reviews", only_jason("reviews", "v2", "v1")))
    assert (versions(bookinfo), versions(bookinfo, "jason")) == ({"reviews-v1"}, {"reviews-v2"})
    fault = "    fault:\n      abort:\n        percent: 100\n        httpStatus: 500\n"
    answer = bookinfo.apply(virtual_service("ratings", only_jason("ratings", "v1", "v1", fault)))
    assert [problem["code"] for problem in answer["problems"]] == ["deprecated-field"]
    assert "Ratings service is currently unavailable" in page(bookinfo, "jason").body.decode()
    for name in ("productpage", "reviews", "ratings", "details"):
        bookinfo.delete("VirtualService", name)
    assert versions(bookinfo, count=40) == {"reviews-v1", "reviews-v2", "reviews-v3"}


def test_a_share_of_the_pages_moves_to_another_version(bookinfo: RunningMesh) -> None:
    """Istio's task "Traffic shifting"."""
    both = f"{to('reviews', 'v1')}      weight: 50\n{to('reviews', 'v3')}      weight: 50\n"
    bookinfo.apply(virtual_service("reviews", f"  - route:\n{both}"))
    found = [each for _ in range(60) for each in re.findall("reviews-v[123]", page(bookinfo).body.decode())]
    assert set(found) == {"reviews-v1", "reviews-v3"}
    assert 10 <= found.count("reviews-v1") <= 50
    bookinfo.apply(virtual_service("reviews", f"  - route:\n{to('reviews', 'v3')}      weight: 100\n"))
    assert versions(bookinfo) == {"reviews-v3"}
    bookinfo.delete("VirtualService", "reviews")


def test_a_time_limit_ends_what_a_delay_holds_up(bookinfo: RunningMesh) -> None:
    """Istio's task "Request timeouts"."""
    delay = "  - fault:\n      delay:\n        percentage:\n          value: 100\n        fixedDelay: 1s\n    route:\n"
    v2 = f"  - route:\n{to('reviews', 'v2')}"
    bookinfo.apply(virtual_service("reviews", v2) + virtual_service("ratings", delay + to("ratings", "v1")))
    waited = page(bookinfo)
    assert waited.seconds > 0.9
    assert "reviews-v2" in waited.body.decode()
    bookinfo.apply(virtual_service("reviews", f"{v2}    timeout: 0.5s\n"))
    assert "product reviews are currently unavailable" in page(bookinfo).body.decode()
    for name in ("reviews", "ratings"):
        bookinfo.delete("VirtualService", name)


def test_one_user_waits_longer_than_the_application_does(bookinfo: RunningMesh) -> None:
    """Istio's task "Fault injection": the delay is longer than the page waits for reviews, and finds that mistake."""
    fault = "    fault:\n      delay:\n        percentage:\n          value: 100.0\n        fixedDelay: 7s\n"
    bookinfo.apply(
        virtual_service("reviews", only_jason("reviews", "v2", "v1"))
        + virtual_service("ratings", only_jason("ratings", "v1", "v1", fault))
    )
    answer = page(bookinfo, "jason")
    assert "product reviews are currently unavailable" in answer.body.decode()
    assert answer.seconds > 5
    assert "reviews-v1" in page(bookinfo).body.decode()
    for name in ("reviews", "ratings"):
        bookinfo.delete("VirtualService", name)


def test_services_by_version_and_routes_between_them(bookinfo: RunningMesh) -> None:
    services = "".join(
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: reviews-{version}\nspec:\n  ports:\n  - port: 9080\n"
        f"    name: http\n  selector:\n    app: reviews\n    version: {version}\n---\n"
        for version in ("v1", "v2", "v3")
    )
    route = (
        f'{ROUTES}kind: HTTPRoute\nmetadata:\n  name: reviews\nspec:\n  parentRefs:\n  - group: ""\n    kind: Service\n'
        "    name: reviews\n    port: 9080\n  rules:\n  - backendRefs:\n    - name: reviews-v3\n      port: 9080\n"
    )
    bookinfo.apply(services + route)
    assert versions(bookinfo) == {"reviews-v3"}
    bookinfo.delete("HTTPRoute", "reviews")


def test_rules_for_every_destination_and_for_a_cookie(bookinfo: RunningMesh) -> None:
    bookinfo.apply(
        f'{ISTIO}kind: DestinationRule\nmetadata: {{name: all, namespace: istio-system}}\nspec:\n  host: "*.local"\n'
        "  trafficPolicy:\n    tls:\n      mode: ISTIO_MUTUAL\n---\n"
        f"{ISTIO}kind: DestinationRule\nmetadata: {{name: details}}\nspec:\n  host: details\n  trafficPolicy:\n"
        "    loadBalancer:\n      consistentHash:\n        minimumRingSize: 1024\n        httpCookie: {name: user}\n"
    )
    assert "Shakespeare" in page(bookinfo, "jason").body.decode()
    assert "Shakespeare" in page(bookinfo).body.decode()


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: g}\nspec: {selector: {}}\n",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: n}\nspec: {podSelector: {}}\n",
    ],
)
def test_other_kinds_are_refused_by_name(bookinfo: RunningMesh, text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        bookinfo.apply(text)
    kind = re.findall("kind: (\\w+)", text)[0]
    assert str(refused.value.problems[0]["message"]).startswith(f"{kind} ")
    assert refused.value.problems[0]["line"] == 2
