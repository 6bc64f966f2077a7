"""Users of a cluster: whom a token or a certificate is of, and the questions that the API server is asked. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from weft.model.printable import printable

LONGEST_TOKEN = 16 * 1024
"""Bytes. Those of OpenID providers with many groups have several KiB."""
EVERYBODY = "system:authenticated"
"""The group of all who have proven who they are; for tokens the API server says it itself."""
_LONGEST_TEXT = 300
_END_OF_TIME = 253402300800
"""The year 10000."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody, as the API server knows them. `extra` is what their authenticator adds, for authorizers."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """A verb for a resource of the whole cluster."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group}"


class UserTokenError(Exception):
    """The API server does not take the token; the message says why."""


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...]] | None = None


class _Claims(msgspec.Struct):
    exp: Annotated[float, msgspec.Meta(ge=0, lt=_END_OF_TIME)] = 0.0


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    error: str = ""


class _TokenReview(msgspec.Struct):
    status: _TokenStatus


class _AccessStatus(msgspec.Struct):
    allowed: bool


class _AccessReview(msgspec.Struct):
    status: _AccessStatus


def token_question(token: str) -> bytes:
    """The body of the question whose `token` is, if the API server itself would take it."""
    spec = {"token": token}
    return msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})


def user_from_review(body: bytes) -> User:
    """Whom the API server's answer names. UserTokenError; msgspec.MsgspecError or UnicodeDecodeError if it is none."""
    status = msgspec.json.decode(body, type=_TokenReview).status
    found = status.user
    if not status.authenticated or not found.username:
        why = printable(status.error, _LONGEST_TEXT) or "it is not authenticated"
        raise UserTokenError(f"the API server does not take the token: {why}")
    extra = tuple(sorted((found.extra or {}).items()))
    return User(found.username, found.uid, tuple(found.groups or ()), extra)


def token_end(token: str) -> float:
    """When a token ends (epoch seconds) that the API server has taken, as it says itself; 0: it does not say."""
    parts = token.split(".")
    if len(parts) != 3:  # no JSON web token (RFC 7519)
        return 0.0
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=_Claims).exp
    except (ValueError, msgspec.MsgspecError):
        return 0.0


def certificate_end(shown: bytes) -> float:
    """When a certificate (DER) ends (epoch seconds)."""
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.timestamp()


def user_from_certificate(shown: bytes) -> User | None:
    """Whom a certificate (DER) that the cluster's authority vouches for names: its common name, in the groups that are
    its organisations. None: it names nobody."""
    subject = x509.load_der_x509_certificate(shown).subject
    names = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if not names or not names[-1]:
        return None
    return User(names[-1], groups=(*dict.fromkeys(groups), EVERYBODY))


def access_question(user: User, right: Right) -> bytes:
    """The body of the question whether `user` has a right."""
    attributes = {"group": right.group, "version": "v1", "resource": right.resource, "verb": right.verb}
    spec = {
        "user": user.name,
        "uid": user.uid,
        "groups": user.groups,
        "extra": dict(user.extra),
        "resourceAttributes": attributes,
    }
    return msgspec.json.encode({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})


def allowed_from(body: bytes) -> bool:
    """What the API server answers. msgspec.MsgspecError or UnicodeDecodeError if it is no answer."""
    return msgspec.json.decode(body, type=_AccessReview).status.allowed
