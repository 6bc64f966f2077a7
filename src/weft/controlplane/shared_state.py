"""What several control planes of a cluster share instead of a home, in Secrets: store, authority and keys."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from weft.admin.guard import token_in
from weft.ca.authority import Authority, AuthorityError
from weft.ca.token_keys import TokenKeys
from weft.controlplane.settings import ServeSettings
from weft.controlplane.shared_directory import SharedFiles
from weft.controlplane.state_leader import StateLeader
from weft.settings.private import PermissionsError
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.shared.repository import SecretRepository
from weft.sources.kubernetes.shared.secret import VersionedSecret
from weft.store.sealing.wrappers import KEY_FILE, FileWrapper
from weft.store.shared.store import SharedStore
from weft.telemetry.metrics import Registry

AUTHORITY, KEYS = "weft-ca", "weft-keys"
"""Secrets in the namespace of the control planes."""
AUTHORITY_FILES = ("root*.pem", "intermediate*.pem", "rotation.json", "request.pem", "token-keys.json")
_log = logging.getLogger("weft.shared")


@dataclass(frozen=True, slots=True)
class SharedState:
    """The directories that are copies of Secrets, where the store is, and which control plane leads for all of it."""

    authority: SharedFiles
    keys: SharedFiles
    leader: StateLeader
    client: ApiClient
    namespace: str

    async def open_store(self) -> SharedStore:
        """The store. StoreError."""
        store = SharedStore(SecretRepository(self.client, self.namespace), replica_name())
        await store.open()
        return store

    async def open_keys(self, *, sealing: bool) -> None:
        """Have the tokens of the admin API and of Prometheus, and the key of the store's secrets if that is used
        (`sealing`), as all have them. OSError, PermissionsError."""

        async def prepare(directory: Path) -> None:
            token_in(directory / "admin.token")
            token_in(directory / "prometheus.token")
            if sealing and not (directory / KEY_FILE).exists():
                await FileWrapper(directory / KEY_FILE).wrap(b"the key is made when it is first used")

        await self.keys.begin(prepare)

    def follow(self, authority: Authority, token_keys: TokenKeys) -> None:
        """What other control planes change is in force here, too."""
        self.authority.told += [_guarded(authority.reload), _guarded(token_keys.reload)]


@contextlib.asynccontextmanager
async def shared_state(settings: ServeSettings, registry: Registry) -> AsyncIterator[SharedState | None]:
    """The shared state that `settings` want; None: the home has everything. Whoever leads for it, once it is told to
    begin, does so until what uses it has ended: then everything of its own is written, and another may lead at once."""
    file, namespace, home = settings.kubernetes, settings.shared, settings.home
    if file is None or namespace is None:
        yield None
        return
    async with ApiClient(Credentials(file.access)) as client:
        authority = VersionedSecret(client, namespace, AUTHORITY, "weft.dev/authority")
        keys = VersionedSecret(client, namespace, KEYS, "weft.dev/keys")
        leader = StateLeader(client, namespace, replica_name(), registry)
        async with _running(leader):
            yield SharedState(
                SharedFiles(authority, home.ca, AUTHORITY_FILES, last="rotation.json"),
                SharedFiles(keys, home.control_plane, (home.admin_token.name, home.prometheus_token.name, KEY_FILE)),
                leader,
                client,
                namespace,
            )


def leads_for(shared: SharedState | None) -> Callable[[], bool]:
    """Whether this control plane does now what one does for all that share a state; that of a home (None) is alone."""
    return shared.leader.leads if shared is not None else lambda: True


def rest_for(shared: SharedState | None) -> Callable[[float], Awaitable[None]]:
    """How one waits for so many seconds who does what `leads_for` is about: it is over at once when that changes, since
    what has become due meanwhile was left to another."""
    return shared.leader.rest if shared is not None else asyncio.sleep


@contextlib.asynccontextmanager
async def _running(leader: StateLeader) -> AsyncIterator[None]:
    task = asyncio.create_task(leader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def replica_name() -> str:
    """A name that no other process has, and none had."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:12]}"


def _guarded(reload: Callable[[], None]) -> Callable[[], None]:
    def guarded() -> None:
        try:
            reload()
        except (AuthorityError, PermissionsError, OSError) as error:
            _log.error("what another control plane has changed cannot be used, so what was there stays: %s", error)

    return guarded
