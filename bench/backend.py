"""The backend of every arm: replaces itself by an Envoy that answers each request itself, on HOST and PORT.

As the application of `weft run` it is ``python -m bench.backend``; BENCH_CORE pins it, answers have BENCH_BODY bytes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.load import END
from bench.machine import pin
from bench.processes import envoy_command
from bench.templates import write_configuration

BODY = "x" * (1024 - len(END)) + END.decode()


def main() -> None:
    """Write the configuration and become Envoy."""
    pin(os.getpid(), int(os.environ.get("BENCH_CORE", "-1")))
    directory = Path(os.environ.get("BENCH_DIRECTORY") or tempfile.mkdtemp(prefix="weft-bench-"))
    port = os.environ["PORT"]
    size = int(os.environ.get("BENCH_BODY", str(len(BODY))))
    body = "x" * (size - len(END)) + END.decode()
    configuration = write_configuration("backend", directory, f"backend-{port}", port=port, body=body)
    command = envoy_command(configuration)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
