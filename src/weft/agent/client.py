"""The agent's side of the agent API (`weft.model.enrolment`): over the unix socket, or over TLS 1.3 to another host."""

from __future__ import annotations

import hmac
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from weft import __version__
from weft.agent.certificates import CertificateFiles
from weft.agent.diagnosis import connection_failure, is_certificate_refused, is_other_authority
from weft.agent.errors import EXIT_UNREACHABLE, EXIT_USAGE, AgentError
from weft.agent.http import Answer, HttpError, KeptConnection, Server, ask
from weft.agent.identity import Choice, Given, Means, choose_identity, normal_fingerprint
from weft.agent.keys import fingerprints, root_fingerprint
from weft.agent.parameters import ControlPlane
from weft.agent.proofs import make_proof
from weft.model.bundles import TokenAnswer, TokenRequest, TrustAnswer
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    Issued,
    NonceResponse,
    Proof,
    ReachResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    RevokedResponse,
    proof_message,
)
from weft.model.groups import GroupAnswer
from weft.model.names import NamesAnswer
from weft.model.report import Report, ReportAnswer
from weft.model.requests import RequestsAnswer, RequestsReport
from weft.model.trust import FORMER_ROOTS
from weft.model.workload import Workload, WorkloadState

_LOG = logging.getLogger(__name__)
_TIMEOUT = 10.0
_SERVER_NAME = "localhost"
AnswerT = TypeVar("AnswerT")


