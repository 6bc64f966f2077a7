"""The README is true: the mesh it prints validates, runs as it stands there, and answers what the page says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.envoy import free_port
from support.mesh import cli
from weft.cli.main import run
from weft.testing.mesh import RunningMesh, running_mesh

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def printed(name: str) -> str:
    """The file that the README prints under this name."""
    found = re.search(rf"```yaml\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


def commands() -> list[list[str]]:
    """Every `weft` command of the README's boxes, as words."""
    boxes = [box.removeprefix("\n") for box in README.split("```")[1::2] if box.startswith("\n")]
    lines = [line.partition("  #")[0].strip() for box in boxes for line in box.splitlines()]
    return [shlex.split(line.removeprefix("./run ")) for line in lines if re.match(r"(\./run )?weft ", line)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the two files."""
    for name in ("weft.yaml", "mesh.yaml"):
        (tmp_path / name).write_text(printed(name))
    return tmp_path


def test_the_two_files_are_all_right(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "--strict", str(place)]) == 0
    assert "3 documents, 0 errors, 0 warnings" in capsys.readouterr().out


@pytest.fixture
def mesh(place: Path) -> Iterator[tuple[RunningMesh, int]]:
    """The mesh as printed, but for the gateway's port, which may be taken here; and that port."""
    port = free_port()
    (place / "weft.yaml").write_text(printed("weft.yaml").replace("80: 8080", f"80: {port}"))
    with running_mesh(place / "weft.yaml") as found:
        yield found, port


def test_they_run_as_printed(mesh: tuple[RunningMesh, int]) -> None:
    running, port = mesh
    curl = shutil.which("curl")
    assert curl is not None
    answer = subprocess.run([curl, "-sf", f"http://127.0.0.1:{port}/"], capture_output=True, timeout=60, check=True)
    assert b"mesh.yaml" in answer.stdout, "http.server lists the directory of weft.yaml"
    home = running.home.root
    assert "mesh.yaml" in cli(home, "run", "--name", "client", "--", curl, "-sf", "http://hello/").stdout
    for words in (
        ["get", "all"],
        ["describe", "httproute", "hello"],
        ["proxy", "config", "hello-v1", "routes"],
        ["ps"],
    ):
        cli(home, *words)


def test_every_command_of_the_page_is_one() -> None:
    found = commands()
    assert len(found) > 10
    for words in found:
        name = [word for word in words[1:3] if not word.startswith("-")]
        depth = 2 if name[0] in ("proxy", "token", "identity") else 1
        assert run([*name[:depth], "--help"]) == 0, words


def test_the_pictures_are_there() -> None:
    places = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert places
    for place in places:
        assert (ROOT / place).read_bytes().startswith(b"\x89PNG"), place
