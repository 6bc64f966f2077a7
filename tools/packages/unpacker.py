"""The beginning of the single file ``weft``: unpacks what is in it where it is not yet, and runs it.

It goes to ``WEFT_UNPACKED``, else ``$XDG_CACHE_HOME/weft`` or ``~/.cache/weft``, into a directory that is named by what
is in it and that nobody else may enter.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NoReturn

DIGEST = "@DIGEST@"
PYTHON = "@PYTHON@"
ARCHITECTURE = "@ARCHITECTURE@"
LAUNCHER = "@LAUNCHER@"


def fail(text: str) -> NoReturn:
    """Say why it does not start."""
    sys.exit(f"weft: {text}")


def place() -> Path:
    """Where it is unpacked, checked to be ours."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    base = Path(os.environ.get("WEFT_UNPACKED") or Path(cache) / "weft")
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.stat()
    except OSError as error:
        fail(f"cannot unpack into {base}: {error.strerror}; WEFT_UNPACKED names another directory")
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        fail(f"{base} can be changed by others; run: chmod 700 '{base}', or name another directory in WEFT_UNPACKED")
    return base / DIGEST


def unpack(target: Path) -> None:
    """All at once or not at all: two that start together do not disturb each other."""
    try:
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    except OSError as error:
        fail(f"cannot unpack into {target.parent}: {error.strerror}; WEFT_UNPACKED names another directory")
    try:
        _fill(work, target)
        work.rename(target)
    except OSError as error:
        if not target.is_dir():
            fail(f"cannot unpack into {target.parent}: {error.strerror}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(work: Path, target: Path) -> None:
    site = work / "lib" / f"python{PYTHON}" / "site-packages"
    with zipfile.ZipFile(sys.argv[0]) as archive:
        for info in archive.infolist():
            if info.filename.startswith("site/"):
                path = site / info.filename.removeprefix("site/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
                path.chmod(info.external_attr >> 16)
    (work / "bin").mkdir()
    (work / "bin" / "python").symlink_to(sys.executable)
    (work / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    program = work / "bin" / "weft"
    program.write_text(LAUNCHER.replace("#!@ ", f"#!{target / 'bin' / 'python'} ", 1))
    program.chmod(0o755)


def main() -> None:
    """Become the weft that is in this file."""
    found = f"{sys.version_info.major}.{sys.version_info.minor}"
    if found != PYTHON or platform.machine() != ARCHITECTURE:
        fail(f"this file is for Python {PYTHON} on {ARCHITECTURE}; this is Python {found} on {platform.machine()}")
    target = place()
    if not (target / "bin" / "python").exists():
        shutil.rmtree(target, ignore_errors=True)  # its Python is gone
        unpack(target)
    python = str(target / "bin" / "python")
    os.execv(python, [python, "-I", str(target / "bin" / "weft"), *sys.argv[1:]])


if __name__ == "__main__":
    main()
