"""cert-manager's controller and webhook, to have the real thing sign a mesh's intermediate.

``./run cert-manager`` builds it, from cert-manager's own packages, and runs what is tried with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.go_programs import GoPrograms, NotBuiltError, go_command

PROGRAMS = GoPrograms("cert-manager", {"cert-manager": "./cert-manager"})


def chart() -> Path:
    """Its chart, of the version that is built: kinds, webhooks, accounts and their rights. NotBuiltError."""
    command = [go_command(), "list", "-m", "-json", "github.com/cert-manager/cert-manager"]
    done = subprocess.run(command, cwd=PROGRAMS.module, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"cert-manager's module is not there: {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["Dir"]) / "deploy" / "charts" / "cert-manager"


if __name__ == "__main__":
    sys.exit(PROGRAMS.run())
