"""Which files of a directory `weft up` applies: those that `weft apply` and `weft validate` take."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from weft.cli.changes import read_sources
from weft.local.client import AdminClient, Source
from weft.local.mesh_documents import apply_documents


class Applied:
    """An admin API that writes down what it is given."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def apply(self, *sources: Source) -> None:
        self.names += [Path(one.name).name for one in sources]


def test_up_applies_what_apply_would(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "more.yaml").mkdir()
    for name in ("weft.yaml", "routes.yaml", ".hidden.yaml", ".git/config.yaml", "more.yaml/x.json", "notes.txt"):
        (tmp_path / name).write_text("")
    applied = Applied()
    apply_documents(cast(AdminClient, applied), tmp_path, ["."], str)
    assert applied.names == [Path(one.name).name for one in read_sources((str(tmp_path),))] == ["x.json", "routes.yaml"]
