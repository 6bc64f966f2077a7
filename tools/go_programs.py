"""Programs in Go for tests and examples: built from modules that a go.sum pins, into build/NAME.

The first time takes some minutes and downloads the modules; after that Go's cache, and the binaries kept beside it in
the user's cache directory, make a new clone cheap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (1, 26)


class NotBuiltError(Exception):
    """A program is not there, or is not of these sources; the text says what to do."""


@dataclass(frozen=True)
class GoPrograms:
    """The module tools/NAME, and by name from which package each of its programs is made; one called ``*.test`` is the
    tests of its package. `flags` are more of ``go build``, `variables` values that the linker gives to variables of
    packages."""

    name: str
    programs: Mapping[str, str]
    flags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> Path:
        """Where go.mod stands."""
        return ROOT / "tools" / self.name

    @property
    def built(self) -> Path:
        """Where the programs are put."""
        return ROOT / "build" / self.name

    @property
    def cache(self) -> Path:
        """Where they are kept for other clones, by what they are made of."""
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return root / "weft" / self.name / self.sources()

    def sources(self) -> str:
        """A digest of everything that the programs are made of."""
        digest = hashlib.sha256()
        for path in sorted((*self.module.glob("go.*"), *self.module.glob("*/*.go"))):
            digest.update(f"{path.relative_to(self.module)}\n".encode() + path.read_bytes())
        if self.flags or self.variables:
            digest.update(repr((self.flags, sorted(self.variables.items()))).encode())
        return digest.hexdigest()[:16]

    def program(self, name: str) -> Path:
        """A program that was built from these sources. NotBuiltError otherwise."""
        path, mark = self.built / name, self.built / "sources"
        if not path.is_file() or not mark.is_file() or mark.read_text().strip() != self.sources():
            where = path.relative_to(ROOT)
            raise NotBuiltError(f"{where} is not there or not of these sources; run: ./run {self.name}")
        return path

    def build(self) -> None:
        """All programs, from the cache if it has them. NotBuiltError if there is no Go, or one that is too old."""
        cache = self.cache
        self.built.mkdir(parents=True, exist_ok=True)
        (self.built / "sources").unlink(missing_ok=True)
        for name, package in self.programs.items():
            if not (cache / name).is_file():
                self._compile(package, cache / name)
            shutil.copy2(cache / name, self.built / name)
        (self.built / "sources").write_text(f"{self.sources()}\n")

    def _compile(self, package: str, target: Path) -> None:
        go = go_command()
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        linked = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.variables.items())])
        flags = ["-mod=readonly", "-trimpath", f"-ldflags={linked}", *self.flags]
        how = ["test", "-c"] if target.suffix == ".test" else ["build"]
        command = [go, *how, *flags, "-o", str(fresh), package]
        print(f"{self.name}: building {target.name}", file=sys.stderr)
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        done = subprocess.run(command, cwd=self.module, env=environment, check=False)
        if done.returncode != 0:
            raise NotBuiltError(f"go build of {package} failed; the lines above say why")
        fresh.replace(target)

    def run(self) -> int:
        """Build what is not built; the exit code."""
        try:
            for name in self.programs:
                self.program(name)
        except NotBuiltError:
            try:
                self.build()
            except NotBuiltError as error:
                print(f"{self.name}: {error}", file=sys.stderr)
                return 1
        print(f"{self.name}: {', '.join(self.programs)} in {self.built.relative_to(ROOT)}", file=sys.stderr)
        return 0


def go_command() -> str:
    """Where go is. NotBuiltError if there is none, or one that is too old."""
    found = shutil.which("go") or (shutil.which("go", path="/usr/local/go/bin"))
    needed = ".".join(map(str, OLDEST))
    if found is None:
        raise NotBuiltError(f"there is no go on the PATH; install Go {needed} or newer, which builds these programs")
    words = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    version = tuple(int(part) for part in words.removeprefix("go").split(".")[:2])
    if version < OLDEST:
        raise NotBuiltError(f"Go {needed} or newer is needed, but {found} is {words}")
    return found
