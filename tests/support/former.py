"""A former release for tests: the images of this checkout, and its command line, that say another version."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

from tools.images.base import HOME, USER, Base, default_sources
from tools.images.contents import Contents
from tools.images.oci import Entry, Image, write_archive, write_layer
from tools.packages.payload import PREFIX, build_epoch

VERSION = "0.0.9"
"""One release before 0.1.0."""
_PLACE = f"{PREFIX}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/weft".strip("/")
_TEXT = f'"""weft: a service mesh that programs Envoy proxies over xDS."""\n\n__version__ = "{VERSION}"\n'
_MAIN = f"import weft; weft.__version__ = {VERSION!r}; from weft.cli.main import main; main()"


def former_images(target: Path) -> list[Path]:
    """Archives of ``weft.test/weft:VERSION`` and ``weft.test/weft-proxy:VERSION``."""
    target.mkdir(parents=True, exist_ok=True)
    contents = Contents(target, build_epoch())
    libraries, envoy = contents.libraries()
    below, own, changed = Base(default_sources()).layer(), contents.weft(), _changed(target, contents.epoch)
    made = []
    for name, more in (("weft", ()), ("weft-proxy", (envoy,))):
        image = Image(
            name=f"weft.test/{name}:{VERSION}",
            layers=(below, libraries, *more, own, changed),
            entrypoint=("/usr/bin/weft",),
            user=f"{USER}:{USER}",
            directory=HOME,
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "WEFT_HOME": HOME},
            epoch=contents.epoch,
        )
        made.append(target / f"{name}.tar")
        write_archive(image, made[-1])
    return made


def _changed(directory: Path, epoch: int) -> Path:
    """The layer with the module that says the version."""
    source, compiled = directory / "__init__.py", directory / "__init__.pyc"
    source.write_text(_TEXT)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(compiled), f"/{_PLACE}/__init__.py", doraise=True, invalidation_mode=unchecked)
    layer = directory / "former.layer"
    cached = f"{_PLACE}/__pycache__/__init__.{sys.implementation.cache_tag}.pyc"
    write_layer(layer, [Entry(f"{_PLACE}/__init__.py", source), Entry(cached, compiled)], epoch)
    return layer


def former_cli(*words: str) -> str:
    """What the command line of that release prints. AssertionError if it fails."""
    command = [sys.executable, "-c", _MAIN, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout
