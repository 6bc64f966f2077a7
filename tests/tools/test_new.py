"""`./run new`: what it lays out is clean and works, and it says what remains."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def new() -> ModuleType:
    """tools/new.py."""
    spec = importlib.util.spec_from_file_location("weft_new_tool", ROOT / "tools" / "new.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stubs() -> Path:
    """The directory with the stubs of protobuf classes, which `./run check` makes too."""
    subprocess.run([sys.executable, ROOT / "tools" / "stubs.py"], check=True, capture_output=True)
    return ROOT / "build"


@pytest.fixture
def tree(tmp_path: Path, stubs: Path) -> Path:
    """A copy of what is checked, and of the tests' support."""
    for name in ("src", "tests/support", "tests/mesh", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "build").symlink_to(stubs)
    return tmp_path


def call(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module in the tree, with its code."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tree,
        env={"PYTHONPATH": f"{tree / 'src'}:{tree / 'tests'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def assert_clean(tree: Path, files: list[str]) -> None:
    python = [file for file in files if file.endswith(".py")]
    for words in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
        done = call(tree, *words, *python)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_policy(new: ModuleType, tree: Path) -> None:
    files = new.lay_out(tree, "policy", new.kind_values("WorkloadSet", "networking.istio.io"))
    assert "src/weft/mesh/policies/workloadset.py" in files
    assert_clean(tree, files)
    done = call(tree, "pytest", "-q", "-p", "no:cacheprovider", "tests/mesh/policies/test_workloadset.py")
    assert done.returncode == 0, done.stdout
    unfilled = subprocess.run(
        [sys.executable, "tools/check_tree.py"], cwd=tree, capture_output=True, text=True, check=False
    )
    assert f"src/weft/schema/kinds/workloadset.py:12: '{new.FILL}': finish it" in unfilled.stdout
    assert [line for line in unfilled.stdout.splitlines() if new.FILL not in line] == []
    known = call(tree, "weft.cli.main", "get", "workloadsets").stderr
    assert "no control plane" in known


def test_only_files_that_changed_are_told(new: ModuleType, tree: Path) -> None:
    before = {path: path.read_text() for path in (tree / "src").rglob("*.py")}
    files = new.lay_out(tree, "policy", new.kind_values("RetryBudget", "weft.dev"))
    assert [file for file in files if before.get(tree / file) == (tree / file).read_text()] == []


def test_a_kind_of_route(new: ModuleType, tree: Path) -> None:
    files = new.lay_out(tree, "route", new.kind_values("AMQPRoute", "gateway.networking.k8s.io"))
    assert_clean(tree, files)
    assert "class AmqpRouteKind(" in (tree / "src/weft/mesh/routes/amqproute.py").read_text()
    assert "AMQPRoute" not in (tree / "src/weft/schema/upstream.py").read_text()
    route = tree / "route.yaml"
    route.write_text("apiVersion: gateway.networking.k8s.io/v1\nkind: AMQPRoute\nmetadata: {name: a}\nspec: {}\n")
    done = call(tree, "weft.cli.main", "validate", str(route))
    assert done.returncode == 0, done.stderr


def test_a_filter(new: ModuleType, tree: Path) -> None:
    assert new.filter_values("jwt_authn")["Message"] == "JwtAuthentication"
    files = new.lay_out(tree, "filter", new.filter_values("local_ratelimit"))
    assert_clean(tree, files)
    text = (tree / "src/weft/xds/filters/local_ratelimit.py").read_text()
    assert "def listener_config() -> LocalRateLimit:" in text


def test_nothing_that_exists_is_touched(new: ModuleType, tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.py")}
    for what, name in (("policy", "PeerAuthentication"), ("route", "HTTPRoute"), ("policy", "Service")):
        with pytest.raises(new.RefusedError, match="already"):
            new.lay_out(tree, what, new.kind_values(name, "weft.dev"))
    with pytest.raises(new.RefusedError, match="already"):
        new.lay_out(tree, "filter", new.filter_values("fault"))
    for name in ("retryBudget", "Retry-Budget", "../Up"):
        with pytest.raises(new.RefusedError, match="no name of a kind"):
            new.kind_values(name, "weft.dev")
    with pytest.raises(new.RefusedError, match=r"Envoy's API has no"):
        new.filter_values("no_such")
    assert before == {path: path.stat().st_mtime_ns for path in tree.rglob("*.py")}


@pytest.mark.parametrize("what", ["policy", "route", "filter"])
def test_what_remains_is_told(new: ModuleType, what: str) -> None:
    page = (ROOT / "docs" / "contributing.md").read_text()
    told = new.remaining_stops(page, what)
    assert "tests/" in told and "(laid out)" not in told
