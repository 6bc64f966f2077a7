"""The controllers of Argo Rollouts and Flagger, which shift traffic to a new version and back, to try weft with.

``./run progressive-delivery`` builds them and has each roll out versions of an application in a cluster with a node.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.go_programs import GoPrograms, NotBuiltError, go_command

ROLLOUTS = GoPrograms("rollouts", {"rollouts-controller": "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"})
FLAGGER = GoPrograms("flagger", {"flagger": "github.com/fluxcd/flagger/cmd/flagger"})
"""Modules of their own: the two want different releases of Kubernetes' client."""


def definitions() -> tuple[Path, ...]:
    """The CustomResourceDefinitions of both, of the versions that are built. NotBuiltError if they cannot be had."""
    rollouts = _source(ROLLOUTS, "github.com/argoproj/argo-rollouts") / "manifests" / "crds"
    kinds = sorted(path for path in rollouts.glob("*-crd.yaml"))
    return (*kinds, _source(FLAGGER, "github.com/fluxcd/flagger") / "artifacts" / "flagger" / "crd.yaml")


def _source(programs: GoPrograms, module: str) -> Path:
    command = [go_command(), "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=programs.module, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"{module} cannot be downloaded: {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


if __name__ == "__main__":
    sys.exit(ROLLOUTS.run() or FLAGGER.run())
