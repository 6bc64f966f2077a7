"""Says in the cluster how commands reach the admin API: by which roots it proves itself, under which name, at which
port of its pods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from weft.aio.cell import Cell
from weft.model.door import NAME, PORT, ROOTS
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import MERGE_PATCH, ApiClient, ApiError
from weft.sources.kubernetes.documents import PREFIX

PACE = 10.0
"""Seconds between two looks: somebody may overwrite it."""
_FORBIDDEN = 403
_log = logging.getLogger("weft.serve")


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


class Door:
    """Keeps a `config_map` of a namespace, which the chart makes: where it is not there, nothing is said.
    `roots` are PEM; `changes` is told when they may be other ones."""

    def __init__(
        self,
        server: str,
        credentials: Credentials,
        namespace: str,
        config_map: str,
        roots: Callable[[], str],
        changes: Cell[Any],
        name: str,
        port: int,
    ) -> None:
        self._server = server
        self._credentials = credentials
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{config_map}"
        self._where = f"{namespace}/{config_map}"
        self._roots = roots
        self._changes = changes
        self._told = {NAME: name, PORT: str(port)}
        self._refused = ""
        self._failure = ""

    async def run(self) -> None:
        """Look for ever: again and again, and at once when the roots change."""
        async with ApiClient(self._credentials) as client:
            while True:
                version = self._changes.version
                await self._look(client)
                try:
                    async with asyncio.timeout(PACE):
                        await self._changes.changed(version)
                except TimeoutError:
                    continue

    def problems(self) -> tuple[Problem, ...]:
        """That it may not be read or written."""
        if not self._refused:
            return ()
        text = f"the ConfigMap {self._where} cannot be kept: {self._refused}; commands do not find this control plane"
        expected = f"a Role that allows get and patch of the ConfigMap {self._where}"
        origin = Origin(f"{PREFIX}{self._server}")
        return (Problem(Severity.ERROR, "kubernetes-refused", text, origin, expected=expected),)

    async def _look(self, client: ApiClient) -> None:
        """Write what differs."""
        wanted = {**self._told, ROOTS: self._roots()}
        try:
            found = msgspec.json.decode((await client.get(self._path)).body, type=_ConfigMap).data
            if {name: found.get(name) for name in wanted} != wanted:
                await client.send("PATCH", self._path, msgspec.json.encode({"data": wanted}), MERGE_PATCH)
                _log.info("the ConfigMap %s says how commands reach the admin API", self._where)
            self._refused = self._failure = ""
        except ApiError as error:
            self._failed(str(error))
            self._refused = str(error) if error.status == _FORBIDDEN else ""
        except msgspec.MsgspecError as error:
            self._failed(f"it cannot be read: {error}")

    def _failed(self, text: str) -> None:
        if text != self._failure:
            _log.warning("the ConfigMap %s cannot be kept: %s", self._where, text)
        self._failure = text
