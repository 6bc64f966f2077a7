"""HashiCorp Vault's PKI engine as the authority that signs weft's intermediate, over its HTTP API.

https://developer.hashicorp.com/vault/api-docs/secret/pki: ``root/sign-intermediate`` and the chain of the mount's
issuer. The token, or an AppRole's secret, is read from a 0600 file whenever it is needed, so that another program may
renew it there.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from cryptography import x509

from weft.aio.connector import Connector
from weft.ca.certificates import certificate_pem
from weft.ca.protocol import AuthorityError, AuthorityUnavailableError, Signed
from weft.model.addresses import is_loopback
from weft.model.printable import printable
from weft.settings.private import PermissionsError, check_private

_TIMEOUT = 10.0
_MOST_BYTES = 1 << 20
_MOST_SAID = 300
_LATER = frozenset({412, 429, 472, 473, 500, 502, 503, 504})
"""Answers after which asking again may help: a standby that lags, a quota, one that is sealed or fails."""
DEFAULT_LIFE = 30 * 86400.0


class VaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file of ``weft serve --ca-vault`` holds (TOML). Relative paths are below the file's directory.

    `address` is the server's URL, `mount` where its PKI engine is, `issuer` one of its issuers (else the default one).
    Either `token_file`, or `role_id` with `secret_id_file` for AppRole at `approle_mount`; `ca_file` has the roots by
    which the server proves itself (else this host's). `life` is that of the intermediate, in seconds.
    """

    address: str
    mount: str = "pki"
    issuer: str = ""
    namespace: str = ""
    token_file: str = ""
    role_id: str = ""
    secret_id_file: str = ""
    approle_mount: str = "approle"
    ca_file: str = ""
    life: float = DEFAULT_LIFE


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Mapping[str, Any]


