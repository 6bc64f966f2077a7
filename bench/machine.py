"""Cores, CPU time and a description of the machine, as the operating system tells them."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Cores:
    """Where things run: load generator, backend and control plane on one core, the proxies under test on the other.

    -1 means that nothing is pinned, because there is only one core or the system cannot do it.
    """

    load: int
    proxies: int


def choose_cores() -> Cores:
    """Two of the cores this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(-1, -1)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(-1, -1)


def pin(pid: int, core: int) -> None:
    """Put a process with all its threads on one core."""
    if core < 0:
        return
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


def cpu_seconds(pid: int) -> float:
    """CPU time of all living threads of a process, from the scheduler's own nanosecond counters."""
    total = 0
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most resident memory of a process since it began, or since its `reset_peak`."""
    return _status_bytes(pid, "VmHWM")


def proportional_bytes(pid: int) -> int:
    """Memory of a process, with its share of the pages that it has in common with others (PSS); 0 if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> None:
    """Forget this process's peak of resident memory (proc_pid_clear_refs(5))."""
    (PROC / "self" / "clear_refs").write_text("5")


def _status_bytes(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no {field}")


def describe_machine(cores: Cores, envoy: str) -> dict[str, str | int]:
    """What a reader needs to know about the machine; no names and no paths."""
    model = platform.processor() or "unknown"
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "processor": model,
        "cores": os.cpu_count() or 0,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        "pinned": "load and backend on one core, proxies on another" if cores.load >= 0 else "nothing is pinned",
        "load_average_before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "envoy": subprocess.run([envoy, "--version"], capture_output=True, text=True, check=True)
        .stdout.partition("version:")[2]
        .split("/")[1],
        "grpcio": metadata.version("grpcio"),
    }
