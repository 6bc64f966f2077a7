"""``./run package [deb|rpm|file ...]``: builds what is asked for, or all that this machine has the tools for."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from tools.packages.deb import build_deb
from tools.packages.payload import PYTHON, ROOT, Payload, build_epoch, collect, stage
from tools.packages.rpm import build_rpm
from tools.packages.single import build_single

_TOOLS = {"deb": "dpkg-deb", "rpm": "rpmbuild", "file": ""}
_BUILD = {"deb": build_deb, "rpm": build_rpm}


def build(kinds: tuple[str, ...], target: Path, payload: Payload) -> list[Path]:
    """Build these kinds of `payload` into the directory `target`; what was made. CalledProcessError of a tool."""
    target.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as directory:
        staged = Path(directory) / "root"
        if set(kinds) & set(_BUILD):
            stage(payload, staged)
        for kind in kinds:
            if kind == "file":
                made.append(build_single(payload, target))
            else:
                made.append(_BUILD[kind](payload, staged, target, Path(directory) / kind))
    return made


def main() -> int:
    """Build, and say what was made, how large it is, and its digest."""
    parser = argparse.ArgumentParser(prog="./run package", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*_TOOLS, []], help="what to build (default: all that can be)")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "packages", help="directory for it")
    given = parser.parse_args()
    kinds = tuple(given.kinds) or tuple(kind for kind, tool in _TOOLS.items() if not tool or shutil.which(tool))
    for kind in kinds:
        if _TOOLS[kind] and shutil.which(_TOOLS[kind]) is None:
            print(f"package: {kind} needs {_TOOLS[kind]}, which is not here", file=sys.stderr)
            return 1
    for path in build(kinds, given.output, collect(build_epoch(), given.output / f".more-{PYTHON}")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256:{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
