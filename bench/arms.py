"""Arms: the code that is measured, and beside it another checkout's, in turn (A B B A), and their ratio."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Series, ratio, series
from bench.processes import BenchError

ROOT = Path(__file__).resolve().parents[1]
Samples = dict[str, list[float]]
"""Values of each figure, by its name."""
Table = Mapping[str, Series | str]
"""What is shown of each figure."""
Arms = tuple["Arm", ...]


@dataclass(frozen=True)
class Arm:
    """`source` is the directory that holds the package `weft`."""

    name: str
    source: Path

    def environment(self) -> dict[str, str]:
        """That of a process which is to run this code; the benchmark's own modules come from this checkout."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join((str(self.source), str(ROOT)))}


THIS = Arm("this tree", ROOT / "src")


def checkout(directory: Path) -> Arm:
    """The code of another checkout, or of its `src`."""
    for source in (directory / "src", directory):
        if (source / "weft" / "__init__.py").is_file():
            return Arm(directory.name, source.resolve())
    raise BenchError(f"{directory} holds no src/weft")


@contextlib.contextmanager
def committed(reference: str, repository: Path = ROOT) -> Iterator[Arm]:
    """The code of a commit, in a directory that is gone afterwards."""
    done = subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar", reference, "src"], capture_output=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"git cannot read {reference!r}: {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="weft-bench-source-") as directory:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(directory, filter="data")
        yield Arm(reference, Path(directory) / "src")


def compare(arms: Sequence[Arm], measure: Callable[[Arm], Samples]) -> dict[str, Table]:
    """Measure one arm, or two as A B B A; the table of the report, by arm, with the ratio A ÷ B of neighbours."""
    if len(arms) == 1:
        return {arms[0].name: _shown([measure(arms[0])])}
    first, second = arms
    rounds: dict[Arm, list[Samples]] = {first: [], second: []}
    for arm in (first, second, second, first):
        rounds[arm].append(measure(arm))
    shown = {arm.name: _shown(rounds[arm]) for arm in arms}
    figures = dict.fromkeys([*shown[first.name], *shown[second.name]])
    tables: dict[str, Table] = {
        name: {figure: values.get(figure, "-") for figure in figures} for name, values in shown.items()
    }
    ratios = {figure: _ratio(figure, rounds[first], rounds[second]) for figure in figures}
    return {**tables, f"{first.name} ÷ {second.name}": ratios}


def _shown(rounds: Sequence[Samples]) -> dict[str, Series]:
    figures = dict.fromkeys(figure for samples in rounds for figure in samples)
    return {figure: series([value for one in rounds for value in one.get(figure, ())]) for figure in figures}


def _ratio(figure: str, first: Sequence[Samples], second: Sequence[Samples]) -> Series | str:
    pairs = [
        (series(one[figure]).median, series(other[figure]).median)
        for one, other in zip(first, second, strict=True)
        if figure in one and figure in other
    ]
    if not pairs or any(below == 0 for _, below in pairs):
        return "-"
    return ratio(pairs)
