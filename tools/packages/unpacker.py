"""The beginning of the single file ``weft``: unpacks what is in it where it is not yet, and runs it.

It goes to ``WEFT_UNPACKED``, else ``$XDG_CACHE_HOME/weft`` or ``~/.cache/weft``, into a directory that is named by what
is in it and that nobody else may enter.
"""

import os
import platform
import shutil
import stat
import sys
import tempfile
import zipfile
from pathlib import Path

DIGEST = "@DIGEST@"
PYTHON = "@PYTHON@"
ARCHITECTURE = "@ARCHITECTURE@"
LAUNCHER = "@LAUNCHER@"


def fail(text):
    sys.exit(f"weft: {text}")


def place():
    """Where it is unpacked, checked to be ours."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    base = Path(os.environ.get("WEFT_UNPACKED") or os.path.join(cache, "weft"))
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot unpack into {base}: {error.strerror}; WEFT_UNPACKED names another directory")
    found = base.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        fail(f"{base} can be changed by others; run: chmod 700 '{base}', or name another directory in WEFT_UNPACKED")
    return base / DIGEST


def unpack(target):
    """All at once or not at all: two that start together do not disturb each other."""
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        site = work / "lib" / f"python{PYTHON}" / "site-packages"
        with zipfile.ZipFile(sys.argv[0]) as archive:
            for info in archive.infolist():
                if info.filename.startswith("site/"):
                    path = site / info.filename[len("site/") :]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(info) as packed, path.open("wb") as file:
                        shutil.copyfileobj(packed, file, 1 << 20)
                    path.chmod(info.external_attr >> 16)
        (work / "bin").mkdir()
        (work / "bin" / "python").symlink_to(sys.executable)
        (work / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n")
        program = work / "bin" / "weft"
        program.write_text(LAUNCHER.replace("#!@ ", f"#!{target / 'bin' / 'python'} ", 1))
        program.chmod(0o755)
        work.rename(target)
    except OSError as error:
        if not target.is_dir():
            fail(f"cannot unpack into {target.parent}: {error.strerror}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    if "%d.%d" % sys.version_info[:2] != PYTHON or platform.machine() != ARCHITECTURE:
        fail(f"this file is for Python {PYTHON} on {ARCHITECTURE}; it was started with {sys.executable}")
    target = place()
    if not (target / "bin" / "python").exists():
        shutil.rmtree(target, ignore_errors=True)  # its Python is gone
        unpack(target)
    python = str(target / "bin" / "python")
    os.execv(python, [python, "-I", str(target / "bin" / "weft"), *sys.argv[1:]])


main()
