"""Users of a cluster who were let in: until when, as what proved them says."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import TestAuthority
from weft.admin.people.access import Role
from weft.admin.people.cluster_users import ClusterUsers
from weft.sources.kubernetes.access import Access, Credentials
from weft.sources.kubernetes.user_reviews import UserReviews
from weft.sources.kubernetes.users import Right, User

HOUR = 3600.0


class Willing(UserReviews):
    """An API server that takes every token, and gives every right."""

    def __init__(self) -> None:
        super().__init__("test", Credentials(lambda: Access("test", "https://127.0.0.1:1")))

    async def user_of(self, token: str) -> User:
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
