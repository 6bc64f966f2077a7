"""One `weft demo -o json` in a directory of its own, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.mesh import WEFT


class Demo:
    """One `weft demo -o json`, with more words."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.errors = directory / "stderr.log"
        environment = {**os.environ, "TMPDIR": str(directory), "XDG_STATE_HOME": str(directory / "state")}
        environment.pop("WEFT_HOME", None)
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*WEFT, "demo", "-o", "json", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )

    def facts(self) -> dict[str, Any]:
        """Wait for the one line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        result: dict[str, Any] = json.loads(line)
        return result

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code
