"""The injecting webhook: pods that are about to be made get their sidecars."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from weft.aio.threads import Threads
from weft.inject.admission import admit
from weft.inject.decision import Namespace
from weft.inject.pod import Injected
from weft.inject.review import ALLOWED, ReviewRequest, Verdict, is_new_pod
from weft.inject.settings import InjectionSettings
from weft.model.snapshot import ConfigSnapshot
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError

PATH = "/inject"
_LOOK_SECONDS = 3.0
_LOOKS_AT_ONCE = 8
"""Anybody may ask about namespaces that are not there, and each costs the API server a question."""
_AT_ONCE = 2
"""A pod of no sane size takes a tenth of a second."""
_BEGINNING = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
_SAID = ("ADDED", "BOOKMARK")
"""A bookmark ends what there is: https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists"""
_log = logging.getLogger("weft.injector")


class _Metadata(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Object = _Object()


class Injector:
    """Judges pods. Settings are asked for each, since the root that proves the control plane may be another one by
    then. To be used as an asynchronous context manager: all questions to the API server go by one client."""

    def __init__(
        self,
        settings: Callable[[], InjectionSettings],
        snapshot: Callable[[], ConfigSnapshot],
        credentials: Credentials,
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._client = ApiClient(credentials, _LOOKS_AT_ONCE)
        self._threads = Threads(_AT_ONCE)

    async def __aenter__(self) -> Injector:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(*error)

    async def review(self, request: ReviewRequest) -> Verdict:
        """A pod with its sidecar, if it is to have one. All else is let through."""
        if not is_new_pod(request):
            return ALLOWED
        name, settings = request.namespace, self._settings()
        known = _known_labels(self._snapshot(), name)
        injected, verdict = await self._admitted(request, known or {}, settings)
        if injected.by_namespace and injected.pod is None:
            # The API server has asked because its labels say so. Ours may be older: it decides.
            labels = await self._labels(name)
            injected, verdict = await self._admitted(request, labels, settings)
        if injected.pod is not None and name in self._snapshot().left_out:
            text = f"weft cannot inject the pod: no discovery selector matches the labels of the namespace {name}"
            verdict = Verdict(False, text)
        pod = f"{name}/{request.name or _name(request.object)}"
        if not verdict.allowed:
            _log.warning("the pod %s is refused: %s", pod, verdict.message)
        elif injected.pod is None:
            _log.info("the pod %s gets no sidecar: %s", pod, injected.reason)
        return verdict

    async def _admitted(
        self, request: ReviewRequest, labels: Mapping[str, str] | None, settings: InjectionSettings
    ) -> tuple[Injected, Verdict]:
        namespace = Namespace(request.namespace, labels)
        return await self._threads.run(lambda: admit(request.object, namespace, settings))

    async def _labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of a namespace as the API server has them now; None if it does not say: it has asked, so that its
        selectors chose the pod."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await _labels_of(self._client, name)
        except (ApiError, TimeoutError, msgspec.MsgspecError) as error:
            text = str(error) or "no answer in time"
            _log.warning("the labels of the namespace %s cannot be read: %s", name, text)
            return None


async def _labels_of(client: ApiClient, name: str) -> Mapping[str, str]:
    """By the beginning of a watch, for which weft has the right; empty where there is no such namespace. ApiError."""
    async with client.watch("/api/v1/namespaces", {**_BEGINNING, "fieldSelector": f"metadata.name={name}"}) as lines:
        async for events in lines:
            for line in events:
                event = msgspec.json.decode(line, type=_Event)
                if event.type in _SAID:
                    return event.object.metadata.labels if event.type == "ADDED" else {}
                raise ApiError(f"it answers with an event {event.type}")
    raise ApiError("the connection broke")


def _known_labels(snapshot: ConfigSnapshot, name: str) -> Mapping[str, str] | None:
    for document in snapshot.documents:
        key = document.key
        if key.kind == "Namespace" and not key.group and key.name == name:
            return dict(document.labels)
    return None


def _name(pod: dict[str, object]) -> str:
    metadata = pod.get("metadata")
    return str(metadata.get("generateName", "")) if isinstance(metadata, dict) else ""
