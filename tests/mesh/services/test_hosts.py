"""Names: what a host in a document stands for, and which host covers which."""

from __future__ import annotations

import pytest

from weft.mesh.services.hosts import best_match, host_candidates
from weft.schema.hosts import covers, intersection, is_own_host

FULL = "web.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", (FULL,)),
        ("WEB.", (FULL,)),
        ("web.default", ("web.default", FULL)),
        ("web.default.svc", ("web.default.svc", FULL)),
        (FULL, (FULL,)),
        ("*.example", ("*.example",)),
        ("*", ("*",)),
        ("www.example.com", ("www.example.com",)),
        ("github.com", ("github.com",)),
        ("GitHub.IO", ("github.io",)),
        ("github.com.svc", ("github.com.svc", "github.com.svc.cluster.local")),
        ("com", ("com.default.svc.cluster.local",)),
        ("web.prod", ("web.prod", "web.prod.svc.cluster.local")),
        ("localhost", ("localhost",)),
        ("web.localhost", ("web.localhost",)),
    ],
)
def test_what_a_host_may_stand_for(host: str, expected: tuple[str, ...]) -> None:
    assert host_candidates(host, "default") == expected


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*", "a.b", True),
        ("", "*.b", True),
        ("a.b", "a.b", True),
        ("a.b", "*.b", False),
        ("*.b", "a.b", True),
        ("*.b", "x.a.b", True),
        ("*.b", "*.a.b", True),
        ("*.b", "*.b", True),
        ("*.a.b", "*.b", False),
        ("*.b", "b", False),
        ("*.b", "ab", False),
        ("*.b", "*", False),
    ],
)
def test_which_host_covers_which(pattern: str, host: str, covered: bool) -> None:
    assert covers(pattern, host) is covered


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("api.localhost", True),
        ("localhost.localdomain", True),
        ("localhost6.localdomain6", True),
        ("ip6-loopback", True),
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.0.0.0x1", True),
        ("169.254.43518", True),
        ("localhost.example.com", False),
        ("my-localhost", False),
        ("4localhost", False),
        ("a1.example.c0", False),
    ],
)
def test_which_names_are_the_own_host_of_whoever_looks_them_up(host: str, own: bool) -> None:
    assert is_own_host(host) is own


def test_the_most_specific_pattern_and_the_narrower_host() -> None:
    assert best_match(("*", "*.b", "*.a.b", "c.b"), "x.a.b") == "*.a.b"
    assert best_match(("*.b", "x.a.b"), "x.a.b") == "x.a.b"
    assert best_match(("*.c",), "x.a.b") is None
    assert [intersection("*.b", "a.b"), intersection("a.b", "*"), intersection("*.a", "*.b")] == ["a.b", "a.b", ""]
