"""What this process uses, under the names that Prometheus' client libraries give it."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import psutil

from weft.telemetry.metrics import Family, gauge


def process_families() -> Iterator[Family]:
    """CPU, memory, files and start of this process."""
    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        seconds = "Total user and system CPU time spent in seconds."
        yield gauge("process_cpu_seconds_total", seconds, cpu.user + cpu.system, kind="counter")
        yield gauge("process_resident_memory_bytes", "Resident memory size in bytes.", memory.rss)
        yield gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", memory.vms)
        start = "Start time of the process since unix epoch in seconds."
        yield gauge("process_start_time_seconds", start, process.create_time())
        yield gauge("process_threads", "Number of threads.", process.num_threads())
        yield gauge("process_open_fds", "Number of open file descriptors.", process.num_fds())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield gauge("process_max_fds", "Maximum number of open file descriptors.", most)
