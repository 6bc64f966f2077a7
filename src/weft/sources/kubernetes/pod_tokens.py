"""Tokens of service accounts that are bound to a Pod: what one says of itself, and what a TokenReview says of it. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from weft.model.base64url import decode_bytes
from weft.model.identity import is_dns_label, is_pod_uid
from weft.model.printable import printable

AUDIENCE = "weft"
LONGEST = 4 * 1024
"""Bytes. A token with ten audiences has 1.5 KiB."""
_LONGEST_TEXT = 200
_ACCOUNT = "system:serviceaccount:"
_POD_NAME, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"


class PodTokenError(Exception):
    """It is no token of a Pod for this mesh. `code` is ``token-refused`` or ``token-unbound``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class BoundPod:
    """The Pod that a token is bound to, and its service account."""

    namespace: str
    service_account: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"Pod {self.namespace}/{self.name} as {self.service_account}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says of itself, which nobody has checked. `issued` in epoch seconds."""

    pod: BoundPod
    issued: float


class _Named(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Bound(msgspec.Struct):
    namespace: str = ""
    pod: _Named | None = None
    serviceaccount: _Named | None = None


class _Header(msgspec.Struct):
    alg: str


class _Payload(msgspec.Struct):
    aud: str | list[str]
    exp: float
    iat: float
    bound: _Bound = msgspec.field(name="kubernetes.io", default_factory=_Bound)


class _User(msgspec.Struct):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] = []
    error: str = ""


class _Review(msgspec.Struct):
    status: _Status


PartT = TypeVar("PartT")


def is_pod_token(text: str) -> bool:
    """Whether a bearer token looks like one of a service account (a JWT) rather than a join token."""
    return text.count(".") == 2


def claim_from(token: str, now: float) -> Claim:
    """What `token` says of itself, so that the API server is not asked about what cannot be good. PodTokenError."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LONGEST or not token.isascii():
        raise PodTokenError("token-refused", f"this is no token of a service account: a JWT of at most {LONGEST} bytes")
    header, payload = _part(parts[0], _Header), _part(parts[1], _Payload)
    if header.alg[:2] not in ("RS", "ES", "PS") or not parts[2]:
        raise PodTokenError("token-refused", "the token is not signed by the key of an API server")
    if AUDIENCE not in ([payload.aud] if isinstance(payload.aud, str) else payload.aud):
        raise PodTokenError("token-refused", f"the token is for another audience; expected '{AUDIENCE}'")
    if payload.exp <= now:
        raise PodTokenError("token-refused", "the token has expired; the kubelet renews it: read its file again")
    bound = payload.bound
    if bound.pod is None or bound.serviceaccount is None:
        raise _unbound()
    pod = BoundPod(bound.namespace, bound.serviceaccount.name, bound.pod.name, bound.pod.uid)
    return Claim(_well_formed(pod), payload.iat)


def review_of(token: str) -> bytes:
    """The body of the question whose `token` is."""
    spec = {"token": token, "audiences": [AUDIENCE]}
    return msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})


def reviewed_pod(body: bytes) -> BoundPod:
    """The Pod that the API server's answer vouches for. PodTokenError; msgspec.MsgspecError or
    UnicodeDecodeError if it is no answer."""
    status = msgspec.json.decode(body, type=_Review).status
    if not status.authenticated:
        why = printable(status.error, _LONGEST_TEXT) or "it is not authenticated"
        raise PodTokenError("token-refused", f"the API server does not take the token: {why}")
    if AUDIENCE not in status.audiences:  # an API server that knows no audiences takes a token for itself
        raise PodTokenError("token-refused", f"the API server does not say that the token is for '{AUDIENCE}'")
    return _well_formed(_pod(status.user.username, status.user.extra))


def _pod(username: str, extra: Mapping[str, list[str]]) -> BoundPod:
    if not username.startswith(_ACCOUNT):
        raise PodTokenError("token-refused", f"the token is that of {printable(username, 80)!a}, no service account")
    namespace, _, account = username.removeprefix(_ACCOUNT).partition(":")
    names, uids = extra.get(_POD_NAME, []), extra.get(_POD_UID, [])
    if len(names) != 1 or len(uids) != 1:
        raise _unbound()
    return BoundPod(namespace, account, names[0], uids[0])


def _well_formed(pod: BoundPod) -> BoundPod:
    if not all(map(is_dns_label, (pod.namespace, pod.service_account, pod.name))) or not is_pod_uid(pod.uid):
        names = printable(str(pod), _LONGEST_TEXT)
        text = f"{names}: the names of a Pod in the mesh and of its service account are RFC 1123 labels"
        raise PodTokenError("token-unbound", text)
    return pod


def _part(text: str, shape: type[PartT]) -> PartT:
    try:
        return msgspec.json.decode(decode_bytes(text), type=shape)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise PodTokenError("token-refused", "this is no token of a service account: a JWT") from error


def _unbound() -> PodTokenError:
    return PodTokenError("token-unbound", "the token is not bound to a Pod; one is mounted by a projected volume")
