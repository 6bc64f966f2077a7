"""The data directory: which files live where."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_MAX_SOCKET_PATH = 100
"""sun_path holds 108 bytes on Linux, 104 on macOS; Envoy appends nothing."""


_MAX_SHORT_ROOT = _MAX_SOCKET_PATH - len(f"/weft-{2**32}-{'0' * 12}/{'0' * 12}.sock")


def short_root() -> Path:
    """Where short directories for sockets are made: the temporary directory, or ``/tmp`` if its own path is too long.

    Others may write there; what is made below is private (0700) and checked to be its user's.
    """
    temporary = Path(tempfile.gettempdir())
    return temporary if len(os.fsencode(temporary)) <= _MAX_SHORT_ROOT else Path("/tmp")  # noqa: S108


def default_home() -> Path:
    """``WEFT_HOME``, else the platform's state directory."""
    if explicit := os.environ.get("WEFT_HOME"):
        return Path(explicit)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "weft"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "weft"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one data directory. Making and checking them (0700) is up to their owners."""

    root: Path

    @property
    def control_plane(self) -> Path:
        """Store, CA, tokens, ports and log of the control plane."""
        return self.root / "control-plane"

    @property
    def database(self) -> Path:
        """The SQLite store."""
        return self.control_plane / "weft.db"

    @property
    def ca(self) -> Path:
        """Root and intermediate keys and certificates."""
        return self.control_plane / "ca"

    @property
    def prometheus_token(self) -> Path:
        """The token with which Prometheus may read metrics and where to find them, and nothing else (0600)."""
        return self.control_plane / "prometheus.token"

    @property
    def admin_token(self) -> Path:
        """The admin API's bearer token, 0600."""
        return self.control_plane / "admin.token"

    @property
    def endpoints(self) -> Path:
        """JSON written by a running control plane: its addresses and pid (see `weft.settings.endpoints`)."""
        return self.control_plane / "endpoints.json"

    @property
    def ports(self) -> Path:
        """JSON of the ports that the control plane has chosen, by what listens there."""
        return self.control_plane / "ports.json"

    @property
    def trust_bundle(self) -> Path:
        """PEM of the CA certificates, for anyone to read."""
        return self.control_plane / "trust-bundle.pem"

    @property
    def agent_socket(self) -> Path:
        """The unix socket (0600) of the agent API for workloads of this host."""
        return self.socket(self.control_plane / "agent.sock")

    @property
    def up_socket(self) -> Path:
        """The unix socket (0600) on which `weft up` takes orders."""
        return self.socket(self.root / "up.sock")

    @property
    def logs(self) -> Path:
        """What the processes of `weft up` say, a file for each."""
        return self.root / "logs"

    @property
    def workloads(self) -> Path:
        """One directory per workload below its namespace."""
        return self.root / "workloads"

    def workload(self, namespace: str, name: str) -> Path:
        """The private directory (0700) of one workload's agent."""
        return self.workloads / namespace / name

    def socket(self, wanted: Path) -> Path:
        """`wanted`, or a short stand-in below the temporary directory if it is too long for a unix socket.

        The stand-in's directory is `short_directory`, which its user makes (0700) and removes.
        """
        if len(os.fsencode(wanted.absolute())) <= _MAX_SOCKET_PATH:
            return wanted
        tail = hashlib.sha256(os.fsencode(wanted.absolute())).hexdigest()[:12]
        return self.short_directory / f"{tail}.sock"

    @property
    def short_directory(self) -> Path:
        """A short private directory for sockets, one per user and home."""
        digest = hashlib.sha256(os.fsencode(self.root.absolute())).hexdigest()[:12]
        return short_root() / f"weft-{os.getuid()}-{digest}"
