"""The mesh for tests, and the examples on it: the demo's mesh without the demo."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.local.client import RefusedError
from weft.testing import MeshDidNotStartError, RunningMesh, running_mesh, until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENTS = ROOT / "src" / "weft" / "bookinfo" / "documents"


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    with running_mesh(EXAMPLES / "shop" / "weft.yaml") as mesh:
        yield mesh


def fetch(url: str) -> tuple[int, str]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_the_shop_answers_through_its_gateway(mesh: RunningMesh) -> None:
    assert fetch(f"http://{mesh.gateway('shop')}/") == (200, "welcome, we have: three books and a lamp\n\n")


def test_a_change_is_in_force_when_apply_returns(mesh: RunningMesh) -> None:
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "direct"},
        "spec": {
            "parentRefs": [{"name": "shop"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/catalog"}}],
                    "backendRefs": [{"name": "catalog", "port": 80}],
                }
            ],
        },
    }
    url = f"http://{mesh.gateway('shop')}/catalog"
    mesh.apply(json.dumps(route))
    assert fetch(url)[1] == "three books and a lamp\n"
    mesh.delete("HTTPRoute", "direct")
    assert fetch(url)[1].startswith("welcome")


def test_what_comes_from_a_followed_file_is_not_applied(mesh: RunningMesh) -> None:
    with pytest.raises(RefusedError) as caught:
        mesh.apply((EXAMPLES / "shop/documents/shop.yaml").read_text())
    assert caught.value.problems[0]["code"] == "owned-by-file"


def test_a_mesh_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "weft.yaml").write_text("workloads: [{name: a, command: [no-such-program-here]}]\n")
    with pytest.raises(MeshDidNotStartError, match="no such program"), running_mesh(tmp_path / "weft.yaml"):
        raise AssertionError("it started")


@pytest.fixture(scope="module")
def bookinfo() -> Iterator[RunningMesh]:
    with running_mesh(ROOT / "src/weft/bookinfo/weft.yaml") as mesh:
        yield mesh


Page = Callable[..., str]


@pytest.fixture
def page(bookinfo: RunningMesh) -> Page:
    def fetch_page(user: str = "") -> str:
        request = urllib.request.Request(f"http://{bookinfo.gateway('bookinfo-gateway')}/productpage")
        if user:
            request.add_header("cookie", f"user={user}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    return fetch_page


@pytest.fixture
def example(bookinfo: RunningMesh) -> Iterator[Callable[[str], None]]:
    keys: list[dict[str, str]] = []
    changed: list[dict[str, str]] = []

    def apply(name: str) -> None:
        answer = bookinfo.apply((EXAMPLES / name).read_text(), source=name)
        assert not answer["problems"]
        for one in answer["documents"]:
            (keys if one["change"] == "created" else changed).append(one["key"])

    yield apply
    for key in keys:
        bookinfo.delete(key["kind"], key["name"], namespace=key["namespace"])
    if changed:
        bookinfo.apply((DOCUMENTS / "subsets.yaml").read_text())


def versions(page: Page, count: int, user: str = "") -> list[str]:
    return [found for _ in range(count) for found in re.findall(r"<b>reviews-(v\d)</b>", page(user))]


def test_shift(example: Callable[[str], None], page: Page) -> None:
    example("shift-reviews-v3.yaml")
    assert versions(page, 10) == ["v3"] * 10


@pytest.mark.parametrize("name", ["split-reviews-90-10.yaml", "httproute-reviews.yaml"])
def test_split(example: Callable[[str], None], page: Page, name: str) -> None:
    example(name)
    found = versions(page, 100)
    assert set(found) <= {"v1", "v3"}
    assert found.count("v1") >= 75


@pytest.mark.parametrize("name", ["reviews-jason-v2.yaml", "httproute-reviews.yaml"])
def test_one_user_gets_another_version(example: Callable[[str], None], page: Page, name: str) -> None:
    example(name)
    assert versions(page, 5, "jason") == ["v2"] * 5
    assert "v2" not in versions(page, 5, "anna")


def test_ratings_fail_for_one_user(example: Callable[[str], None], page: Page) -> None:
    example("shift-reviews-v3.yaml")
    example("ratings-abort.yaml")
    until("jason has none", lambda: "Ratings service is currently unavailable" in page("jason"))
    until("anna has them", lambda: "stars red" in page("anna"))


def test_a_long_delay_takes_the_reviews_from_one_user(example: Callable[[str], None], page: Page) -> None:
    example("ratings-delay-jason.yaml")
    example("reviews-jason-v2.yaml")
    assert "product reviews are currently unavailable" in page("jason")
    assert versions(page, 1, "anna") == ["v1"]


def test_a_deadline_on_ratings(example: Callable[[str], None], page: Page) -> None:
    example("shift-reviews-v3.yaml")
    example("httproute-timeout.yaml")
    until("ratings come in time", lambda: "stars red" in page())


@pytest.mark.parametrize(
    "name", ["reviews-timeout-retries.yaml", "reviews-mirror.yaml", "circuit-breaker.yaml", "meshconfig.yaml"]
)
def test_the_page_is_whole_with(example: Callable[[str], None], page: Page, name: str) -> None:
    example(name)
    until("each page has its reviews in time", lambda: len(versions(page, 5)) == 5)


def test_more_paths_at_the_gateway(example: Callable[[str], None], bookinfo: RunningMesh) -> None:
    example("httproute-gateway.yaml")
    gateway = f"http://{bookinfo.gateway('bookinfo-gateway')}"
    assert "The Comedy of Errors" in fetch(f"{gateway}/")[1]
    assert json.loads(fetch(f"{gateway}/ratings")[1])["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}


def test_permissive_ratings_take_plaintext(example: Callable[[str], None], bookinfo: RunningMesh) -> None:
    inbound = next(one["inbound"] for one in bookinfo.facts["workloads"] if one["name"] == "ratings-v1")
    with pytest.raises(OSError):
        fetch(f"http://{inbound}/ratings/0")
    example("peerauthentication-permissive.yaml")
    assert json.loads(until("plaintext is let in", lambda: fetch(f"http://{inbound}/ratings/0")[1]))["id"] == 0
