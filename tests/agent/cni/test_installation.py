"""The plugin among those of a node: the program first, one entry, and nothing of it left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from weft.agent.cni.chain import has_entry
from weft.agent.cni.installation import Places, put, take_away
from weft.agent.errors import AgentError

LIST = '{\n\t"name": "pods",\n\t"plugins": [\n\t\t{"type": "bridge"}\n\t]\n}\n'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(*(tmp_path / name for name in ("plugins", "networks", "records", "run", "weft-cni")))
    made.plugins.mkdir()
    made.networks.mkdir()
    made.program.write_bytes(b"program")
    return made


def network(places: Places, name: str = "10-pods.conflist") -> Path:
    path = places.networks / name
    path.write_text(LIST)
    path.chmod(0o600)
    return path


def test_it_is_put_there_and_taken_away(places: Places) -> None:
    file = network(places)
    assert put(places) == f"{places.plugins}/weft-cni is put there, {file} has it as its last plugin"
    assert put(places) == ""
    assert has_entry(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((places.plugins / "weft-cni").stat().st_mode) == 0o755
    take_away(places, needed=False)
    assert file.read_text() == LIST
    assert [*places.plugins.iterdir()] == []
    assert [*places.networks.iterdir()] == [file]
    take_away(places, needed=False)


def test_it_is_put_back_and_made_newer(places: Places) -> None:
    file = network(places)
    put(places)
    file.write_text(LIST)
    places.program.write_bytes(b"another")
    assert "is put there" in put(places)
    assert has_entry(file.read_text())
    assert (places.plugins / "weft-cni").read_bytes() == b"another"


def test_the_entry_goes_with_the_list_that_the_runtime_takes(places: Places) -> None:
    later = network(places, "20-pods.conflist")
    put(places)
    first = network(places)
    put(places)
    assert has_entry(first.read_text())
    assert later.read_text() == LIST


def test_the_program_stays_for_pods_that_end_with_it(places: Places) -> None:
    file = network(places)
    put(places)
    take_away(places, needed=True)
    assert file.read_text() == LIST
    assert (places.plugins / "weft-cni").exists()


def test_the_program_comes_before_an_entry_that_names_it(places: Places) -> None:
    with pytest.raises(AgentError, match="there is no network for pods yet; the node's own plugin makes it"):
        put(places)
    assert (places.plugins / "weft-cni").exists()


def test_what_is_wrong_is_told_with_its_file(places: Places) -> None:
    file = network(places)
    file.write_text('{"type": "bridge"}')
    with pytest.raises(AgentError, match=rf"{file}: it is no list of plugins"):
        put(places)
    (places.plugins / "weft-cni").unlink()
    places.plugins.rmdir()
    with pytest.raises(AgentError, match=r"plugins.*: No such file or directory"):
        put(places)


@pytest.mark.parametrize("taken_away", [False, True])
def test_what_the_networks_own_plugin_writes_meanwhile_is_not_lost(
    places: Places, monkeypatch: pytest.MonkeyPatch, taken_away: bool
) -> None:
    file, newer = network(places), LIST.replace("bridge", "ptp")
    put(places)
    if not taken_away:
        file.write_text(LIST)

    def rewritten(_: int) -> None:
        monkeypatch.undo()
        file.write_text(newer)

    monkeypatch.setattr(os, "fsync", rewritten)
    if taken_away:
        take_away(places, needed=False)
        assert file.read_text() == newer
    else:
        assert put(places) == ""
        assert file.read_text() == newer
        put(places)
        assert "ptp" in file.read_text()
        assert has_entry(file.read_text())
