"""Keeps the mesh's roots in the webhook configurations, by which API servers check the webhook server.

https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/mutating-webhook-configuration-v1/
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.aio.cell import Cell
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.revisions import Revision
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import JSON_PATCH, ApiClient, ApiError

PACE = 5.0
"""Seconds between two looks: a configuration may come, or be overwritten, at any time."""
_API = "/apis/admissionregistration.k8s.io/v1"
_INJECTOR, _VALIDATOR = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
_FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 403, 404, 409, 422
_log = logging.getLogger("weft.webhooks")


class _ClientConfig(msgspec.Struct, frozen=True, rename={"ca_bundle": "caBundle"}):
    ca_bundle: str = ""


class _Webhook(msgspec.Struct, frozen=True, rename={"client_config": "clientConfig"}):
    name: str
    client_config: _ClientConfig = _ClientConfig()


class _Configuration(msgspec.Struct, frozen=True):
    webhooks: list[_Webhook] = []


@dataclass(frozen=True, slots=True)
class _Target:
    """A configuration: its resource and name."""

    resource: str
    name: str

    @property
    def path(self) -> str:
        return f"{_API}/{self.resource}/{self.name}"


def configurations(revision: Revision) -> tuple[tuple[str, str], ...]:
    """The resources and names of the configurations of a control plane, which differ by its revision."""
    return (_INJECTOR, f"weft-injector{revision.suffix}"), (_VALIDATOR, f"weft-validator{revision.suffix}")


class WebhookRoots:
    """Writes `roots` (PEM) wherever a webhook of ours has others. `server` is what people call the API server;
    `changes` is told when the roots may be other ones."""

    def __init__(
        self,
        server: str,
        credentials: Credentials,
        roots: Callable[[], str],
        changes: Cell[Any],
        revision: Revision,
    ) -> None:
        self._server = server
        self._credentials = credentials
        self._roots = roots
        self._changes = changes
        self._targets = tuple(_Target(*each) for each in configurations(revision))
        self._failures: dict[_Target, str] = {}
        self._refused: dict[_Target, str] = {}

    async def run(self) -> None:
        """Look for ever: again and again, and at once when the roots change."""
        async with ApiClient(self._credentials) as client:
            while True:
                version = self._changes.version
                for target in self._targets:
                    await self._look(client, target)
                try:
                    async with asyncio.timeout(PACE):
                        await self._changes.changed(version)
                except TimeoutError:
                    continue

    def problems(self) -> tuple[Problem, ...]:
        """Configurations that may not be read or written."""
        return tuple(self._problem(target, text) for target, text in sorted(self._refused.items(), key=str))

    async def _look(self, client: ApiClient, target: _Target) -> None:
        """Write what differs. One that is not there is none of our business."""
        try:
            await self._keep(client, target)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                self._well(target)
            elif error.status in (_CONFLICT, _INVALID):
                return  # somebody has changed it meanwhile: the next look sees it
            else:
                self._failed(target, error)
        except msgspec.MsgspecError as error:
            self._failed(target, ApiError(f"it cannot be read: {error}"))
        else:
            self._well(target)

    async def _keep(self, client: ApiClient, target: _Target) -> None:
        answer = await client.get(target.path)
        wanted = base64.b64encode(self._roots().encode()).decode()
        webhooks = msgspec.json.decode(answer.body, type=_Configuration).webhooks
        patch: list[dict[str, str]] = []
        for index, webhook in enumerate(webhooks):
            if webhook.client_config.ca_bundle != wanted:
                path = f"/webhooks/{index}"
                patch.append({"op": "test", "path": f"{path}/name", "value": webhook.name})
                patch.append({"op": "add", "path": f"{path}/clientConfig/caBundle", "value": wanted})
        if patch:
            await client.send("PATCH", target.path, msgspec.json.encode(patch), JSON_PATCH)
            _log.info("the %s %s has the mesh's roots", target.resource, target.name)

    def _well(self, target: _Target) -> None:
        self._failures.pop(target, None)
        self._refused.pop(target, None)

    def _failed(self, target: _Target, error: ApiError) -> None:
        text = str(error)
        if self._failures.get(target) != text:
            _log.warning("the %s %s cannot be kept: %s", target.resource, target.name, text)
        self._failures[target] = text
        if error.status == _FORBIDDEN:
            self._refused[target] = text

    def _problem(self, target: _Target, text: str) -> Problem:
        message = f"the mesh's roots cannot be kept in the {target.resource} {target.name}: {text}"
        expected = f"a ClusterRole that allows get and patch of {target.name}"
        origin = Origin(f"kubernetes:{self._server}")
        return Problem(Severity.ERROR, "webhook-refused", message, origin, expected=expected)
