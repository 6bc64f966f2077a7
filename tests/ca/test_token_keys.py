"""The keys that sign tokens: how long each is used and known, and what stands in a token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jwt
import pytest

from weft.ca.authority import open_authority
from weft.ca.token_check import check_token
from weft.ca.token_keys import KEY_LIFE, PUBLISHED_BEFORE, TOKEN_LIFE, AudienceError, TokenKeys
from weft.model.bundles import bundle_from_json, bundle_to_json
from weft.model.identity import SpiffeId

NOW = 1_800_000_000.0
REVIEWS = SpiffeId("cluster.local", "default", "reviews")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_token_says_who_for_whom_and_until_when(tmp_path: Path) -> None:
    answer = TokenKeys(tmp_path, "cluster.local", Clock()).sign(REVIEWS, ("a", "b", "a"), 3600)
    claims = jwt.decode(answer.token, options={"verify_signature": False})
    assert claims == {
        "iss": "spiffe://cluster.local",
        "sub": "spiffe://cluster.local/ns/default/sa/reviews",
        "aud": ["a", "b"],
        "iat": NOW,
        "exp": NOW + TOKEN_LIFE,
    }
    assert answer.expires == NOW + TOKEN_LIFE
    assert jwt.get_unverified_header(answer.token)["alg"] == "ES256"


@pytest.mark.parametrize("audiences", [(), ("",), ("a",) * 9, ("x" * 256,), ("a\nb",)])
def test_no_token_for_odd_audiences(audiences: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(AudienceError):
        TokenKeys(tmp_path, "cluster.local", Clock()).sign(REVIEWS, audiences)


def test_every_token_can_be_checked_by_keys_that_were_read_an_hour_before(tmp_path: Path) -> None:
    clock = Clock()
    keys = TokenKeys(tmp_path, "cluster.local", clock)
    read = [(clock.now, keys.published())]
    used = set()
    for _ in range(6 * 24 * 3):
        clock.now += 600.0
        keys.rotate()
        read.append((clock.now, keys.published()))
        known = next(found for at, found in reversed(read) if at <= clock.now - PUBLISHED_BEFORE + 600 or at == NOW)
        answer = keys.sign(REVIEWS, ("a",))
        used.add(jwt.get_unverified_header(answer.token)["kid"])
        assert check_token(answer.token, "a", {"cluster.local": known}, clock.now).subject == str(REVIEWS)
        assert len(keys.published()) <= 2
    assert len(used) == 4


def test_the_last_token_of_a_key_outlives_no_key(tmp_path: Path) -> None:
    clock = Clock()
    keys = TokenKeys(tmp_path, "cluster.local", clock)
    clock.now += KEY_LIFE - 1
    keys.rotate()
    answer = keys.sign(REVIEWS, ("a",))
    clock.now = answer.expires - 1
    keys.rotate()
    assert check_token(answer.token, "a", {"cluster.local": keys.published()}, clock.now)


def test_keys_are_kept_private_and_go_on_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    before = TokenKeys(tmp_path, "cluster.local", clock)
    path = tmp_path / "token-keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TokenKeys(tmp_path, "cluster.local", clock).published() == before.published()
    assert "PRIVATE" not in repr(before.__dict__)
    path.write_text("{")
    assert TokenKeys(tmp_path, "cluster.local", clock).published() != before.published()


def test_after_a_long_absence_a_new_key_signs_at_once(tmp_path: Path) -> None:
    clock = Clock()
    old = TokenKeys(tmp_path, "cluster.local", clock).published()
    clock.now += 10 * KEY_LIFE
    keys = TokenKeys(tmp_path, "cluster.local", clock)
    assert jwt.get_unverified_header(keys.sign(REVIEWS, ("a",)).token)["kid"] != old[0].kid
    assert check_token(keys.sign(REVIEWS, ("a",)).token, "a", {"cluster.local": keys.published()}, clock.now)


def test_the_bundle_is_numbered_by_its_changes(tmp_path: Path) -> None:
    clock = Clock()
    first, second = (open_authority(tmp_path / name).bundle for name in ("a", "b"))
    keys = TokenKeys(tmp_path, "cluster.local", clock)
    assert [keys.bundle(first).sequence, keys.bundle(first).sequence] == [1, 1]
    assert keys.bundle(first + second).sequence == 2
    assert TokenKeys(tmp_path, "cluster.local", clock).bundle(first + second).sequence == 2
    clock.now += KEY_LIFE
    keys.rotate()
    bundle = keys.bundle(first + second)
    assert bundle.sequence == 3
    text = bundle_to_json(bundle)
    assert bundle_from_json("cluster.local", text) == bundle
    assert {key["use"] for key in json.loads(text)["keys"]} == {"x509-svid", "jwt-svid"}
    assert '"d"' not in text
