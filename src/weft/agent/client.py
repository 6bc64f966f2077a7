"""The agent's side of the agent API (`weft.model.enrolment`): over the unix socket, or over TLS 1.3 to another host."""

from __future__ import annotations

import hmac
import json
import logging
import ssl
import time
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from weft.agent.certificates import CertificateFiles
from weft.agent.diagnosis import connection_failure, is_other_authority
from weft.agent.errors import EXIT_UNREACHABLE, EXIT_USAGE, AgentError
from weft.agent.http import HttpError, Server, ask
from weft.agent.identity import Choice, Given, Means, choose_identity, normal_fingerprint
from weft.agent.parameters import ControlPlane
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    Issued,
    ReachResponse,
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
    the CA gives to the control plane alone. Every call shows our certificate or the join token: `weft.agent.identity`
    says which. When neither is of use an AgentError says what to do.
    """

    def __init__(
        self, parameters: ControlPlane, agent_socket: Path, files: CertificateFiles, namespace: str, name: str
    ) -> None:
        self._parameters = parameters
        self._socket = agent_socket
        self._files = files
        self._path = f"/v1/workloads/{quote(namespace, safe='')}/{quote(name, safe='')}"
        self._given = Given(parameters.ca_fingerprint, bool(parameters.token))
        self._tls: ssl.SSLContext | None = None
        self._credentials = ""
        self._refused = ""

    @property
    def where(self) -> str:
        """The control plane's address, for messages."""
        return self._parameters.server or str(self._socket)

    @property
    def hint(self) -> str:
        """How to start a control plane, in brackets; empty for one on another host."""
        return f" (start one with: {self._parameters.hint})" if self._parameters.hint else ""

    async def register(self, workload: Workload, csr: str) -> RegisterResponse:
        """Register (again), and get a certificate for the key of `csr`."""
        request = RegisterRequest(workload, csr)
        shown = self._chain()
        try:
            return await self._call("POST", "/v1/workloads", request, RegisterResponse)
        except RefusedError as error:
            if error.status not in (401, 403) or not self._parameters.server:
                raise
            choice = self._choice()
            if choice.means is not Means.CERTIFICATE:
                raise RefusedError(error.status, error.code, f"{error} ({choice.why})") from error
            if not self._given.token:
                raise
            self._refused = shown
            _LOG.info("our certificate is not accepted (%s); joining with the token", error)
            return await self._call("POST", "/v1/workloads", request, RegisterResponse)

    async def renew(self, state: WorkloadState, unused_proxy: bool = False) -> RenewResponse:
        """Renew the lease, in `state`. RefusedError with status 404 means: register again."""
        return await self._call("POST", f"{self._path}/lease", RenewRequest(state, unused_proxy), RenewResponse)

    async def certificate(self, csr: str) -> Issued:
        """A new certificate for the same identity."""
        return await self._call("POST", f"{self._path}/certificate", CertificateRequest(csr), Issued)

    async def drain(self, wait: float) -> DrainResponse:
        """Mark draining and wait up to `wait` seconds until every caller's proxy has confirmed."""
        return await self._call("POST", f"{self._path}/drain?wait={wait:g}", None, DrainResponse, timeout=wait + 2.0)

    async def reach(self) -> ReachResponse:
        """Whether the control plane reaches our inbound listeners."""
        return await self._call("POST", f"{self._path}/reach", None, ReachResponse)

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
    ) -> AnswerT:
        headers = {"Content-Type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else b""
        try:
            server, token = await self._server()
            if token:
                headers["Authorization"] = f"Bearer {token}"
            reply = await ask(server, method, path, body=data, headers=headers, timeout=timeout)
        except (TimeoutError, HttpError, OSError) as error:
            raise self._failure(error, timeout) from error
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

    def _failure(self, error: Exception, timeout: float) -> AgentError:
        """What a connection that failed means: to be tried again, or (another authority) not."""
        if is_other_authority(error) and self._parameters.server:
            return AgentError(
                f"the control plane at {self.where} proves itself by another authority than the one that issued this "
                "workload's certificate: it was made anew, or it is not the one you mean. If it was made anew, join "
                "again with the token and the fingerprint that `weft token create` prints on its host"
            )
        reason = connection_failure(error, timeout)
        if isinstance(error, HttpError) and self._credentials == self._chain():
            reason += " If it is, this workload's certificate may not be accepted there: compare the clocks"
        return UnreachableError(f"no control plane at {self.where}: {reason}")

    def _chain(self) -> str:
        """The certificate on disk, by a name that changes with it."""
        return str(self._files.chain.resolve())

    def _choice(self) -> Choice:
        refused = self._refused == self._chain()
        return choose_identity(self._given, self._files.held(), time.time(), refused=refused)

    async def _server(self) -> tuple[Server, str]:
        """The server, and the token to show it if that is how we prove who we are now."""
        if not self._parameters.server:
            return Server(path=self._socket), ""
        choice = self._choice()
        if choice.means is Means.NOTHING:
            raise AgentError(
                f"cannot show the control plane at {self.where} who this workload is: {choice.why}. To join, set "
                "WEFT_TOKEN to a token that `weft token create` makes on the control plane's host, and give "
                "--ca-fingerprint as it prints it"
            )
        certified = choice.means is Means.CERTIFICATE
        credentials = self._chain() if certified else "token"
        if self._tls is None or self._credentials != credentials:
            self._tls = await self._context(certified)
            self._credentials = credentials
        return self._address(self._tls), "" if certified else self._parameters.token

    def _address(self, tls: ssl.SSLContext) -> Server:
        host, port = self._parameters.address
        return Server(host=host, port=port, tls=tls, name=_SERVER_NAME)

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
        wanted = normal_fingerprint(self._parameters.ca_fingerprint)
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
