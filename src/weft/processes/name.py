"""The name of a process: its pid and when it began, which together mean one process for ever."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_LINUX = Path("/proc/self/stat").exists()


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A pid and when its process began (boot and clock ticks on Linux): together they name one process for ever."""

    pid: int
    began: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a dead one waiting to be reaped does not)."""
        return _began(self.pid) == self.began


def name_of(pid: int) -> ProcessName | None:
    """The name of a running process, or None."""
    began = _began(pid)
    return ProcessName(pid, began) if began else None


def _began(pid: int) -> str:
    """When `pid` began, in words of the system; empty when it is not running."""
    return _began_on_linux(pid) if _LINUX else _began_elsewhere(pid)


def _began_on_linux(pid: int) -> str:
    """Boot and ticks: names are kept in files, and psutil's `create_time` moves when the clock is set."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"


def _began_elsewhere(pid: int) -> str:
    import psutil  # noqa: PLC0415 - 15 ms that Linux need not pay

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.6f}"
    except psutil.Error:
        return ""
