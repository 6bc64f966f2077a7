"""Vault as the authority above: how it is asked, and what happens when it does not answer or says something else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from support.vault import SmallVault, real_vault, small_vault
from weft.ca.authority import Authority, open_authority
from weft.ca.certificates import build_request, new_key
from weft.ca.protocol import AuthorityError, AuthorityUnavailableError
from weft.ca.rotation import Phase, Rotation
from weft.ca.upstream import first_from, signed_generation
from weft.ca.vault import Vault, VaultSettings, read_vault
from weft.controlplane.upstream import UpstreamKeeper
from weft.model.problem import Severity

DOMAIN = "cluster.local"
LIFE = 30 * 86400.0


@pytest.fixture
async def server() -> AsyncIterator[SmallVault]:
    async with small_vault() as vault:
        yield vault


async def test_it_is_asked_for_exactly_what_weft_needs(server: SmallVault, tmp_path: Path) -> None:
    vault = read_vault(server.settings(tmp_path, namespace="team-a"), DOMAIN)
    generation = await signed_generation(vault, DOMAIN, LIFE, time.time)
    assert generation.root_key is None
    [(path, headers, body)] = server.calls
    assert path == "/v1/pki/root/sign-intermediate"
    assert (headers["X-Vault-Token"], headers["X-Vault-Namespace"]) == (server.root, "team-a")
    assert body["uri_sans"] == "spiffe://cluster.local"
    assert (body["max_path_length"], body["ttl"]) == (0, "2592000s")
    assert "PRIVATE" not in str(body)


async def test_an_approle_logs_in_each_time(server: SmallVault, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the-secret\n")
    secret.chmod(0o600)
    path = server.settings(tmp_path, token_file=None, role_id="weft", secret_id_file="secret")
    vault = read_vault(path, DOMAIN)
    await vault.sign(await _request(), LIFE)
    assert [call[0] for call in server.calls] == ["/v1/auth/approle/login", "/v1/pki/root/sign-intermediate"]
    secret.write_text("another")
    with pytest.raises(AuthorityError, match="refused auth/approle/login with 400: invalid role"):
        await vault.sign(await _request(), LIFE)


async def test_a_real_vault_takes_an_approle_that_may_sign_and_nothing_else(tmp_path: Path) -> None:
    async with real_vault(tmp_path) as server:
        role, secret = await server.approle()
        (tmp_path / "secret").write_text(secret)
        (tmp_path / "secret").chmod(0o600)
        path = server.settings(tmp_path, token_file=None, role_id=role, secret_id_file="secret")
        vault = read_vault(path, DOMAIN)
        await first_from(vault, tmp_path / "ca", DOMAIN, LIFE)
        authority = open_authority(tmp_path / "ca")
        assert authority.bundle == await vault.roots()
        (tmp_path / "secret").write_text("00000000-0000-0000-0000-000000000000")
        with pytest.raises(AuthorityError, match=r"refused auth/approle/login with .*invalid secret id"):
            await vault.sign(await _request(), LIFE)
        await server.call("POST", "sys/seal")
        with pytest.raises(AuthorityUnavailableError, match="with 503"):
            await vault.roots()


def _json(status: int, body: object = None) -> Callable[[web.Request], web.Response]:
    return lambda _: web.json_response(body, status=status)


@pytest.mark.parametrize(
    ("answer", "later", "words"),
    [
        (_json(503, {"errors": ["Vault is sealed"]}), True, "with 503: Vault is sealed"),
        (_json(429), True, "with 429"),
        (_json(403, {"errors": ["permission denied"]}), False, "with 403: permission denied"),
        (_json(400, {"errors": ["\x1b[31mred"]}), False, r"\\x1b\[31mred"),
        (lambda _: web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"}), False, "not followed"),
        (_json(200, {"data": {}}), False, "no certificate"),
        (_json(200, {"data": {"certificate": "x", "issuing_ca": "y"}}), False, "cannot be read"),
        (_json(200, {"data": {"certificate": "x", "ca_chain": [7]}}), False, "no chain that can be read"),
        (lambda _: web.Response(text="<html>"), False, "answered without data"),
        (lambda _: web.Response(body=b" " * (2 << 20)), False, "larger than 1 MiB"),
    ],
)
async def test_what_it_answers_otherwise_is_told(
    server: SmallVault, tmp_path: Path, answer: Callable[[web.Request], web.StreamResponse], later: bool, words: str
) -> None:
    server.answer = answer
    vault = read_vault(server.settings(tmp_path), DOMAIN)
    with pytest.raises(AuthorityError, match=words) as caught:
        await vault.sign(await _request(), LIFE)
    assert isinstance(caught.value, AuthorityUnavailableError) is later
    assert server.root not in str(caught.value)


async def test_it_is_not_waited_for_longer_than_the_deadline(server: SmallVault, tmp_path: Path) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server.answer = never
    server.settings(tmp_path)
    vault = Vault(VaultSettings(server.address, token_file="vault.token"), tmp_path, DOMAIN, timeout=0.2)
    with pytest.raises(AuthorityUnavailableError, match=r"no answer in 0\.2 s"):
        await vault.sign(await _request(), LIFE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('address = "http://vault.example:8200"\ntoken_file = "t"', "expected https"),
        ('address = "https://vault:8200"', "expected either token_file"),
        ('address = "https://vault:8200"\ntoken_file = "t"\nrole_id = "r"\nsecret_id_file = "s"', "expected either"),
        ('address = "https://vault:8200"\ntoken_file = "t"\nlife = 60', "two days"),
        ('address = "https://vault:8200"\ntokenfile = "t"', "unknown field `tokenfile`"),
        ("address = ", "vault.toml"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "vault.toml").write_text(text)
    with pytest.raises(AuthorityError, match=words):
        read_vault(tmp_path / "vault.toml", DOMAIN)


async def test_a_token_that_others_can_read_is_not_used(server: SmallVault, tmp_path: Path) -> None:
    vault = read_vault(server.settings(tmp_path), DOMAIN)
    (tmp_path / "vault.token").chmod(0o644)
    with pytest.raises(AuthorityError, match="chmod 600"):
        await vault.sign(await _request(), LIFE)
    assert server.calls == []


class Enough(Exception):  # noqa: N818
    """It has looked often enough."""


class Looks:
    """A keeper that looks so many times, with a clock that a test moves."""

    def __init__(self, vault: Vault, authority: Authority, ahead: float = 0.0) -> None:
        self.pauses: list[float] = []
        self.problems: list[tuple[Severity, str]] = []
        self._most = 0
        self._keeper = UpstreamKeeper(vault, authority, LIFE, clock=lambda: time.time() + ahead, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.problems += [(one.severity, one.message) for one in self._keeper.problems()]
        if len(self.pauses) == self._most:
            raise Enough

    async def run(self, times: int) -> None:
        self._most = len(self.pauses) + times
        with pytest.raises(Enough):
            await self._keeper.run()


async def _request() -> str:
    return build_request(new_key(), DOMAIN)


async def running(server: SmallVault, tmp_path: Path) -> tuple[Vault, Authority]:
    vault = read_vault(server.settings(tmp_path), DOMAIN)
    await first_from(vault, tmp_path / "ca", DOMAIN, LIFE)
    return vault, open_authority(tmp_path / "ca")


async def test_an_intermediate_is_renewed_at_half_its_life_and_a_new_root_rotated_to(
    server: SmallVault, tmp_path: Path
) -> None:
    vault, authority = await running(server, tmp_path)
    first = authority.generations[1].issuer.certificate
    await Looks(vault, authority).run(2)
    assert authority.generations[1].issuer.certificate == first
    await Looks(vault, authority, ahead=0.51 * LIFE).run(1)
    assert authority.generations[1].issuer.certificate != first
    assert authority.rotation == Rotation(since=authority.rotation.since)
    await server.new_root()
    await Looks(vault, authority).run(2)
    rotation = authority.rotation
    assert (rotation.phase, rotation.overlap > 86400) == (Phase.TRUSTING, True)


async def test_one_that_is_away_stops_nothing_and_is_told_of(server: SmallVault, tmp_path: Path) -> None:
    vault, authority = await running(server, tmp_path)
    server.answer = _json(503, {"errors": ["Vault is sealed"]})
    looks = Looks(vault, authority)
    await looks.run(9)
    assert looks.pauses[3] > looks.pauses[0] * 3
    assert max(looks.pauses) <= 300 * 1.3
    assert looks.problems[-1][0] is Severity.WARNING
    assert "Vault is sealed; what it signed is good for 30.0 days more" in looks.problems[-1][1]
    late = Looks(vault, authority, ahead=0.9 * LIFE)
    await late.run(1)
    assert late.problems[-1][0] is Severity.ERROR
    await first_from(vault, tmp_path / "ca", DOMAIN, LIFE)
    assert open_authority(tmp_path / "ca").bundle == authority.bundle, "it starts without an answer, too"
    server.answer = None
    await looks.run(1)
    assert len(looks.problems) == 9, "none is left once it has answered"


async def test_the_first_start_needs_an_answer(server: SmallVault, tmp_path: Path) -> None:
    server.answer = _json(503)
    with pytest.raises(AuthorityUnavailableError, match="with 503"):
        await first_from(read_vault(server.settings(tmp_path), DOMAIN), tmp_path / "ca", DOMAIN, LIFE)
    assert not (tmp_path / "ca" / "root.pem").exists()
