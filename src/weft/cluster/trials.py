"""Trials: the API server is asked to make a pod and a wrong document, without making them, which takes it to the
webhooks.

https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.findings.cluster.facts import TrialFact
from weft.inject.names import PROXY, all_containers
from weft.model.revisions import DEFAULT, INJECTION, REVISION, Revision
from weft.sources.kubernetes.client import JSON, ApiClient, ApiError
from weft.sources.kubernetes.server_objects import Json, decoded

_DRY = {"dryRun": "All"}
_FORBIDDEN, _NOT_FOUND = 403, 404
_NO_IMAGE = "weft.invalid/none"
_DENIED, _DENIED_BY_LABEL = "documents.validator.weft.dev", "documents.weft-dev.validator.weft.dev"
"""The webhook that is asked about all documents, and that of a revision without the default's name, about its own."""


async def try_pod(
    client: ApiClient, namespace: str, labelled: bool, unread: dict[str, None], names: Revision
) -> TrialFact | None:
    """What becomes of a pod of `namespace`, which says itself that it wants a sidecar of this revision unless its
    namespace is `labelled`. None if whoever asks may not make pods there."""
    about = f"webhook weft-injector{names.suffix}, asked about a pod in {namespace}"
    labels = {} if labelled else {INJECTION: "enabled"} if names.name == DEFAULT else {REVISION: names.name}
    try:
        sent = msgspec.json.encode(_pod(labels))
        answer = await client.send("POST", f"/api/v1/namespaces/{namespace}/pods", sent, JSON, _DRY)
    except ApiError as error:
        if error.status == _FORBIDDEN and "violates PodSecurity" not in str(error) and "webhook" not in str(error):
            unread[f"create pods in {namespace}"] = None
            return None
        return TrialFact(about, False, f"{error}{_hint(str(error))}")
    return _judged(about, decoded(answer))


def _pod(labels: Mapping[str, str]) -> Json:
    seccomp = {"type": "RuntimeDefault"}
    own = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65534,
    }
    container: dict[str, Any] = {
        "name": "app",
        "image": _NO_IMAGE,
        "securityContext": own | {"seccompProfile": seccomp},
        "resources": {each: {"cpu": "1m", "memory": "1Mi"} for each in ("requests", "limits")},
    }
    metadata = {"name": f"weft-check-{secrets.token_hex(4)}", "labels": dict(labels)}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _judged(about: str, pod: Json) -> TrialFact:
    proxy = next((each for each in all_containers(pod) if each.get("name") == PROXY), None)
    if proxy is None:
        text = "the pod would be made without a sidecar: the webhook was not asked, or let it pass"
        return TrialFact(about, False, text)
    environment = {each.get("name"): each.get("value", "") for each in proxy.get("env") or ()}
    fingerprint = str(environment.get("WEFT_CA_FINGERPRINT") or "")
    return TrialFact(about, True, image=str(proxy.get("image") or ""), fingerprint=fingerprint)


def _hint(text: str) -> str:
    """What the API server's words about a webhook mean."""
    hints = (
        ("x509", "; caBundle is not the control plane's root"),
        ("no endpoints available", "; no pod of the control plane is ready"),
        ("connection refused", "; nothing listens there"),
        (
            "deadline exceeded",
            "; the API server's way to pods is closed (NetworkPolicy, firewall), or it is overloaded",
        ),
        ("not found", "; the Service of the control plane is not there"),
        ("violates PodSecurity", "; weft-init needs NET_ADMIN"),
    )
    return next((hint for word, hint in hints if word in text), "")


async def try_document(client: ApiClient, namespace: str, unread: dict[str, None], names: Revision) -> TrialFact | None:
    """Whether a document that is wrong in a way which no schema can say is refused by the validating webhook. None if
    whoever asks may not write such documents, or another revision was first to refuse it."""
    about = f"webhook weft-validator{names.suffix}, asked about a wrong document"
    labels = {} if names.name == DEFAULT else {REVISION: names.name}
    denied = _DENIED if DEFAULT in names.names else _DENIED_BY_LABEL
    metadata = {"name": f"weft-check-{secrets.token_hex(4)}", "labels": labels}
    spec = {"targetRefs": [{"name": "weft-check"}]}  # it compares nothing
    body = {"apiVersion": "weft.dev/v1alpha1", "kind": "EjectionPolicy", "metadata": metadata, "spec": spec}
    path = f"/apis/weft.dev/v1alpha1/namespaces/{namespace}/ejectionpolicies"
    try:
        await client.send("POST", path, msgspec.json.encode(body), JSON, _DRY)
    except ApiError as error:
        if denied in str(error) and "denied" in str(error):
            return TrialFact(about, True)
        if error.status == _NOT_FOUND or (_DENIED in str(error) and "denied" in str(error)):
            return None
        if error.status == _FORBIDDEN and "webhook" not in str(error):
            unread[f"create ejectionpolicies.weft.dev in {namespace}"] = None
            return None
        return TrialFact(about, False, f"{error}{_hint(str(error))}")
    text = "it would be written: the API server does not reach the control plane, and then takes documents unseen"
    return TrialFact(about, False, text)
