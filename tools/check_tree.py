"""Check what no other tool does: lengths of files and functions, first lines, names, locks, and unfinished code.

Run it as ``python tools/check_tree.py``; it prints one line for each thing it finds and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 500
"""Lines in a Python file. About 400 is the aim; more than this is two files."""
LONGEST_FUNCTION = 60
"""Lines in a function. About 40 is the aim."""
VAGUE_NAMES = frozenset(("utils", "util", "helpers", "common", "misc", "lib"))
"""A module is called by the noun it is about."""
LOCK = re.compile(r"\b(asyncio|threading|multiprocessing)\.(R?Lock|Semaphore|BoundedSemaphore|Condition)\b")
"""A task owns its state, so nothing needs a lock. The demo application is a threaded server."""
WITH_LOCKS = "src/weft/bookinfo"
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|FILL IN|raise NotImplementedError)\b")
TEST_EXCUSES = re.compile(r"\b(pytest\.skip|pytest\.xfail|mark\.skip|mark\.skipif|mark\.xfail|importorskip)\b")
PYTHON_ROOTS = ("src", "tests", "tools", "bench", "chaos", "examples")
CONFLICT = re.compile(r"^(<{7} |>{7} |={7}$)")


def tracked_files() -> list[Path]:
    """Every file that git knows, and new ones that it does not ignore; all files where this is no checkout."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        names = [name for name in done.stdout.decode().split("\0") if name]
        return sorted(path for name in names if (path := ROOT / name).is_file())
    return sorted(path for root in PYTHON_ROOTS for path in (ROOT / root).rglob("*") if path.is_file())


def check_python(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Rules for one Python file, as (line, complaint)."""
    lines = text.splitlines()
    if len(lines) > LONGEST:
        yield len(lines), f"the file has {len(lines)} lines, the limit is {LONGEST}: split it by purpose"
    tree = ast.parse(text, filename=str(path))
    if lines and not ast.get_docstring(tree):
        yield 1, "the file's first line must be a docstring that says its one purpose"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, the limit is {LONGEST_FUNCTION}: split it"


def check_house(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Rules for the code of the mesh, as (line, complaint)."""
    if path.stem in VAGUE_NAMES:
        yield 1, f"'{path.name}' says nothing: name the file by what it is about"
    if path.is_relative_to(ROOT / WITH_LOCKS):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := LOCK.search(line):
            yield number, f"'{found.group()}': a task owns its state; put the state where it needs no lock"


def check_text(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Rules for any text file, as (line, complaint)."""
    code = path.suffix == ".py" or path.parent.name == ".ci" or path.name == "run"
    for number, line in enumerate(text.splitlines(), 1):
        if CONFLICT.match(line):
            yield number, "a merge conflict is left in the file"
        if not code:
            continue
        if found := UNFINISHED.search(line):
            yield number, f"'{found.group()}': finish it or take it out"
        if found := TEST_EXCUSES.search(line):
            yield number, f"'{found.group()}': a test runs or is deleted"


def check_file(path: Path) -> Iterator[str]:
    """Every complaint about one file, ready to print."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    name = path.relative_to(ROOT).as_posix()
    if path == Path(__file__).resolve():
        return
    findings = list(check_text(path, text))
    if path.suffix == ".py":
        findings.extend(check_python(path, text))
        if path.is_relative_to(ROOT / "src"):
            findings.extend(check_house(path, text))
    for line, complaint in sorted(findings):
        yield f"{name}:{line}: {complaint}"


def main() -> int:
    """Check the whole tree; the exit code."""
    complaints = [complaint for path in tracked_files() for complaint in check_file(path)]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
