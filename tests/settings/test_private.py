"""Private directories: safe modes all the way down, and no trust in what somebody else has put there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from weft.settings.private import PermissionsError, make_private_directory, write_atomically


def test_everything_made_is_private(tmp_path: Path) -> None:
    make_private_directory(tmp_path / "home" / "workloads" / "web")
    for path in ("home", "home/workloads", "home/workloads/web"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o700


def test_what_others_can_write_or_redirect_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name, words in (("open", "open to other users"), ("link", "symbolic link")):
        with pytest.raises(PermissionsError, match=words):
            make_private_directory(tmp_path / name)


def test_each_change_of_a_file_is_whole_and_what_need_not_be_durable_costs_one_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("weft.settings.private.os.fsync", flushed.append)
    write_atomically(tmp_path / "a", "old")
    assert len(flushed) == 2
    write_atomically(tmp_path / "a", "new", durable=False)
    assert len(flushed) == 3
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
