"""The plugin in the directories of a node from which its runtime takes it: put there, kept there, and taken away."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from weft.agent.cni.chain import TYPE, ChainError, configurations, entry_text, has_entry, with_entry, without_entry
from weft.agent.errors import AgentError

_EXECUTABLE = 0o755
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Places:
    """Directories of the node, under the paths that they have there: of the runtime's `plugins`, its `networks` and its
    `records`, and `run` for the agent's socket. `program` is the plugin in the agent's own image."""

    plugins: Path
    networks: Path
    records: Path
    run: Path
    program: Path

    @property
    def socket(self) -> Path:
        """Where the agent listens."""
        return self.run / "agent.sock"


def put(places: Places) -> str:
    """Have the plugin and its entry in place; what was done, empty if all was there. AgentError says what is missing.
    First comes the program: an entry without it would keep every pod of the node from starting."""
    done = []
    try:
        program = places.plugins / TYPE
        if not (program.is_file() and filecmp.cmp(places.program, program, shallow=False)):
            _replace(program, places.program.read_bytes(), _EXECUTABLE)
            done.append(f"{program} is put there")
        file = next(iter(configurations(places.networks)), None)
        if file is None:
            raise AgentError(f"{places.networks}: there is no network for pods yet; the node's own plugin makes it")
        seen, text = file.stat(), file.read_text()
        wanted = with_entry(text, entry_text(places.socket))
        if wanted != text and _replace(file, wanted.encode(), seen.st_mode & 0o7777, seen):
            done.append(f"{file} has it as its last plugin")
        _take_out(places, but=file)
    except ChainError as error:
        raise AgentError(f"{file}: {error}") from error
    except OSError as error:
        raise AgentError(f"{error.filename}: {error.strerror}") from error
    return ", ".join(done)


def take_away(places: Places, *, needed: bool) -> None:
    """Leave nothing of it, the entry first. With `needed` the program stays: there are pods that a runtime may call it
    for when they end. AgentError."""
    try:
        _take_out(places)
        if not needed:
            (places.plugins / TYPE).unlink(missing_ok=True)
    except OSError as error:
        raise AgentError(f"{error.filename}: {error.strerror}") from error


def _take_out(places: Places, but: Path | None = None) -> None:
    for file in configurations(places.networks):
        if file == but:
            continue
        for _ in range(_TRIES):
            seen, text = file.stat(), file.read_text(errors="replace")
            if not has_entry(text) or _replace(file, without_entry(text).encode(), seen.st_mode & 0o7777, seen):
                break
        else:
            raise OSError(errno.EBUSY, "it is written by somebody else all the time", str(file))


def _replace(path: Path, content: bytes, mode: int, seen: os.stat_result | None = None) -> bool:
    """Write a file in one step, under a name that no runtime reads until it is whole. False, and nothing is written,
    where it is not as it was `seen` any more: the network's own plugin has just written it, and is looked at again."""
    descriptor, fresh = tempfile.mkstemp(prefix=".weft-cni-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if seen is not None and _version(path.stat()) != _version(seen):
            Path(fresh).unlink()
            return False
        Path(fresh).replace(path)
        return True
    except BaseException:
        with contextlib.suppress(OSError):
            Path(fresh).unlink()
        raise


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size
