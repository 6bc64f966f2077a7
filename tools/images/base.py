"""The lowest layer of every image: as little of Debian as Python and nftables run on, made by mmdebstrap.

It lies in the user's cache, by what it is made of, since Debian is asked for it. Which mirror that is says the
machine's own list of sources, and nothing of it is in the layer: no package is installed from within.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.images.oci import architecture

RELEASE, PYTHON = "bookworm", (3, 11)
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_PACKAGES = ("usr-is-merged", "python3", "libstdc++6", "nftables", "ca-certificates")
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/lib/*/gconv/*", "/usr/share/doc/*")
_LICENCES = "/usr/share/doc/*/copyright"
_MERGED = "/usr/share/mmdebstrap/hooks/merged-usr"
_EMPTIED = ("etc/apt", "var/lib/apt", "var/cache", "var/log")
_LEFT_WHOLE = ("etc/apt", "var/lib/apt", "var/lib/dpkg/status-old", "var/lib/dpkg/available")
_OF_THE_MACHINE = ("etc/resolv.conf", "etc/hostname", "etc/machine-id")
_MODES = 0o1777
"""Nobody becomes another in an image: no set-user-id and no set-group-id."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weft" / "images"
USER, HOME = 1337, "/var/lib/weft"
_ACCOUNTS = {
    "etc/passwd": f"weft:x:{USER}:{USER}::{HOME}:/usr/sbin/nologin\n",
    "etc/group": f"weft:x:{USER}:\n",
}


class ImageError(Exception):
    """An image cannot be made; the text says what to do."""


@dataclass(frozen=True)
class Base:
    """The base from this list of sources (`default_sources`), kept in the directory `cache`."""

    sources: Path
    cache: Path = CACHE

    def layer(self, fresh: bool = False) -> Path:
        """The layer, from the cache unless it is to be `fresh`. ImageError if it cannot be made."""
        if not self.sources.is_file():
            raise ImageError(f"{self.sources} is not there; --sources names a list of Debian's sources for apt")
        kept = self.cache / f"{self._inputs()}.tar"
        if fresh or not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
                made, pruned = Path(directory) / "debian.tar", Path(directory) / "base.tar"
                self._make(made)
                prune(made, pruned)
                pruned.replace(kept)
        return kept

    def _inputs(self) -> str:
        what = (
            RELEASE,
            architecture(),
            _PACKAGES,
            _LEFT_OUT,
            _EMPTIED,
            _LEFT_WHOLE,
            _OF_THE_MACHINE,
            _MODES,
            sorted(_ACCOUNTS.items()),
        )
        return hashlib.sha256(repr(what).encode() + self.sources.read_bytes()).hexdigest()[:16]

    def _make(self, target: Path) -> None:
        if shutil.which("mmdebstrap") is None:
            raise ImageError("there is no mmdebstrap; install it (Debian and Ubuntu: apt-get install mmdebstrap)")
        options = [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
        options += [f"--dpkgopt=path-include={_LICENCES}", f"--hook-directory={_MERGED}"]
        command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(_PACKAGES)}", *options]
        done = subprocess.run(
            [*command, RELEASE, str(target), str(self.sources)],
            env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise ImageError(f"mmdebstrap failed with the sources of {self.sources}:\n{said}")


def default_sources() -> Path:
    """The machine's list of Debian's sources. ImageError if it has none."""
    for path in _SOURCES:
        if path.exists():
            return path
    raise ImageError(f"there is none of {', '.join(map(str, _SOURCES))}; name a list of Debian's sources (--sources)")


def prune(made: Path, target: Path) -> None:
    """Copy a layer without what installs packages, what is of the machine that made it, logs and caches, and with the
    account that images run as."""
    with tarfile.open(made) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as pruned:
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            member.name = member.name.removeprefix("./")
            if _is_left_out(member.name):
                continue
            member.mode, member.mtime, member.pax_headers = member.mode & _MODES, 0, {}
            content = source.extractfile(member) if member.isreg() else None
            if content is not None and member.name in _ACCOUNTS:
                text = content.read() + _ACCOUNTS[member.name].encode()
                member.size = len(text)
                content = io.BytesIO(text)
            pruned.addfile(member, content)
        home = tarfile.TarInfo(HOME.strip("/"))
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o700, USER, USER
        pruned.addfile(home)


def _is_left_out(name: str) -> bool:
    return name in (*_LEFT_WHOLE, *_OF_THE_MACHINE) or any(name.startswith(f"{place}/") for place in _EMPTIED)
