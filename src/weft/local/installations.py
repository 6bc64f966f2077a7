"""Another mesh's installation in a cluster, read as texts for `weft migrate`: documents, what carries labels and
annotations for it, and the values that Helm keeps of its releases.

Helm keeps a release in a Secret: https://helm.sh/docs/topics/advanced/#storage-backends
"""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from weft.local.cluster import Cluster, ClusterError
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.discovery import ACCEPT, PATHS
from weft.sources.kubernetes.server_objects import Json, live, pages

_GZIP = b"\x1f\x8b"
_LARGEST_RELEASE = 16 * 1024 * 1024
_DOMAINS: Mapping[str, tuple[str, ...]] = {
    "istio": ("istio.io",),
    "linkerd": ("linkerd.io", "split.smi-spec.io"),
    "consul": ("consul.hashicorp.com",),
}
_CHARTS: Mapping[str, tuple[str, ...]] = {"istio": ("base", "istiod", "cni", "ztunnel", "gateway", "istio")}
"""Charts whose values have words."""
_SHARED: Mapping[str, frozenset[str]] = {
    "": frozenset(("Namespace", "Service")),
    "apps": frozenset(("Deployment", "StatefulSet", "DaemonSet")),
    "batch": frozenset(("CronJob",)),
    "gateway.networking.k8s.io": frozenset(
        ("Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "BackendTLSPolicy", "ReferenceGrant")
    ),
}
"""Kinds of all that are read beside a mesh's own, by group."""
_MESH_CONFIG = "/api/v1/namespaces/istio-system/configmaps/istio"


def read_installation(cluster: Cluster, mesh: str) -> list[tuple[str, str]]:
    """The texts of `mesh` (``istio``, ``linkerd``, ``consul``) in `cluster`, each with its source. ClusterError."""
    try:
        return asyncio.run(_read(cluster, mesh))
    except ApiError as error:
        context, _ = cluster.names()
        raise ClusterError(f"the API server of context '{context}' cannot be read: {error}") from error


async def _read(cluster: Cluster, mesh: str) -> list[tuple[str, str]]:
    async with ApiClient(cluster.credentials()) as client:
        texts = []
        for group, version, kind, plural in await _wanted(client, mesh):
            root = f"/apis/{group}/{version}" if group else f"/api/{version}"
            about = {"apiVersion": f"{group}/{version}" if group else version, "kind": kind}
            async for page in pages(client, f"{root}/{plural}"):
                texts += [_text(item | about) for item in page]
        if mesh == "istio" and (settings := await live(client, _MESH_CONFIG)) is not None:
            texts.append(_text({"apiVersion": "v1", "kind": "ConfigMap", **settings}))
        if mesh in _CHARTS:
            texts += await _values(client, _CHARTS[mesh])
        return texts


async def _wanted(client: ApiClient, mesh: str) -> list[tuple[str, str, str, str]]:
    """Group, version, kind and plural of what is read; of several versions the server's first."""
    found = []
    for path in PATHS:
        answer = json.loads((await client.get(path, ACCEPT)).body)
        for group in answer.get("items", ()):
            name = group["metadata"].get("name", "")
            theirs = any(f".{name}".endswith(f".{domain}") for domain in _DOMAINS[mesh])
            known: set[str] = set()
            for version in group.get("versions", ()):
                for resource in version.get("resources", ()):
                    kind = resource.get("responseKind", {}).get("kind", "")
                    wanted = theirs or kind in _SHARED.get(name, frozenset())
                    if wanted and kind not in known and "list" in resource.get("verbs", ()):
                        known.add(kind)
                        found.append((name, version["version"], kind, resource["resource"]))
    return found


async def _values(client: ApiClient, charts: Iterable[str]) -> list[tuple[str, str]]:
    """What was given to Helm for the releases of `charts` that are in force. Who may not read Secrets goes without."""
    secrets: list[Json] = []
    try:
        async for page in pages(client, "/api/v1/secrets", "owner=helm,status=deployed"):
            secrets += page
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    texts = []
    for secret in secrets:
        release = _release(secret.get("data", {}).get("release", ""))
        values = release.get("config")
        if values and release.get("chart", {}).get("metadata", {}).get("name") in charts:
            texts.append((f"helm:{release.get('namespace')}/{release.get('name')}", json.dumps(values)))
    return texts


def _release(text: str) -> dict[str, Any]:
    """A release as Helm keeps it; empty if it cannot be read."""
    try:
        packed = base64.b64decode(base64.b64decode(text))
        if packed.startswith(_GZIP):
            packed = zlib.decompressobj(wbits=31).decompress(packed, _LARGEST_RELEASE)
        release = json.loads(packed)
    except (ValueError, zlib.error):
        return {}
    return release if isinstance(release, dict) else {}


def _text(item: dict[str, Any]) -> tuple[str, str]:
    """An object without what the server keeps of it, and where it is from."""
    about = item.get("metadata", {})
    about.pop("managedFields", None)
    annotations = about.get("annotations", {})
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    item.pop("status", None)
    where = "/".join(part for part in (item["kind"], about.get("namespace"), about.get("name")) if part)
    return f"kubernetes:{where}", json.dumps(item)
