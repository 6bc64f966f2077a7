"""Users of a cluster who were let in: until when, as what proved them says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import TestAuthority
from weft.admin.people.access import Role
from weft.admin.people.cluster_users import ClusterUsers
from weft.admin.replies import Refused
from weft.sources.kubernetes.access import Access, Credentials
from weft.sources.kubernetes.user_reviews import UserReviews
from weft.sources.kubernetes.users import Right, User

HOUR = 3600.0


class Willing(UserReviews):
    """An API server that takes every token, and gives every right."""

    def __init__(self) -> None:
        super().__init__("test", Credentials(lambda: Access("test", "https://127.0.0.1:1")))

    async def user_of(self, token: str, may_ask: Callable[[], bool] = lambda: True) -> User:
        return User("alice")

    async def may(self, user: User, right: Right) -> bool:
        return True

    def stands(self, user: User, right: Right) -> bool:
        return True


def token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("shown", "lasts"),
    [
        (token({"exp": 1000.0 + 600}), 600.0),
        (token({"exp": 1000.0 + 20 * HOUR}), 20 * HOUR),
        (token({"sub": "alice"}), HOUR),
        (token({"exp": "never"}), HOUR),
        (token({"exp": 10**300}), HOUR),
        (token([]), HOUR),
        ("a.ü.c", HOUR),
        ("of-somebody", HOUR),
    ],
)
async def test_who_was_let_in_by_a_token_is_until_it_ends(shown: str, lasts: float) -> None:
    now = 1000.0
    users = ClusterUsers(Willing(), lambda: now)
    found = await users.of_token(shown)
    assert [one.role for one in found.grants] == [Role.ADMIN]
    now += lasts - 1
    assert users.knows(found)
    again = await users.renewed(found)
    assert again == found
    now += 1
    assert not users.knows(found)
    assert await users.renewed(found) is None


async def test_who_was_let_in_by_a_certificate_is_until_it_ends() -> None:
    leaf = x509.load_pem_x509_certificate(TestAuthority().issue(dns=("a",), subject="CN=alice", life=HOUR).chain)
    ends = leaf.not_valid_after_utc.timestamp()
    now = ends - 1
    users = ClusterUsers(Willing(), lambda: now)
    found = await users.of_certificate(leaf.public_bytes(Encoding.DER))
    assert found is not None
    assert users.knows(found)
    now = ends
    assert not users.knows(found)
    assert await users.renewed(found) is None


async def test_the_api_server_is_asked_at_a_pace_about_what_one_address_shows() -> None:
    """It is not running here: whoever asks it is told so."""
    now = 1000.0
    reviews = UserReviews("test", Credentials(lambda: Access("test", "https://127.0.0.1:1")))
    users = ClusterUsers(reviews, steady=lambda: now)

    async def why(number: int, address: str) -> str:
        with pytest.raises(Refused) as refused:
            await users.of_token(f"wrong-{number}", address)
        assert (refused.value.status, refused.value.code) == (503, "kubernetes-unavailable")
        return str(refused.value)

    asked = ["only starting" in await why(number, "10.0.0.7") for number in range(40)]
    assert asked == [True] * 30 + [False] * 10
    assert "too many tokens are shown from where you are" in await why(40, "10.0.0.7")
    assert "only starting" in await why(41, "10.0.0.8")
    now += 1.0
    assert "only starting" in await why(42, "10.0.0.7")
    for number in range(100):
        assert "only starting" in await why(number, "127.0.0.1")
