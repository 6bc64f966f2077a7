"""The agent's side of the agent API (`weft.model.enrolment`): over the unix socket, or over TLS 1.3 to another host."""

from __future__ import annotations

import hmac
import json
import logging
import ssl
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from weft.agent.certificates import CertificateFiles
from weft.agent.errors import EXIT_UNREACHABLE, EXIT_USAGE, AgentError
from weft.agent.http import HttpError, Server, ask
from weft.agent.parameters import ControlPlane
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    Issued,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
)
from weft.model.workload import Workload, WorkloadState

_LOG = logging.getLogger(__name__)
_TIMEOUT = 10.0
_SERVER_NAME = "localhost"
AnswerT = TypeVar("AnswerT")


class UnreachableError(AgentError):
    """The control plane did not answer; asking later may help."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_UNREACHABLE)


class RefusedError(AgentError):
    """The control plane answered with an error. `status` is HTTP's, `code` its kebab-case word."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ControlPlaneClient:
    """Calls for one workload. Every call has a deadline and raises UnreachableError or RefusedError.

    Over TLS the server must prove itself by the pinned root; its certificate must carry the name ``localhost``, which
    the CA gives to the control plane alone. The first call brings the join token, later ones our own certificate.
    """

    def __init__(
        self, parameters: ControlPlane, agent_socket: Path, files: CertificateFiles, namespace: str, name: str
    ) -> None:
        self._parameters = parameters
        self._socket = agent_socket
        self._files = files
        self._path = f"/v1/workloads/{quote(namespace, safe='')}/{quote(name, safe='')}"
        self._tls: ssl.SSLContext | None = None
        self._credentials = ""

    @property
    def where(self) -> str:
        """The control plane's address, for messages."""
        return self._parameters.server or str(self._socket)

    async def register(self, workload: Workload, csr: str) -> RegisterResponse:
        """Register (again), and get a certificate for the key of `csr`."""
        request = RegisterRequest(workload, csr)
        try:
            return await self._call("POST", "/v1/workloads", request, RegisterResponse)
        except RefusedError as error:
            if error.status not in (401, 403) or not self._parameters.token or not self._has_certificate():
                raise
            _LOG.info("our certificate is no longer accepted; joining with the token")
            return await self._call("POST", "/v1/workloads", request, RegisterResponse, with_token=True)

    async def renew(self, state: WorkloadState, unused_proxy: bool = False) -> RenewResponse:
        """Renew the lease, in `state`. RefusedError with status 404 means: register again."""
        return await self._call("POST", f"{self._path}/lease", RenewRequest(state, unused_proxy), RenewResponse)

    async def certificate(self, csr: str) -> Issued:
        """A new certificate for the same identity."""
        return await self._call("POST", f"{self._path}/certificate", CertificateRequest(csr), Issued)

    async def drain(self, wait: float) -> DrainResponse:
        """Mark draining and wait up to `wait` seconds until every caller's proxy has confirmed."""
        return await self._call("POST", f"{self._path}/drain?wait={wait:g}", None, DrainResponse, timeout=wait + 2.0)

    async def deregister(self) -> None:
        """End the registration."""
        await self._call("DELETE", self._path, None, None, timeout=2.0)

    async def _call(
        self,
        method: str,
        path: str,
        body: object,
        answer: type[AnswerT] | None,
        *,
        timeout: float = _TIMEOUT,
        with_token: bool = False,
    ) -> AnswerT:
        headers = {"Content-Type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else b""
        try:
            server, token = await self._server(with_token)
            if token:
                headers["Authorization"] = f"Bearer {token}"
            reply = await ask(server, method, path, body=data, headers=headers, timeout=timeout)
        except TimeoutError as error:
            raise UnreachableError(f"the control plane at {self.where} did not answer in {timeout:g} s") from error
        except (HttpError, OSError) as error:
            raise UnreachableError(f"no control plane at {self.where}: {_reason(error)}") from error
        if reply.status >= 400:
            raise _refusal(reply.status, reply.body)
        if answer is None:
            return None  # type: ignore[return-value]
        try:
            return msgspec.json.decode(reply.body, type=answer)
        except msgspec.DecodeError as error:
            raise UnreachableError(
                f"the control plane at {self.where} gave an answer we cannot read: {error}"
            ) from error

    async def _server(self, with_token: bool) -> tuple[Server, str]:
        """The server and the token to show it, if any: we prove who we are as well as we can now."""
        if not self._parameters.server:
            return Server(path=self._socket), ""
        certified = self._has_certificate() and not with_token
        credentials = str(self._files.chain.resolve()) if certified else "token"
        if self._tls is None or self._credentials != credentials:
            self._tls = await self._context(certified)
            self._credentials = credentials
        return self._address(self._tls), "" if certified else self._parameters.token

    def _address(self, tls: ssl.SSLContext) -> Server:
        host, _, port = self._parameters.server.rpartition(":")
        if not host or not port.isdigit():
            raise AgentError(f"'{self._parameters.server}': expected HOST:PORT of the agent API", EXIT_USAGE)
        return Server(host=host.strip("[]"), port=int(port), tls=tls, name=_SERVER_NAME)

    def _has_certificate(self) -> bool:
        return self._files.times() is not None

    async def _context(self, with_certificate: bool) -> ssl.SSLContext:
        bundle = self._files.bundle.read_text() if with_certificate else await self._pinned_bundle()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=bundle)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if with_certificate:
            context.load_cert_chain(self._files.chain, self._files.key)
        return context

    async def _pinned_bundle(self) -> str:
        """The trust bundle, fetched without trust and then checked against the fingerprint. No secret is sent."""
        if not self._parameters.ca_fingerprint:
            raise AgentError("a control plane on another host needs --ca-fingerprint", EXIT_USAGE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        answer = await ask(self._address(context), "GET", "/v1/trust-bundle", timeout=_TIMEOUT)
        try:
            roots = x509.load_pem_x509_certificates(answer.body)
        except ValueError as error:
            raise UnreachableError(f"{self.where} sent no trust bundle; is it weft's agent API?") from error
        wanted = self._parameters.ca_fingerprint.lower().replace("sha256:", "").replace(":", "")
        for root in roots:
            if hmac.compare_digest(root.fingerprint(hashes.SHA256()).hex().encode(), wanted.encode()):
                return root.public_bytes(serialization.Encoding.PEM).decode()
        raise AgentError(
            f"the control plane at {self.where} has another CA than the given fingerprint: it is not the one you mean, "
            "or somebody is in between"
        )


def _refusal(status: int, content: bytes) -> RefusedError:
    try:
        answer = json.loads(content)
        return RefusedError(status, str(answer["code"]), str(answer["error"]))
    except (ValueError, KeyError, TypeError):
        return RefusedError(status, "unknown", f"the control plane answered with status {status}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
