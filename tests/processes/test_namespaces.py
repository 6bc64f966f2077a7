"""Files that are taken for network namespaces, and those that are not. What is done inside of one: `tests/e2e`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weft.processes import namespaces
from weft.processes.capabilities import has_capability
from weft.processes.namespaces import NamespaceError, in_thread, namespace_at


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose parents do not count: those of a test are anybody's."""
    monkeypatch.setattr(namespaces, "_check_way", lambda _: None)
    return tmp_path


def test_a_file_of_any_other_kind_is_none(way: Path) -> None:
    (way / "file").touch()
    os.mkfifo(way / "fifo")  # to open it would take for ever
    (way / "link").symlink_to("/proc/self/ns/net")
    (way / "directory").mkdir()
    for name in ("file", "fifo", "link", "directory"):
        with pytest.raises(NamespaceError, match="is no network namespace"):
            namespace_at(str(way / name))
    with pytest.raises(NamespaceError, match="is not there"):
        namespace_at(str(way / "nothing"))


def test_what_others_may_change_cannot_be_relied_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o777)
    with pytest.raises(NamespaceError, match=f"others may change what is in {tmp_path}"):
        namespace_at(str(tmp_path / "file"))


def test_work_in_a_thread_raises_where_it_is_waited_for() -> None:
    assert in_thread(lambda: None, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: None, lambda: 1 // 0)


def test_nobody_has_a_capability_that_there_is_not() -> None:
    assert not has_capability(63)
