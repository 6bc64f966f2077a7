"""Pods for tests of injection, and the settings of a control plane that injects."""

from __future__ import annotations

import json
from typing import Any

from weft.inject.settings import InjectionSettings

SETTINGS = InjectionSettings("registry.example/weft:1", "weft.weft-system.svc:15013", f"sha256:{'6b' * 32}")


def pod(
    *,
    name: str = "web",
    namespace: str = "",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Pod of one container, unless `spec` has other ones."""
    metadata: dict[str, Any] = {"name": name}
    for key, value in (("namespace", namespace), ("labels", labels), ("annotations", annotations)):
        if value:
            metadata[key] = value
    containers = {"containers": [{"name": "web", "image": "web:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**containers, **spec}}


def review(about: dict[str, Any] | None, namespace: str, **other: Any) -> bytes:
    """What an API server asks about a pod that is to be made."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "somebody"},
        "object": about,
        **other,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
