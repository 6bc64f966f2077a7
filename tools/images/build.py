"""``./run images``: container images of this checkout into build/images, without a container engine.

``weft`` is the control plane and every command but those that need an Envoy; ``weft-proxy`` has Envoy too, and is what
runs in pods; ``weft-cni`` has the CNI plugin, and is what runs on each node where that captures pods.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.images.base import HOME, USER, Base, ImageError, default_sources
from tools.images.contents import Contents
from tools.images.oci import Image, write_archive
from tools.packages.payload import ROOT, build_epoch

from weft import __version__

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "WEFT_HOME": HOME}
_IMAGES = ("weft", "weft-proxy", "weft-cni")
TEST_REGISTRY, TEST_TAG = "weft.test", "1"


def build_images(target: Path, sources: Path, registry: str, tag: str, *, fresh: bool = False) -> list[Path]:
    """Build all images as ``REGISTRY/NAME:TAG`` into the directory `target`; the archives. ImageError if that cannot
    be."""
    target.mkdir(parents=True, exist_ok=True)
    contents = Contents(target, build_epoch())
    base = Base(sources).layer(fresh=fresh)
    libraries, envoy = contents.libraries()
    own = contents.weft()
    more = {"weft-proxy": (envoy,), "weft-cni": (contents.plugin(),)}
    made = []
    for name in _IMAGES:
        about = contents.about(name, envoy=name == "weft-proxy")
        image = Image(
            name=f"{registry}/{name}:{tag}" if registry else f"{name}:{tag}",
            layers=(base, libraries, *more.get(name, ()), own, about),
            entrypoint=("/usr/bin/weft",),
            user=f"{USER}:{USER}",
            directory=HOME,
            environment=_ENVIRONMENT,
            labels={"org.opencontainers.image.title": name, "org.opencontainers.image.version": __version__},
            epoch=contents.epoch,
        )
        archive = target / f"{name}.tar"
        digest = write_archive(image, archive)
        print(f"images: {image.name}, {archive.stat().st_size / 1e6:.0f} MB, {digest}", file=sys.stderr)
        made.append(archive)
    return made


def main(arguments: Sequence[str]) -> int:
    """Build them; the exit code."""
    parser = argparse.ArgumentParser(prog="./run images", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "images", help="directory for them")
    parser.add_argument("--registry", default=TEST_REGISTRY, help="what their names begin with (default: %(default)s)")
    parser.add_argument("--tag", default=TEST_TAG, help="(default: %(default)s)")
    parser.add_argument("--sources", type=Path, help="apt's list of Debian's sources (default: the machine's)")
    parser.add_argument("--fresh", action="store_true", help="ask Debian again, which may have newer packages")
    given = parser.parse_args(arguments)
    try:
        build_images(given.output, given.sources or default_sources(), given.registry, given.tag, fresh=given.fresh)
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
