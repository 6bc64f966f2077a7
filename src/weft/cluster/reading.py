"""Reading a cluster: values by their path, lists in pages. What may not be read is noted, and nothing stands for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from weft.sources.kubernetes.client import JSON, ApiClient, ApiError
from weft.sources.kubernetes.server_objects import Json, decoded, pages

_FORBIDDEN, _NOT_FOUND = 403, 404
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
"""Of a list only what stands in metadata: https://kubernetes.io/docs/reference/using-api/api-concepts/"""


@dataclass(slots=True)
class Reader:
    """Reads by `client`. `unread` are the things that it may not read, as people call them. ApiError where the server
    gives no answer."""

    client: ApiClient
    unread: dict[str, None] = field(default_factory=dict)

    async def one(self, path: str, what: str) -> Json:
        """What stands at `path`; empty if nothing does, or if it may not be read."""
        try:
            answer = await self.client.get(path)
        except ApiError as error:
            self._missing(error, what)
            return {}
        return decoded(answer.body)

    async def every(self, path: str, what: str, labels: str = "", accept: str = JSON) -> list[Json]:
        """The objects of a list, with these labels; none if they may not be read."""
        found: list[Json] = []
        try:
            async for page in pages(self.client, path, labels, accept):
                found += page
        except ApiError as error:
            self._missing(error, what)
        return found

    def _missing(self, error: ApiError, what: str) -> None:
        if error.status == _FORBIDDEN:
            self.unread[what] = None
        elif error.status != _NOT_FOUND:
            raise error


async def clock_difference(client: ApiClient, now: float) -> tuple[Json, float, float]:
    """What ``/version`` says, the server's clock, and by how many seconds `now` is before it. ApiError."""
    answer = await client.get("/version")
    try:
        server = parsedate_to_datetime(answer.date).timestamp()
    except (TypeError, ValueError):
        return decoded(answer.body), now, 0.0
    difference = now - server
    # The server says whole seconds, which it has begun.
    return decoded(answer.body), server, 0.0 if 0.0 <= difference <= 1.0 else difference


def member(value: object, *keys: str) -> Any:
    """What stands in `value` below `keys`; None where nothing does."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def labels_of(thing: Mapping[str, Any]) -> dict[str, str]:
    """Its labels."""
    return dict(member(thing, "metadata", "labels") or {})


def annotations_of(thing: Mapping[str, Any]) -> dict[str, str]:
    """Its annotations."""
    return dict(member(thing, "metadata", "annotations") or {})


def name_of(thing: Mapping[str, Any]) -> str:
    """Its name."""
    return str(member(thing, "metadata", "name") or "")


def namespace_of(thing: Mapping[str, Any]) -> str:
    """Its namespace; empty if it has none."""
    return str(member(thing, "metadata", "namespace") or "")


def selected(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects what has these labels; one that is not there selects everything.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
    """
    said = selector or {}
    if any(labels.get(name) != value for name, value in (said.get("matchLabels") or {}).items()):
        return False
    return all(_fulfilled(each, labels) for each in said.get("matchExpressions") or ())


def _fulfilled(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(str(expression.get("key")))
    values: Sequence[str] = expression.get("values") or ()
    operator = expression.get("operator")
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return (value is not None) is (operator == "Exists")


async def all_of(*reads: Any) -> list[Any]:
    """The results of coroutines that run at once. The first error of one ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in reads]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]