class Vault:
    """One PKI mount of one server."""

    def __init__(self, settings: VaultSettings, directory: Path, trust_domain: str, timeout: float = _TIMEOUT) -> None:
        self._settings = settings
        self._directory = directory
        self._trust_domain = trust_domain
        self._timeout = timeout

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"Vault at {self._settings.address} (mount {self._settings.mount})"

    @property
    def life(self) -> float:
        """How long its intermediates are to live, in seconds."""
        return self._settings.life

    async def sign(self, csr: str, life: float) -> Signed:
        """Sign an intermediate; the subject and names are what we say, whatever the request says."""
        path = f"{self._issuer()}/sign-intermediate" if self._settings.issuer else "root/sign-intermediate"
        body = {
            "csr": csr,
            "common_name": f"weft issuer {self._trust_domain}"[:64],
            "exclude_cn_from_sans": True,
            "uri_sans": f"spiffe://{self._trust_domain}",
            "max_path_length": 0,
            "ttl": f"{int(life)}s",
            "format": "pem",
        }
        async with self._session() as session:
            token = await self._token(session)
            data = await self._call(session, "POST", self._path(path), token, body)
        certificate = _text(data, "certificate")
        above = data.get("ca_chain") or [_text(data, "issuing_ca")]
        if not isinstance(above, list) or not all(isinstance(one, str) for one in above):
            raise AuthorityError(f"{self.name}: its answer has no chain that can be read")
        chain, roots = _divided("\n".join([certificate, *above]), self.name)  # its chain may begin with itself
        return Signed(chain, roots)

    async def roots(self) -> str:
        """The roots of the mount's issuer. This needs no token."""
        path = f"{self._issuer()}/json" if self._settings.issuer else "cert/ca_chain"
        async with self._session() as session:
            data = await self._call(session, "GET", self._path(path), "", None)
        chain = data.get("ca_chain")
        text = "\n".join(map(str, chain)) if isinstance(chain, list) and chain else _text(data, "certificate")
        return _divided(text, self.name)[1]

    def _issuer(self) -> str:
        return f"issuer/{quote(self._settings.issuer, safe='')}"

    def _path(self, path: str) -> str:
        return f"{quote(self._settings.mount.strip('/'))}/{path}"

    def _session(self) -> aiohttp.ClientSession:
        tls = ssl.create_default_context(cafile=self._file(self._settings.ca_file)) if self._settings.ca_file else True
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        return aiohttp.ClientSession(connector=Connector(ssl=tls), timeout=timeout)

    async def _token(self, session: aiohttp.ClientSession) -> str:
        """The token of the file, or one for an AppRole, which is short-lived and not kept."""
        settings = self._settings
        if settings.token_file:
            return self._secret(settings.token_file)
        login = {"role_id": settings.role_id, "secret_id": self._secret(settings.secret_id_file)}
        path = f"auth/{quote(settings.approle_mount.strip('/'))}/login"
        answer = await self._answer(session, "POST", path, "", login)
        auth = answer.body.get("auth")
        token = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(token, str):
            raise AuthorityError(f"{self.name}: logging in with AppRole gave no token")
        return token

    async def _call(
        self, session: aiohttp.ClientSession, method: str, path: str, token: str, body: Mapping[str, object] | None
    ) -> Mapping[str, Any]:
        data = (await self._answer(session, method, path, token, body)).body.get("data")
        if not isinstance(data, dict):
            raise AuthorityError(f"{self.name}: {path} answered without data")
        return data

    async def _answer(
        self, session: aiohttp.ClientSession, method: str, path: str, token: str, body: Mapping[str, object] | None
    ) -> _Answer:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        url = f"{self._settings.address.rstrip('/')}/v1/{path}"
        try:
            async with session.request(method, url, json=body, headers=headers, allow_redirects=False) as response:
                content = await response.content.read(_MOST_BYTES + 1)
                while len(content) <= _MOST_BYTES and not response.content.at_eof():
                    content += await response.content.read(_MOST_BYTES + 1 - len(content))
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            why = f"no answer in {self._timeout:g} s" if isinstance(error, TimeoutError) else printable(str(error), 200)
            raise AuthorityUnavailableError(f"{self.name} cannot be reached: {why}") from error
        return self._judged(path, status, content)

    def _judged(self, path: str, status: int, content: bytes) -> _Answer:
        """The answer; what is not a good one is told with Vault's own words."""
        if len(content) > _MOST_BYTES:
            raise AuthorityError(f"{self.name}: the answer of {path} is larger than {_MOST_BYTES >> 20} MiB")
        try:
            body = msgspec.json.decode(content) if content else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = {}
        body = body if isinstance(body, dict) else {}
        if 200 <= status < 300:
            return _Answer(status, body)
        errors = body.get("errors")
        said = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
        text = f"{self.name} refused {path} with {status}" + (f": {printable(said, _MOST_SAID)}" if said else "")
        if 300 <= status < 400:
            raise AuthorityError(f"{text}; redirects are not followed: give the address of the active server")
        raise (AuthorityUnavailableError if status in _LATER else AuthorityError)(text)

    def _file(self, name: str) -> str:
        return str(self._directory / name)

    def _secret(self, name: str) -> str:
        path = self._directory / name
        try:
            check_private(path)
            return path.read_text().strip()
        except (PermissionsError, OSError, UnicodeDecodeError) as error:
            raise AuthorityError(f"{self.name}: its secret cannot be read: {error}") from error


def read_vault(path: Path, trust_domain: str) -> Vault:
    """The Vault that a settings file names. AuthorityError says what is wrong with it."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=VaultSettings)
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AuthorityError(f"{path}: {error}") from error
    parts = urlsplit(settings.address)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise AuthorityError(f"{path}: address {printable(settings.address, 80)}: expected https (http on loopback)")
    if bool(settings.token_file) == bool(settings.role_id and settings.secret_id_file):
        raise AuthorityError(f"{path}: expected either token_file, or role_id with secret_id_file")
    if settings.life < 2 * 86400:
        raise AuthorityError(f"{path}: life {settings.life:g}: expected two days (172800 s) at least")
    return Vault(settings, path.parent, trust_domain)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise AuthorityError(f"Vault's answer has no {name}")
    return value


def _divided(text: str, name: str) -> tuple[str, str]:
    """A chain divided into what stands below roots, and the roots, each once."""
    try:
        found = list(dict.fromkeys(x509.load_pem_x509_certificates(text.encode())))
    except ValueError as error:
        raise AuthorityError(f"{name}: its chain cannot be read") from error
    roots = [one for one in found if one.subject == one.issuer]
    if not roots:
        raise AuthorityError(f"{name}: its chain has no root; import the root into the mount, so that it is told too")
    return certificate_pem(*(one for one in found if one not in roots)), certificate_pem(*roots)
