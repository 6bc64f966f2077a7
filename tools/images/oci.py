"""Image archives as the OCI image specification 1.1 has them: one tar with an image layout, which every engine loads.

Layers are plain tars, made elsewhere or by `write_layer`. The same input makes the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MEDIA = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """What an archive holds. `layers` are tars, the lowest first; `user` is ``UID:GID``, "" for root; `epoch` is the
    time that is told of it, in seconds."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...]
    user: str = ""
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0


@dataclass(frozen=True)
class Entry:
    """A file in a layer: its bytes, or whose bytes it has, or, with `link`, where the symbolic link leads."""

    path: str
    content: bytes | Path = b""
    mode: int = 0o644
    link: str = ""


def architecture() -> str:
    """This machine's, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def write_layer(target: Path, entries: Iterable[Entry], epoch: int) -> None:
    """A layer with these files, and the directories above them, all of root and of the time `epoch` (seconds)."""
    written: set[str] = set()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=lambda each: each.path):
            parts = entry.path.strip("/").split("/")
            for depth in range(1, len(parts)):
                above = "/".join(parts[:depth])
                if above not in written:
                    written.add(above)
                    tar.addfile(_described(above, tarfile.DIRTYPE, 0o755, epoch))
            info = _described("/".join(parts), tarfile.SYMTYPE if entry.link else tarfile.REGTYPE, entry.mode, epoch)
            info.linkname = entry.link
            content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_archive(image: Image, target: Path) -> str:
    """Write the archive of one image; the digest by which it is known, ``sha256:HEX``."""
    layers = [_layer(path) for path in image.layers]
    config = _encoded(_config(image, layers))
    manifest = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor(config, "config.v1+json"),
            "layers": layers,
        }
    )
    named = _descriptor(manifest, "manifest.v1+json")
    annotations = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
    index = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.index.v1+json",
        "manifests": [{**named, "annotations": annotations}],
    }
    fresh = target.with_name(f".{target.name}.fresh")
    with tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', image.epoch)
        _put(tar, "index.json", _encoded(index), image.epoch)
        _put(tar, _blob(named), manifest, image.epoch)
        _put(tar, _blob(_descriptor(config, "")), config, image.epoch)
        for described, path in dict(zip(map(_blob, layers), image.layers, strict=True)).items():
            with path.open("rb") as content:
                info = _described(described, tarfile.REGTYPE, 0o644, image.epoch)
                info.size = path.stat().st_size
                tar.addfile(info, content)
    fresh.replace(target)
    return str(named["digest"])


def _config(image: Image, layers: list[dict[str, Any]]) -> dict[str, Any]:
    settings = {
        "User": image.user,
        "Env": [f"{name}={value}" for name, value in sorted(image.environment.items())],
        "Entrypoint": list(image.entrypoint),
        "WorkingDir": image.directory,
        "Labels": dict(sorted(image.labels.items())),
    }
    return {
        "architecture": architecture(),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }


def _layer(path: Path) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"mediaType": f"{_MEDIA}.layer.v1.tar", "digest": f"sha256:{digest}", "size": path.stat().st_size}


def _descriptor(content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


def _blob(descriptor: Mapping[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _encoded(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _put(tar: tarfile.TarFile, name: str, content: bytes, epoch: int) -> None:
    info = _described(name, tarfile.REGTYPE, 0o644, epoch)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _described(name: str, kind: bytes, mode: int, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, epoch
    return info
