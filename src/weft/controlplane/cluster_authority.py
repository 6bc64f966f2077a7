"""A cluster's own ways to have the mesh's intermediate signed: Kubernetes' CertificateSigningRequests, with whatever
signer answers there, and cert-manager's CertificateRequests.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/ and
https://cert-manager.io/docs/usage/certificaterequest/. Who signs does not say whom to trust: the roots come from where
the administrator keeps them, a ConfigMap or a ClusterTrustBundle.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from cryptography import x509

from weft.ca.certificates import certificate_pem
from weft.ca.protocol import AuthorityError, AuthorityUnavailableError, Signed
from weft.model.printable import printable
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError

_log = logging.getLogger("weft.certificate")
SIGNED_SECONDS = 600.0
"""How long a request waits: somebody may have to approve it by hand."""
_LOOK_SECONDS = 1.0
_LATER = frozenset((0, 429, 500, 502, 503, 504))
_MOST_SAID = 300
_USAGES = ("cert sign", "crl sign")
"""Those of the request in PEM and no others: cert-manager refuses what says two things."""
_CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_IS_CA = "experimental.cert-manager.io/request-is-ca"
_DURATION = "experimental.cert-manager.io/request-duration"
"""cert-manager as the signer of a CertificateSigningRequest wants to be told so; others do not read it."""
_NAME = "weft-issuer-"


class RootsPlaceError(ValueError):
    """The text names no place of roots."""


@dataclass(frozen=True, slots=True)
class RootsPlace:
    """Where roots are kept: a ClusterTrustBundle (`namespace` empty), or a key of a ConfigMap."""

    name: str
    namespace: str = ""
    key: str = "ca.crt"

    def __str__(self) -> str:
        return f"configmap/{self.namespace}/{self.name}/{self.key}" if self.namespace else f"bundle/{self.name}"


def roots_place(text: str) -> RootsPlace:
    """The place that ``configmap/NAMESPACE/NAME[/KEY]`` or ``bundle/NAME`` names. RootsPlaceError."""
    kind, *parts = text.split("/")
    if all(parts):
        if kind == "configmap" and len(parts) in (2, 3):
            return RootsPlace(parts[1], parts[0], *parts[2:])
        if kind == "bundle" and len(parts) == 1:
            return RootsPlace(parts[0])
    raise RootsPlaceError(f"found '{printable(text, 100)}', expected configmap/NAMESPACE/NAME[/KEY] or bundle/NAME")


@dataclass(frozen=True, slots=True)
class ClusterAuthoritySettings:
    """Either `signer`, the signerName of a CertificateSigningRequest, or `issuer`, ``Issuer/NAME`` or
    ``ClusterIssuer/NAME`` of cert-manager (or ``KIND.GROUP/NAME`` of an issuer of its own). `namespace` is where
    requests to cert-manager are made, `life` in seconds."""

    roots: RootsPlace
    signer: str = ""
    issuer: str = ""
    namespace: str = ""
    life: float = 30 * 86400.0


class _Way(Protocol):
    """How one kind of request is made, read and taken away."""

    path: str

    def body(self, csr: str, life: float) -> dict[str, Any]: ...

    async def made(self, client: ApiClient, request: Mapping[str, Any]) -> None:
        """What is to be done once it is there."""

    def outcome(self, request: Mapping[str, Any]) -> str:
        """The chain; empty while there is none. AuthorityError if there will be none."""

    def waits(self, request: Mapping[str, Any]) -> str:
        """For what one that is not answered waits, if that is known."""

    def missing(self) -> str:
        """What is to be there so that one can be made."""


class ClusterAuthority:
    """See the module. An `Upstream` of `weft.ca`."""

    def __init__(
        self,
        settings: ClusterAuthoritySettings,
        credentials: Credentials,
        patience: float = SIGNED_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._patience = patience
        self._sleep = sleep
        self._way: _Way = _Signer(settings.signer) if settings.signer else _Issuer(settings.issuer, settings.namespace)

    @property
    def name(self) -> str:
        """What it is and where."""
        if self._settings.signer:
            return f"the cluster's signer {self._settings.signer}"
        return f"cert-manager's {self._settings.issuer}"

    @property
    def life(self) -> float:
        """How long its intermediates are to live, in seconds."""
        return self._settings.life

    async def sign(self, csr: str, life: float) -> Signed:
        """Ask for the intermediate, and wait until it is signed. The request is taken away again in any case."""
        way = self._way
        async with self._asking() as client:
            made = await self._made(client, way.body(csr, life))
            path = f"{way.path}/{made['metadata']['name']}"
            try:
                await way.made(client, made)
                chain = await self._signed(client, path)
            finally:
                with contextlib.suppress(ApiError):
                    await client.send("DELETE", path)
            return Signed(_below_roots(chain, self.name), await self._roots(client))

    async def roots(self) -> str:
        """The roots, as the administrator keeps them."""
        async with self._asking() as client:
            return await self._roots(client)

    async def _made(self, client: ApiClient, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return _object(await client.send("POST", self._way.path, msgspec.json.encode(body)))
        except ApiError as error:
            if error.status != 404:
                raise
            missing = self._way.missing()
            raise AuthorityError(f"{self.name} cannot be asked: {error}; expected {missing}") from error

    async def _signed(self, client: ApiClient, path: str) -> str:
        """The chain. For what it waits is told when it has been so for two looks."""
        end, told, name = time.monotonic() + self._patience, "", path.rpartition("/")[2]
        before = ""
        _log.info("waiting until %s signs %s", self.name, name)
        while True:
            request = _object((await client.get(path)).body)
            chain = self._way.outcome(request)
            if chain:
                return chain
            waits = self._way.waits(request)
            if time.monotonic() > end:
                why = f": {waits}" if waits else ""
                raise AuthorityUnavailableError(f"{self.name} has not signed in {self._patience:g} s{why}")
            if waits and waits == before and waits != told:
                _log.warning("%s has not signed %s yet: %s", self.name, name, waits)
                told = waits
            before = waits
            await self._sleep(_LOOK_SECONDS)

    async def _roots(self, client: ApiClient) -> str:
        place = self._settings.roots
        if place.namespace:
            path = f"/api/v1/namespaces/{place.namespace}/configmaps/{place.name}"
            text = _object((await client.get(path)).body).get("data", {}).get(place.key, "")
        else:
            bundle = await _trust_bundle(client, place.name)
            text = bundle.get("spec", {}).get("trustBundle", "")
        try:
            found = x509.load_pem_x509_certificates(str(text).encode())
        except ValueError as error:
            raise AuthorityError(f"{place} holds no certificates that can be read") from error
        return certificate_pem(*dict.fromkeys(found))

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[ApiClient]:
        try:
            async with ApiClient(self._credentials) as client:
                yield client
        except ApiError as error:
            kind = AuthorityUnavailableError if error.status in _LATER else AuthorityError
            raise kind(f"{self.name} cannot be asked: {error}") from error


_BUNDLES = ("v1", "v1beta1", "v1alpha1")


async def _trust_bundle(client: ApiClient, name: str) -> dict[str, Any]:
    """A ClusterTrustBundle, of the newest version that the server has."""
    for version in _BUNDLES:
        try:
            return _object((await client.get(f"/apis/certificates.k8s.io/{version}/clustertrustbundles/{name}")).body)
        except ApiError as error:
            if error.status != 404 or version == _BUNDLES[-1]:
                raise
    raise AssertionError("one of them was the last")


class _Signer:
    """CertificateSigningRequests: approved by us where we may, else by somebody else."""

    path = _CSR

    def __init__(self, signer: str) -> None:
        self._signer = signer

    def body(self, csr: str, life: float) -> dict[str, Any]:
        """A request for a certificate that may sign others."""
        annotations = {_IS_CA: "true", _DURATION: f"{int(life)}s"}
        return {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": _NAME, "annotations": annotations},
            "spec": {
                "request": base64.b64encode(csr.encode()).decode(),
                "signerName": self._signer,
                "expirationSeconds": int(life),
                "usages": list(_USAGES),
            },
        }

    async def made(self, client: ApiClient, request: Mapping[str, Any]) -> None:
        """Approve it, if we are allowed to."""
        name = request["metadata"]["name"]
        approved = {"type": "Approved", "status": "True", "reason": "WeftIssuer", "message": "asked for by weft itself"}
        body = {**request, "status": {"conditions": [approved]}}
        try:
            await client.send("PUT", f"{_CSR}/{name}/approval", msgspec.json.encode(body))
        except ApiError as error:
            if error.status != 403:
                raise
            _log.warning("%s; run: kubectl certificate approve %s", error, name)

    def outcome(self, request: Mapping[str, Any]) -> str:
        """The chain; empty while there is none."""
        for condition in _conditions(request):
            if condition.get("type") in ("Denied", "Failed"):
                raise AuthorityError(f"the signer {self._signer}: {_said(condition)}")
        return _certificate(request)

    def waits(self, request: Mapping[str, Any]) -> str:
        """For whom."""
        return "" if _is_approved(request) else "nobody has approved it"

    def missing(self) -> str:
        """They are Kubernetes' own."""
        return "an API server that has certificates.k8s.io/v1"


