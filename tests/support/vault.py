"""Vault for tests: a real core with its PKI engine, if it was built, and a small server that speaks the same API."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tools.vault import NotBuiltError, program


def vault_program() -> Path:
    """The real one. Without it the test fails, and says how to build it."""
    try:
        path: Path = program("vault")
        return path
    except NotBuiltError as error:
        pytest.fail(str(error))


@dataclass
class TestVault:
    """A running Vault with a root in the mount ``pki``. `root` is a token that may do everything."""

    __test__ = False

    address: str
    root: str

    async def call(self, method: str, path: str, **body: object) -> dict[str, Any]:
        """One call of its API as root."""
        async with (
            aiohttp.ClientSession(headers={"X-Vault-Token": self.root}) as session,
            session.request(method, f"{self.address}/v1/{path}", json=body or None) as response,
        ):
            text = await response.text()
            assert response.status < 300, (path, response.status, text)
            return dict(json.loads(text)) if text else {}

    def settings(self, directory: Path, **more: object) -> Path:
        """A settings file with its token beside it."""
        token = directory / "vault.token"
        token.write_text(self.root)
        token.chmod(0o600)
        values = {"address": self.address, "token_file": "vault.token", **more}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None]
        path = directory / "vault.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


class RealVault(TestVault):
    """Vault's own code."""

    async def prepare(self) -> None:
        """Mount the PKI engine, and make a root."""
        await self.call("POST", "sys/mounts/pki", type="pki", config={"max_lease_ttl": "87600h"})
        await self.call("POST", "pki/root/generate/internal", common_name="example root 1", ttl="87600h", key_type="ec")

    async def new_root(self) -> None:
        """Vault keeps both issuers; the new one becomes the default."""
        made = await self.call(
            "POST", "pki/root/rotate/internal", common_name="example root 2", ttl="87600h", key_type="ec"
        )
        await self.call("POST", "pki/config/issuers", default=made["data"]["issuer_id"])

    async def approle(self) -> tuple[str, str]:
        """An AppRole that may sign intermediates and nothing else."""
        await self.call("POST", "sys/auth/approle", type="approle")
        policy = 'path "pki/root/sign-intermediate" { capabilities = ["update", "sudo"] }'
        await self.call("PUT", "sys/policies/acl/weft", policy=policy)
        await self.call("POST", "auth/approle/role/weft", token_policies="weft", token_ttl="60s")
        role = await self.call("GET", "auth/approle/role/weft/role-id")
        secret = await self.call("POST", "auth/approle/role/weft/secret-id")
        return role["data"]["role_id"], secret["data"]["secret_id"]


@contextlib.asynccontextmanager
async def real_vault(directory: Path) -> AsyncIterator[RealVault]:
    """A real one, on a free loopback port."""
    with (directory / "vault.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(vault_program(), "0", stdout=asyncio.subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            address, token = (await process.stdout.readline()).decode().split()
        vault = RealVault(f"http://{address}", token)
        await vault.prepare()
        yield vault
    finally:
        process.kill()
        await process.communicate()


@dataclass
class SmallVault(TestVault):
    """What weft uses of the API, in a hundred lines. `answer`, if set, takes the place of every answer."""

    answer: Any = None
    calls: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    roots: list[tuple[ec.EllipticCurvePrivateKey, x509.Certificate]] = field(default_factory=list)

    async def new_root(self) -> None:
        """It signs with the new one at once."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"example root {len(self.roots) + 1}")])
        now = datetime.datetime.now(datetime.UTC)
        builder = _builder(name, name, key.public_key(), now, now + datetime.timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.roots.append((key, builder.sign(key, hashes.SHA256())))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request."""
        body = await request.json() if request.can_read_body else {}
        self.calls.append((request.path, dict(request.headers), body))
        if self.answer is not None:
            answer = self.answer(request)
            response: web.StreamResponse = await answer if asyncio.iscoroutine(answer) else answer
            return response
        path = request.path.removeprefix("/v1/")
        if path == "pki/cert/ca_chain":
            return web.json_response({"data": {"ca_chain": [_pem(self.roots[-1][1])]}})
        if path == "auth/approle/login":
            good = body == {"role_id": "weft", "secret_id": "the-secret"}
            return web.json_response({"auth": {"client_token": self.root}}) if good else _errors(400, "invalid role")
        if request.headers.get("X-Vault-Token") != self.root:
            return _errors(403, "permission denied")
        if path == "pki/root/sign-intermediate":
            return web.json_response({"data": self._signed(body)})
        return _errors(404, "no handler for route")

    def _signed(self, body: dict[str, Any]) -> dict[str, object]:
        key, root = self.roots[-1]
        request = x509.load_pem_x509_csr(body["csr"].encode())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, body["common_name"])])
        now = datetime.datetime.now(datetime.UTC)
        end = now + datetime.timedelta(seconds=float(body["ttl"].removesuffix("s")))
        public = request.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        builder = _builder(subject, root.subject, public, now, end)
        names = [x509.UniformResourceIdentifier(body["uri_sans"])]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        basic = x509.BasicConstraints(ca=True, path_length=body["max_path_length"])
        signed = builder.add_extension(basic, critical=True).sign(key, hashes.SHA256())
        return {"certificate": _pem(signed), "issuing_ca": _pem(root), "ca_chain": [_pem(signed), _pem(root)]}


@contextlib.asynccontextmanager
async def small_vault() -> AsyncIterator[SmallVault]:
    """The small server, on a free loopback port."""
    vault = SmallVault("", f"hvs.{secrets.token_hex(8)}")
    await vault.new_root()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", vault.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    vault.address = f"http://{host}:{port}"
    try:
        yield vault
    finally:
        await runner.cleanup()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin - datetime.timedelta(minutes=1)).not_valid_after(end)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _errors(status: int, text: str) -> web.Response:
    return web.json_response({"errors": [text]}, status=status)
