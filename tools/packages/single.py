"""A single file ``weft``: a zip archive that Python runs, which unpacks itself once for each user.

Shared libraries cannot be loaded from an archive, and neither can Envoy; so what is unpacked is what a package has.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from tools.packages.payload import PYTHON, Payload, launcher, write_site

_FIRST = 315532800
"""1980, before which there is no time in a zip archive."""
_UNPACKER = Path(__file__).with_name("unpacker.py")


def build_single(payload: Payload, target: Path) -> Path:
    """Build it into `target`."""
    with tempfile.TemporaryDirectory() as directory:
        site = Path(directory)
        write_site(payload, site)
        files = [(path.relative_to(site).as_posix(), path) for path in sorted(site.rglob("*")) if path.is_file()]
        digest = hashlib.sha256()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, path in files:
                content = path.read_bytes()
                mode = path.stat().st_mode & 0o777
                digest.update(f"{name} {mode:o} {len(content)}\n".encode() + content)
                _add(archive, payload, f"site/{name}", content, mode)
            program = _UNPACKER.read_text()
            for word, value in (
                ("@DIGEST@", digest.hexdigest()[:16]),
                ("@PYTHON@", f"{sys.version_info.major}.{sys.version_info.minor}"),
                ("@ARCHITECTURE@", payload.architecture),
                ("@LAUNCHER@", launcher("@")),
            ):
                program = program.replace(word, value.replace("\n", "\\n"))
            _add(archive, payload, "__main__.py", program.encode(), 0o644)
    made = target / f"weft-{payload.version}-{PYTHON}-{payload.architecture}"
    made.write_bytes(f"#!/usr/bin/env {PYTHON}\n".encode() + packed.getvalue())
    made.chmod(0o755)
    return made


def _add(archive: zipfile.ZipFile, payload: Payload, name: str, content: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, time.gmtime(max(payload.epoch, _FIRST))[:6])
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)
