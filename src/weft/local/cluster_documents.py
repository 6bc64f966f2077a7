"""Documents of a cluster: applied and deleted at its API server, as whom the kubeconfig file says, by its rules.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from weft.local.cluster import ClusterError
from weft.model.document import Document, ObjectKey, key_mapping
from weft.model.printable import printable
from weft.schema.output import REDACTED, document_as_mapping
from weft.schema.registry import KINDS
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.discovery import ACCEPT, PATHS, DiscoveryError, Served, found_from
from weft.sources.kubernetes.server_objects import Json, applied, live, stated

MANAGER = "weft"
_NOT_FOUND, _CONFLICT, _FORBIDDEN = 404, 409, 403


class ClusterRefusedError(Exception):
    """The API server has refused a document; the message says which, and why. `changed` are those before it."""

    def __init__(self, message: str, changed: Sequence[Changed] = ()) -> None:
        super().__init__(message)
        self.changed = tuple(changed)


@dataclass(frozen=True, slots=True)
class Changed:
    """A document as the API server has it now; `change` is created, configured, unchanged or deleted, `diff` what a dry
    run says of it."""

    key: ObjectKey
    change: str
    uid: str = ""
    generation: int = 0
    version: str = ""
    diff: str | None = None

    @property
    def row(self) -> dict[str, object]:
        """As the admin API has it."""
        return {
            "key": key_mapping(self.key),
            "change": self.change,
            **({} if self.diff is None else {"diff": self.diff}),
        }

    @property
    def written(self) -> dict[str, object]:
        """As ``POST /v1/confirmation`` takes it. Of one that was so already an earlier version may have been read."""
        version = "" if self.change == "unchanged" and self.generation else self.version
        about = {"uid": self.uid, "generation": self.generation, "version": version}
        return {**key_mapping(self.key), **about, "gone": self.change == "deleted"}


class ClusterDocuments:
    """The documents of one cluster, while `client` is open."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._served: dict[tuple[str, str], Served] = {}

    async def discover(self) -> None:
        """Ask which kinds the server has. ClusterError."""
        try:
            answers = [(await self._client.get(path, ACCEPT)).body for path in PATHS]
            found = found_from(answers, KINDS)
        except (ApiError, DiscoveryError) as error:
            raise ClusterError(f"the API server: {error}") from error
        self._served = {(one.kind.group, one.kind.name): one for one in found.served}

    async def apply(
        self, documents: Sequence[Document[object]], *, dry_run: bool = False, force: bool = False
    ) -> list[Changed]:
        """Apply all, namespaces first: on trial, and if the server would take every one, in earnest.
        ClusterRefusedError, with nothing changed unless it says so."""
        ordered = sorted(documents, key=lambda one: one.key.kind != "Namespace")
        new = {one.key.name for one in ordered if one.key.kind == "Namespace"}
        tried = []
        for one in ordered:
            if not dry_run and (len(ordered) == 1 or one.key.namespace in new):
                continue  # a namespace that is not there yet takes nothing, not even on trial
            tried.append(await self._apply(one, dry_run=True, force=force))
        if dry_run:
            return tried
        changed: list[Changed] = []
        for one in ordered:
            try:
                changed.append(await self._apply(one, dry_run=False, force=force))
            except ClusterRefusedError as error:
                raise ClusterRefusedError(str(error), changed) from error
        return changed

    async def delete(self, key: ObjectKey, *, dry_run: bool = False) -> Changed | None:
        """Delete one; None if it is not there. ClusterRefusedError."""
        path = self._path(key)
        try:
            before = await live(self._client, path)
            if before is not None:
                await self._client.send("DELETE", path, query={"dryRun": "All"} if dry_run else None)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise ClusterRefusedError(f"{key}: {_said(error, 'delete')}") from error
        return None if before is None else _changed(key, "deleted", before)

    async def _apply(self, document: Document[object], *, dry_run: bool, force: bool) -> Changed:
        key, where = document.key, document.origin
        path = self._path(key, document)
        body = document_as_mapping(document, redact=False)
        body["metadata"] = {**body.get("metadata", {}), **({"namespace": key.namespace} if key.namespace else {})}
        body["apiVersion"] = self._served[key.group, key.kind].api_version
        try:
            before = await live(self._client, path)
            after = await applied(self._client, path, body, MANAGER, force=force, dry=dry_run, strict=True)
        except ApiError as error:
            raise ClusterRefusedError(f"{where}: {key}: {_said(error, 'apply')}") from error
        same = before is not None and stated(before) == stated(after)
        change = "created" if before is None else "unchanged" if same else "configured"
        diff = _diff(before, after, where.source) if dry_run and not same else "" if dry_run else None
        return _changed(key, change, after, diff)

    def _path(self, key: ObjectKey, document: Document[object] | None = None) -> str:
        served = self._served.get((key.group, key.kind))
        if served is None:
            where = f"{document.origin}: " if document is not None else ""
            text = f"the cluster has no {key.kind} of {key.group or 'the core group'}; install its definition first"
            raise ClusterRefusedError(f"{where}{key}: {text}")
        return served.path_of(key.namespace, key.name)


def _changed(key: ObjectKey, change: str, found: Json, diff: str | None = None) -> Changed:
    about = found.get("metadata") or {}
    generation, version = int(about.get("generation") or 0), str(about.get("resourceVersion") or "")
    return Changed(key, change, str(about.get("uid") or ""), generation, version, diff)


def _diff(before: Json | None, after: Json, source: str) -> str:
    old = _yaml(before) if before is not None else []
    text = "".join(difflib.unified_diff(old, _yaml(after), "in the cluster", source))
    return text or "(only secret values differ)\n"


def _yaml(found: Json) -> list[str]:
    content = stated(found)
    if content.get("kind") == "Secret":
        content["data"] = dict.fromkeys(content.get("data") or {}, REDACTED)
        (content.get("metadata") or {}).pop("annotations", None)
    return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=True, width=120).splitlines(keepends=True)


def _said(error: ApiError, what: str) -> str:
    """The server's words, and what to do where that is known."""
    text = printable(str(error), 2000)
    if error.status == _CONFLICT and what == "apply":
        return f"{text}; --force-conflicts takes these fields over"
    if error.status == _FORBIDDEN:
        return f"{text}; you need that right in the cluster"
    return text
