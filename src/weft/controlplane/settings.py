"""What a control plane is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from weft.discovery.limits import Limits
from weft.model.snapshot import MeshSettings
from weft.settings.home import Home

DEFAULT_BIND = "127.0.0.1"
DEFAULT_LEASE = 15.0
DEFAULT_CERTIFICATE_TTL = 24 * 3600.0


class ServeError(Exception):
    """The control plane cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of ``weft serve``.

    `follow` are files and directories of documents that are followed live. `bind` is the address of the xDS server and
    of the agent API; the admin API is always on loopback. A port of None means the one used last in this home, else
    the usual one if it is free, else any (off loopback: an error); 0 means the one used last, else any free one.
    `advertise` is the host that agents on other hosts use (empty: the address they connected to). `lease` and
    `certificate_ttl` in seconds.
    """

    home: Home
    follow: tuple[Path, ...] = ()
    mesh: MeshSettings = field(default_factory=MeshSettings)
    namespace: str = "default"
    bind: str = DEFAULT_BIND
    xds_port: int | None = None
    agent_api_port: int | None = None
    admin_port: int | None = None
    advertise: str = ""
    lease: float = DEFAULT_LEASE
    certificate_ttl: float = DEFAULT_CERTIFICATE_TTL
    limits: Limits = field(default_factory=Limits)
