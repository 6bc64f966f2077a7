"""Image archives: what is in them, that they are written alike twice, and what of a machine is kept out of them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from tools.images.base import Base, ImageError, prune
from tools.images.build import main
from tools.images.oci import Entry, Image, architecture, write_archive, write_layer


def archive(directory: Path) -> Path:
    directory.mkdir()
    layers = []
    for number, entries in enumerate(([Entry("usr/bin/weft", b"#!", 0o755)], [Entry("b", b"2"), Entry("a", link="b")])):
        layer = directory / f"{number}.layer"
        write_layer(layer, entries, 1_700_000_000)
        layers.append(layer)
    image = Image("weft.test/weft:1", tuple(layers), ("weft",), "1337:1337", epoch=1_700_000_000)
    write_archive(image, directory / "image.tar")
    return directory / "image.tar"


def test_an_archive_is_an_image_layout_whose_blobs_are_what_their_digests_say(tmp_path: Path) -> None:
    with tarfile.open(archive(tmp_path / "one")) as tar:
        files = {member.name: member_bytes(tar, member) for member in tar.getmembers()}
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files.pop("index.json"))["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "weft.test/weft:1"
    for name, content in files.items():
        assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"

    manifest = json.loads(files[blob(entry["digest"])])
    config = json.loads(files[blob(manifest["config"]["digest"])])
    assert config["config"]["User"] == "1337:1337"
    assert config["config"]["Entrypoint"] == ["weft"]
    assert config["architecture"] == architecture()
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    with tarfile.open(fileobj=io.BytesIO(files[blob(manifest["layers"][0]["digest"])])) as layer:
        shown = {member.name: (member.mode, member.uid, member.mtime) for member in layer.getmembers()}
    when = 1_700_000_000
    assert shown == {"usr": (0o755, 0, when), "usr/bin": (0o755, 0, when), "usr/bin/weft": (0o755, 0, when)}


def test_an_archive_is_written_alike_twice(tmp_path: Path) -> None:
    assert archive(tmp_path / "one").read_bytes() == archive(tmp_path / "two").read_bytes()


def test_a_base_has_nothing_of_the_machine_that_made_it_and_an_account_for_weft(tmp_path: Path) -> None:
    """Nor what installs packages, nor what makes one user another."""
    files = {
        "./etc/passwd": (b"root:x:0:0::/root:/bin/sh\n", 0o644),
        "./etc/apt/sources.list.d/0000machine.sources": (b"URIs: http://mirror.example", 0o644),
        "./etc/resolv.conf": (b"nameserver 192.0.2.1", 0o644),
        "./etc/hostname": (b"builder", 0o644),
        "./var/lib/apt/lists/mirror.example_Release": (b"", 0o644),
        "./var/cache/apt/pkgcache.bin": (b"", 0o644),
        "./usr/bin/su": (b"su", 0o4755),
    }
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        for name, (content, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), mode, 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
    prune(tmp_path / "made.tar", tmp_path / "base.tar")
    with tarfile.open(tmp_path / "base.tar") as tar:
        shown = {member.name: (member.mode, member.mtime) for member in tar.getmembers()}
        accounts = member_bytes(tar, tar.getmember("etc/passwd")).decode()
    assert shown == {"etc/passwd": (0o644, 0), "usr/bin/su": (0o755, 0), "var/lib/weft": (0o700, 0)}
    assert accounts.splitlines()[1] == "weft:x:1337:1337::/var/lib/weft:/usr/sbin/nologin"


def test_without_mmdebstrap_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "debian.sources"
    sources.write_text("Types: deb\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="apt-get install mmdebstrap"):
        Base(sources, tmp_path / "cache").layer()


def test_sources_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sources", str(tmp_path / "none")]) == 1
    assert f"{tmp_path}/none" in capsys.readouterr().err


def member_bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
