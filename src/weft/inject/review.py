"""AdmissionReview v1: what an API server asks a webhook, and the answer.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.inject.names import Json

API_VERSION = "admission.k8s.io/v1"
_KIND = "AdmissionReview"
_MOST_WARNINGS = 20
_LONGEST_WARNING = 250
"""Longer ones may be cut by the API server."""


class ReviewError(ValueError):
    """What was sent is no AdmissionReview; the message says why."""


class Resource(msgspec.Struct, frozen=True):
    """Group, version, and the kind or the plural name of a resource."""

    group: str = ""
    version: str = ""
    kind: str = ""
    resource: str = ""


class ReviewRequest(msgspec.Struct, frozen=True, rename="camel"):
    """``AdmissionReview.request``: `object` is what is to be, `old_object` what was; `operation` is CREATE, UPDATE,
    DELETE or CONNECT. `namespace` is empty for what is in none."""

    uid: str
    kind: Resource = Resource()
    resource: Resource = Resource()
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = ""
    dry_run: bool = False
    object: Any = None
    old_object: Any = None
    user_info: Any = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: ReviewRequest


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: whether it may be, with warnings for who asks; a `patch` (RFC 6902) changes it, `message` and the
    HTTP status `code` say why it may not be."""

    allowed: bool = True
    message: str = ""
    code: int = 422
    warnings: Sequence[str] = ()
    patch: Sequence[Mapping[str, Any]] = ()


ALLOWED = Verdict()


def review_from_json(body: bytes) -> ReviewRequest:
    """The request of an AdmissionReview. ReviewError."""
    try:
        review = msgspec.json.decode(body, type=_Review)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReviewError(f"this is no {_KIND} of {API_VERSION}: {error}") from error
    if review.kind != _KIND or review.api_version != API_VERSION:
        raise ReviewError(
            f"this is a {review.kind[:80]} of {review.api_version[:80]}; expected {_KIND} of {API_VERSION}"
        )
    if not review.request.uid:
        raise ReviewError("the request has no uid")
    return review.request


def answer_to(request: ReviewRequest, verdict: Verdict) -> Json:
    """The AdmissionReview that answers."""
    response: Json = {"uid": request.uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        response["status"] = {"code": verdict.code, "message": verdict.message}
    if verdict.warnings:
        response["warnings"] = [text[:_LONGEST_WARNING] for text in verdict.warnings[:_MOST_WARNINGS]]
    if verdict.allowed and verdict.patch:
        patch = base64.b64encode(msgspec.json.encode(verdict.patch)).decode()
        response |= {"patchType": "JSONPatch", "patch": patch}
    return {"apiVersion": API_VERSION, "kind": _KIND, "response": response}


def is_new_pod(request: ReviewRequest) -> bool:
    """Whether a Pod is about to be made."""
    about = request.resource
    pods = about.group == "" and about.resource == "pods" and not request.sub_resource
    return pods and request.operation == "CREATE" and isinstance(request.object, dict)
