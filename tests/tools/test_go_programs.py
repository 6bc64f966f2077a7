"""Building programs in Go: what is there is of these sources, and who has no Go is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.go_programs import GoPrograms, NotBuiltError
from tools.observability import PROGRAMS as OBSERVABILITY
from tools.providers import PROGRAMS as PROVIDERS

from tools import go_programs

BOTH = pytest.mark.parametrize("programs", [OBSERVABILITY, PROVIDERS], ids=lambda each: each.name)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories of its own for what is built and kept."""
    monkeypatch.setattr(go_programs, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "build"


@BOTH
def test_what_is_kept_is_taken_without_go(
    programs: GoPrograms, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    kept = tmp_path / "cache" / "weft" / programs.name / programs.sources()
    kept.mkdir(parents=True)
    for name in programs.programs:
        (kept / name).write_text(name)
    programs.build()
    assert [programs.program(name).read_text() for name in programs.programs] == list(programs.programs)
    (built / programs.name / "sources").write_text("of others\n")
    for name in programs.programs:
        with pytest.raises(NotBuiltError, match=rf"run: \./run {programs.name}"):
            programs.program(name)


@BOTH
def test_without_go_it_says_so(programs: GoPrograms, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(NotBuiltError, match=r"there is no go on the PATH; install Go 1\.26 or newer"):
        programs.build()
    name = next(iter(programs.programs))
    with pytest.raises(NotBuiltError, match=f"{name} is not there"):
        programs.program(name)
    assert built.is_dir()


def test_an_old_go_is_named(
    built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(old))
    assert OBSERVABILITY.run() == 1
    assert "Go 1.26 or newer is needed, but" in capfd.readouterr().err
    assert not (built / "observability" / "jaeger").exists()
