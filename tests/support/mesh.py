"""The mesh of processes that end-to-end tests use: that of `weft.testing`, with this repository's echo application."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from weft.testing.polling import until
from weft.testing.processes import MeshProcesses, Proc, alive, cli

__all__ = ["APPS", "WEFT", "Mesh", "Proc", "alive", "cli", "until"]
WEFT = (sys.executable, "-m", "weft.cli.main")
APPS = Path(__file__).parent.parent / "apps"


class Mesh(MeshProcesses):
    """See `MeshProcesses`."""

    def echo(self, name: str, **options: Any) -> Proc:
        """Start an HTTP echo workload."""
        return self.run(name, [sys.executable, str(APPS / "http_echo.py")], **options)
