"""The generated docs: what they say about kinds and commands, and how staleness is told."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/docs.py, which writes to a directory of the test."""
    spec = importlib.util.spec_from_file_location("weft_docs_tool", ROOT / "tools" / "docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "src" / "weft").mkdir(parents=True)
    (tmp_path / "src" / "weft" / "thing.py").write_text('"""A thing.\n\nMore about it."""\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "architecture.md").write_text("before\n<!-- tree:begin -->\nold\n<!-- tree:end -->\nafter\n")
    (tmp_path / "docs" / "performance.md").write_text("<!-- bench:begin -->\n<!-- bench:end -->\n")
    (tmp_path / "reference.md").write_text("# Benchmark\n\nfast\n\n## Part\n\n| 1 |\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "TREE_ROOTS", ("src/weft",))
    monkeypatch.setattr(module, "REFERENCE", tmp_path / "docs" / "reference")
    monkeypatch.setattr(module, "PERFORMANCE", tmp_path / "docs" / "performance.md")
    monkeypatch.setattr(module, "FIGURES", tmp_path / "reference.md")
    monkeypatch.setattr(module, "ARCHITECTURE", tmp_path / "docs" / "architecture.md")
    return module


def call(docs: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["docs.py", *arguments])
    code: int = docs.main()
    return code


def test_written_docs_are_fresh_until_something_changes(
    docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(docs, monkeypatch, "--check") == 1
    assert call(docs, monkeypatch) == 0
    assert call(docs, monkeypatch, "--check") == 0
    architecture = (tmp_path / "docs" / "architecture.md").read_text()
    assert architecture.startswith("before\n") and architecture.endswith("after\n")
    assert "  thing.py  A thing\n" in architecture
    assert "old" not in architecture
    performance = (tmp_path / "docs" / "performance.md").read_text()
    assert performance == "<!-- bench:begin -->\nfast\n\n### Part\n\n| 1 |\n<!-- bench:end -->\n"
    capsys.readouterr()
    (tmp_path / "src" / "weft" / "thing.py").write_text('"""Another thing."""\n')
    (tmp_path / "docs" / "reference" / "gone.md").write_text("of a kind that is no more")
    assert call(docs, monkeypatch, "--check") == 1
    said = capsys.readouterr().out
    assert "docs/architecture.md is not fresh; write it with ./run docs" in said
    assert "docs/reference/gone.md is not fresh" in said
    assert call(docs, monkeypatch) == 0
    assert not (tmp_path / "docs" / "reference" / "gone.md").exists()


def test_pages_say_what_the_code_knows(docs: ModuleType) -> None:
    pages = {path.name: text for path, text in docs.wanted_files().items()}
    assert "`networking.istio.io/v1alpha3`" in pages["virtualservice.md"]
    assert "| `spec.parentRefs[].name` | text: " in pages["httproute.md"]
    assert "[HTTPRoute](httproute.md)" in pages["kinds.md"]
    commands = pages["cli.md"]
    assert "## weft apply" in commands and "--wait" in commands
    assert "## weft proxy config" in commands
    assert "3  no control plane, or no `weft up`, can be reached" in commands
