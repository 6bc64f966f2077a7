"""A package of Debian and its relatives, made with dpkg-deb."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.packages.payload import PYTHON, Payload
from tools.packages.scripts import AFTER_INSTALL, BEFORE_REMOVAL

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build_deb(payload: Payload, root: Path, target: Path, work: Path) -> Path:
    """Build what is staged below `root` into `target`. CalledProcessError of dpkg-deb."""
    architecture = _ARCHITECTURES.get(payload.architecture, payload.architecture)
    shutil.copytree(root, work, symlinks=True)
    control = work / "DEBIAN"
    control.mkdir()
    control.chmod(0o755)
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    (control / "control").write_text(
        f"Package: weft\nVersion: {payload.version}\nArchitecture: {architecture}\nSection: net\nPriority: optional\n"
        f"Maintainer: The weft authors <weft@localhost>\nInstalled-Size: {size}\n"
        f"Depends: {PYTHON}, libc6 (>= 2.28), adduser | passwd\nRecommends: systemd\n"
        "Description: service mesh on Envoy\n"
        " A control plane that programs Envoy proxies over xDS, and agents that run Envoy\n"
        " beside applications. Envoy is included.\n"
    )
    (control / "control").chmod(0o644)
    _script(control / "postinst", f'[ "$1" = configure ] || exit 0\n{AFTER_INSTALL}')
    _script(control / "prerm", f'[ "$1" = remove ] || exit 0\n{BEFORE_REMOVAL}')
    for path in (work, *work.rglob("*")):
        os.utime(path, (payload.epoch, payload.epoch), follow_symlinks=False)
    made = target / f"weft_{payload.version}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", str(work), str(made)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(payload.epoch)},
    )
    return made


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\nset -e\n{text}")
    path.chmod(0o755)