class _Issuer:
    """CertificateRequests of cert-manager, which approves those for its own issuers by itself."""

    def __init__(self, issuer: str, namespace: str) -> None:
        self._issuer = issuer
        self._namespace = namespace
        self.path = f"/apis/cert-manager.io/v1/namespaces/{namespace}/certificaterequests"

    def body(self, csr: str, life: float) -> dict[str, Any]:
        """A request for a certificate that may sign others."""
        kind, _, name = self._issuer.partition("/")
        kind, _, group = kind.partition(".")
        return {
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "metadata": {"generateName": _NAME},
            "spec": {
                "request": base64.b64encode(csr.encode()).decode(),
                "isCA": True,
                "duration": f"{int(life)}s",
                "usages": list(_USAGES),
                "issuerRef": {"kind": kind, "name": name, "group": group or "cert-manager.io"},
            },
        }

    async def made(self, client: ApiClient, request: Mapping[str, Any]) -> None:
        """cert-manager approves it."""

    def outcome(self, request: Mapping[str, Any]) -> str:
        """The chain; empty while there is none. Why it was denied or is wrong says more than that it was."""
        conditions = _conditions(request)
        final = [one for one in conditions if one.get("type") in ("Denied", "InvalidRequest")]
        wrong = [one for one in final if one.get("status") == "True"]
        wrong += [one for one in conditions if one.get("type") == "Ready" and one.get("reason") in ("Failed", "Denied")]
        if wrong:
            raise AuthorityError(f"{self._issuer}: {_said(wrong[0])}")
        return _certificate(request)

    def waits(self, request: Mapping[str, Any]) -> str:
        """For whom, or in cert-manager's words for what: an issuer that is not there, or has no key."""
        ready = [one for one in _conditions(request) if one.get("type") == "Ready"]
        if ready:
            return _said(ready[0])
        return "" if _is_approved(request) else "nobody has approved it"

    def missing(self) -> str:
        """Another's kind, and a namespace."""
        return f"cert-manager in the cluster, and the namespace {self._namespace}"


def _conditions(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((request.get("status") or {}).get("conditions") or ())


def _is_approved(request: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "Approved" and one.get("status") == "True" for one in _conditions(request))


def _certificate(request: Mapping[str, Any]) -> str:
    return base64.b64decode((request.get("status") or {}).get("certificate") or "").decode("ascii", "replace")


def _said(condition: Mapping[str, Any]) -> str:
    """A condition in its own words."""
    return printable(f"{condition.get('type')}: {condition.get('message') or condition.get('reason')}", _MOST_SAID)


def _object(body: bytes) -> dict[str, Any]:
    found = msgspec.json.decode(body)
    if not isinstance(found, dict):
        raise AuthorityError("the API server's answer is no object")
    return found


def _below_roots(text: str, name: str) -> str:
    """A chain without the root that it may end in."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise AuthorityError(f"{name}: its certificate cannot be read") from error
    return certificate_pem(*(one for one in dict.fromkeys(found) if one.subject != one.issuer))