class UnreachableError(AgentError):
    """The control plane did not answer; asking later may help."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_UNREACHABLE)


class CertificateNotAcceptedError(UnreachableError):
    """The control plane ended the hand-shake because of our certificate: it trusts its root no more, or it is over."""


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
    says which. When neither is of use an AgentError says what to do. `joined_by` is the fingerprint (hex) by which the
    control plane was known in the latest call, empty if it was by the certificate that we have, or by its socket.
    `svid` proves by another authority's certificate who we are: without a token, that is what we join by.
    """

    def __init__(
        self,
        parameters: ControlPlane,
        agent_socket: Path,
        files: CertificateFiles,
        namespace: str,
        name: str,
        svid: Callable[[bytes], Awaitable[tuple[str, str]]] | None = None,
    ) -> None:
        self._parameters = parameters
        self._socket = agent_socket
        self._files = files
        self._path = f"/v1/workloads/{quote(namespace, safe='')}/{quote(name, safe='')}"
        self._groups = f"/v1/groups/{quote(namespace, safe='')}"
        self._svid = None if parameters.has_token else svid
        self._given = Given(parameters.ca_fingerprint, parameters.has_token or svid is not None)
        self._tls: ssl.SSLContext | None = None
        self._credentials = ""
        self._refused = ""
        self.joined_by = ""
        self._kept = KeptConnection()

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
        request = RegisterRequest(workload, csr, time.time(), __version__)
        shown = self._chain()
        try:
            return await self._apply(request)
        except CertificateNotAcceptedError as error:
            if not self._given.token:
                raise
            return await self._join(shown, request, error)
        except RefusedError as error:
            if error.status not in (401, 403) or not self._parameters.server:
                raise
            choice = self._choice()
            if choice.means is not Means.CERTIFICATE:
                raise RefusedError(error.status, error.code, f"{error} ({choice.why})") from error
            if not self._given.token:
                raise
            return await self._join(shown, request, error)

    async def _join(self, shown: str, request: RegisterRequest, why: AgentError) -> RegisterResponse:
        """With the token, since the certificate that was `shown` is not accepted."""
        self._refused = shown
        _LOG.info("our certificate is not accepted (%s); joining with the token", why)
        return await self._apply(request)

    async def _apply(self, request: RegisterRequest) -> RegisterResponse:
        """Register; what the token demands besides itself is proven when it is asked for."""
        try:
            return await self._call("POST", "/v1/workloads", request, RegisterResponse)
        except RefusedError as error:
            by_svid = self._svid is not None and error.code == "token-required"
            if error.code != "proof-missing" and not by_svid:
                raise
        nonce = (await self._call("GET", "/v1/nonce", None, NonceResponse)).nonce
        if self._svid is not None:
            chain, signature = await self._svid(proof_message(nonce, request.csr))
            proof = Proof(nonce, svid=chain, svid_signature=signature)
        else:
            proof = make_proof(nonce, request.csr, self._parameters.proofs, self._files)
        return await self._call("POST", "/v1/workloads", replace(request, proof=proof), RegisterResponse)

    async def group(self, name: str) -> GroupAnswer:
        """What a WorkloadGroup of the workload's namespace says."""
        return await self._call("GET", f"{self._groups}/{quote(name, safe='')}", None, GroupAnswer)

    async def renew(
        self, state: WorkloadState, unused_proxy: bool = False, in_use: tuple[str, str] = ("", "")
    ) -> RenewResponse:
        """Renew the lease, in `state`; `in_use` as `weft.agent.in_use` has it. RefusedError with status 404 means:
        register again."""
        request = RenewRequest(state, unused_proxy, time.time(), __version__, *in_use)
        return await self._call("POST", f"{self._path}/lease", request, RenewResponse)

    async def certificate(self, csr: str) -> Issued:
        """A new certificate for the same identity."""
        return await self._call("POST", f"{self._path}/certificate", CertificateRequest(csr), Issued)

    async def application_certificate(self, csr: str) -> Issued:
        """A certificate for a key of the application: the same identity, without the proxy's name."""
        return await self._call("POST", f"{self._path}/application-certificate", CertificateRequest(csr), Issued)

    async def token(self, audiences: tuple[str, ...]) -> TokenAnswer:
        """A JWT-SVID of the workload for these audiences."""
        return await self._call("POST", f"{self._path}/token", TokenRequest(audiences), TokenAnswer)

    async def trust(self) -> TrustAnswer:
        """The trust bundles of the workload's domain, and of those that it is federated with."""
        return await self._call("GET", f"{self._path}/trust", None, TrustAnswer)

    async def drain(self, wait: float) -> DrainResponse:
        """Mark draining and wait up to `wait` seconds until every caller's proxy has confirmed."""
        return await self._call("POST", f"{self._path}/drain?wait={wait:g}", None, DrainResponse, timeout=wait + 2.0)

    async def reach(self) -> ReachResponse:
        """Whether the control plane reaches our inbound listeners."""
        return await self._call("POST", f"{self._path}/reach", None, ReachResponse)

    async def report(self, report: Report, timeout: float) -> ReportAnswer:
        """Tell of the proxy's traffic, over a connection that is kept for the next report."""
        path = f"{self._path}/report"
        try:
            return await self._call("POST", path, report, ReportAnswer, timeout=timeout, keep=True)
        except RefusedError:
            await self._kept.close()  # the next one shows who we are anew
            raise

    async def close(self) -> None:
        """Close the connection that is kept, if there is one."""
        await self._kept.close()

    async def report_requests(self, report: RequestsReport) -> RequestsAnswer:
        """What the proxy noted of requests."""
        return await self._call("POST", f"{self._path}/requests", report, RequestsAnswer)

    async def revoked(self) -> RevokedResponse:
        """Which certificates hand-shakes refuse."""
        return await self._call("GET", "/v1/revoked", None, RevokedResponse)

    async def names(self, version: str, wait: float) -> NamesAnswer:
        """The names that applications may look up, once they are others than those of `version`, which is waited for
        up to `wait` seconds."""
        path = f"{self._path}/names?version={quote(version, safe='')}&wait={wait:g}"
        return await self._call("GET", path, None, NamesAnswer, timeout=wait + _TIMEOUT)

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
        keep: bool = False,
    ) -> AnswerT:
        headers = {"Content-Type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else b""
        try:
            server, token = await self._server()
            if token:
                headers["Authorization"] = f"Bearer {token}"
            over: Callable[..., Awaitable[Answer]] = self._kept.ask if keep else ask
            reply = await over(server, method, path, body=data, headers=headers, timeout=timeout)
        except (TimeoutError, HttpError, OSError) as error:
            if await self._is_dropped(error):
                raise self._not_accepted("its root is trusted no more") from error
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
                "workload's certificate: it was made anew, or it is not the one you mean. If it was made anew, "
                f"{self._parameters.joining_anew}"
            )
        reason = connection_failure(error, timeout)
        if is_certificate_refused(error):
            return self._not_accepted(reason)
        if isinstance(error, HttpError) and self._credentials == self._chain():
            reason += " If it is, this workload's certificate may not be accepted there: compare the clocks"
        return UnreachableError(f"no control plane at {self.where}: {reason}")

    def _not_accepted(self, why: str) -> CertificateNotAcceptedError:
        return CertificateNotAcceptedError(
            f"the control plane at {self.where} does not accept this workload's certificate: {why}"
            f"{self._parameters.joining}"
        )

    async def _is_dropped(self, error: Exception) -> bool:
        """Whether the connection ended because the root of our certificate is trusted no more. A server cannot always
        say so: it ends the hand-shake. So it is asked, by one who shows no certificate, which roots it trusts."""
        shown = self._parameters.server and self._credentials == self._chain()
        if not shown or isinstance(error, ConnectionRefusedError | TimeoutError | ssl.SSLCertVerificationError):
            return False
        try:
            bundle = self._files.authority.read_text()
            context = _client_context(bundle)
            answer = await ask(self._address(context), "GET", "/v1/trust-bundle", timeout=_TIMEOUT)
            trusted = fingerprints(answer.body.decode().partition(FORMER_ROOTS)[0])
            return root_fingerprint(self._files.chain.read_text(), bundle) not in trusted
        except (TimeoutError, HttpError, OSError, ValueError):
            return False

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
        self.joined_by = "" if certified else normal_fingerprint(self._given.fingerprint)
        credentials = self._chain() if certified else "token"
        if self._tls is None or self._credentials != credentials:
            self._tls = await self._context(certified)
            self._credentials = credentials
        return self._address(self._tls), "" if certified else self._parameters.read_token()

    def _address(self, tls: ssl.SSLContext) -> Server:
        host, port = self._parameters.address
        return Server(host=host, port=port, tls=tls, name=_SERVER_NAME)

    async def _context(self, with_certificate: bool) -> ssl.SSLContext:
        bundle = self._files.authority.read_text() if with_certificate else await self._pinned_bundle()
        context = _client_context(bundle)
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


def _client_context(bundle: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _refusal(status: int, content: bytes) -> RefusedError:
    try:
        answer = json.loads(content)
        return RefusedError(status, str(answer["code"]), str(answer["error"]))
    except (ValueError, KeyError, TypeError):
        return RefusedError(status, "unknown", f"the control plane answered with status {status}")
