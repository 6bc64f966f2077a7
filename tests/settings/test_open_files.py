"""The limit of open files is raised where many connections are expected, and only there."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import resource, subprocess, sys
from weft.settings.open_files import many_open_files, raise_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
ask = [sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"]
with many_open_files():
    inside = int(subprocess.run(ask, capture_output=True, check=True).stdout)
print(inside, resource.getrlimit(resource.RLIMIT_NOFILE)[0], raise_open_files(), hard)
"""


def test_processes_in_the_block_get_more_and_we_keep_ours() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    inside, ours, raised, hard = map(int, done.stdout.split())
    assert ours == 256
    assert inside == raised > 256 or hard == 256
