"""The logs of a home's processes: the last lines of each, and then what is added, as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weft.local.names import process_name
from weft.model.telemetry import LOG_DIRECTORY
from weft.processes.log import end_of_log
from weft.settings.home import Home

_POLL = 0.2
_LONGEST_LINE = 1 << 16
_LONGEST_SHOWN = 400
LONGEST_ACCESS_LINE = 4000
"""Characters of a line of an access log that are shown."""
Say = Callable[[str, str], None]
"""Called with the name of the log and a line of it."""


def log_files(home: Home, names: Sequence[str], *, proxy: bool, access: bool = False) -> dict[str, Path]:
    """The logs of `names` (all when empty), by how they are called: a process's own, with `proxy` ``NAME/proxy`` its
    Envoy's and ``NAME/dns`` its responder's; or, with `access`, its access logs only: ``NAME/access`` and
    ``NAME/access/FILE``."""
    if access:
        return _access_logs(home, names)
    own = {path.stem: path for path in sorted(home.logs.glob("*.log"))}
    envoys, responders = _beside(home, "envoy.log"), _beside(home, "dns.log")
    wanted = names or sorted({*own, *envoys})
    found = {name: own[name] for name in wanted if name in own}
    if proxy:
        found |= {f"{name}/proxy": envoys[name] for name in wanted if name in envoys}
        found |= {f"{name}/dns": responders[name] for name in wanted if name in responders}
    return found


def _beside(home: Home, file: str) -> dict[str, Path]:
    """A log that stands beside a workload's state, by the workload."""
    return {process_name(*path.parent.parts[-2:]): path for path in sorted(home.workloads.glob(f"*/*/{file}"))}


def _access_logs(home: Home, names: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((*home.workloads.glob("*/*/access.log"), *home.workloads.glob(f"*/*/{LOG_DIRECTORY}/*"))):
        parts = path.relative_to(home.workloads).parts
        name = process_name(*parts[:2])
        if (names and name not in names) or path.suffix[1:].isdigit():
            continue
        found[f"{name}/access" if len(parts) == 3 else f"{name}/access/{path.name}"] = path
    return found


def log_names(home: Home) -> list[str]:
    """Names of processes that have a log."""
    return sorted({name.partition("/")[0] for name in log_files(home, (), proxy=True)})


def print_ends(files: dict[str, Path], lines: int, say: Say, longest: int = _LONGEST_SHOWN) -> dict[str, Followed]:
    """Say the last `lines` lines of each file, cut to `longest` characters; where to go on."""
    follows = {}
    for name, path in files.items():
        follows[name] = Followed(path)
        for line in end_of_log(path, lines, longest).splitlines() if lines else ():
            say(name, line)
    return follows


def follow_logs(find: Callable[[], dict[str, Path]], follows: dict[str, Followed], say: Say) -> None:
    """Say what is added to the files of `follows` and to those that `find` finds later, for ever. Blocks."""
    while True:
        for name, path in find().items():
            if name not in follows:
                follows[name] = Followed(path, position=0)
            for line in follows[name].lines():
                say(name, line)
        time.sleep(_POLL)


@dataclass(slots=True)
class Followed:
    """A log that grows, is cut when it is too long, and is made anew."""

    path: Path
    position: int = -1
    rest: bytes = field(default=b"")

    def __post_init__(self) -> None:
        if self.position < 0:
            self.position = self._size()

    def lines(self) -> Iterator[str]:
        """The whole lines that were added since the last call."""
        if self._size() < self.position:
            self.position, self.rest = 0, b""
        try:
            with self.path.open("rb") as file:
                file.seek(self.position)
                data = file.read()
        except OSError:
            return
        self.position += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > _LONGEST_LINE:
            whole, self.rest = [*whole, self.rest], b""
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0
