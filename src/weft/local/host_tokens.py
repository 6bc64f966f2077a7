"""Join tokens of the workloads of a host, each in a file of its own or among systemd's credentials."""

from __future__ import annotations

import os
from pathlib import Path

from weft.local.services import CREDENTIAL


class Tokens:
    """Those in `directory` (None: of the service's credentials). What was read once is remembered: a token is for the
    first start, and its file may go after that without the workload being another."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[str, str] = {}

    def of(self, name: str, namespace: str) -> str:
        """The token of one of them; WEFT_TOKEN where it has no file, or nothing."""
        stem = name if namespace == "default" else f"{name}.{namespace}"
        found = self._known.get(stem, "")
        if not found:
            self._known[stem] = found = self._read(stem) or os.environ.get("WEFT_TOKEN", "")
        return found

    def _read(self, stem: str) -> str:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        path = Path(credentials) / f"{CREDENTIAL}_{stem}"
        if self._directory is not None:
            path = self._directory / stem
        elif not credentials:
            return ""
        try:
            return path.read_text().strip()
        except OSError:
            return ""
