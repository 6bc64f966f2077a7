"""A person at a terminal: an interactive shell on a pseudo-terminal, typed into and read with a deadline."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator, Mapping

CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"


class Person:
    """Types into the shell and looks at what it says."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def types(self, text: str) -> None:
        """Type, with no Enter of its own."""
        os.write(self._descriptor, text.encode())

    def sees(self, pattern: str, deadline: float = 60.0) -> re.Match[str]:
        """Wait until `pattern` stands in what was not looked at yet."""
        end = time.monotonic() + deadline
        while not (found := re.search(pattern, self.seen)):
            if not select.select([self._descriptor], (), (), max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"not within {deadline:g} s: {pattern!r} in {self.seen!r}")
            self.seen += os.read(self._descriptor, 65536).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found


@contextlib.contextmanager
def person_at_a_terminal(environment: Mapping[str, str] | None = None) -> Iterator[Person]:
    """An interactive bash with job control, on a terminal of its own; hung up at the end."""
    pid, descriptor = pty.fork()
    if pid == 0:
        variables = {**os.environ, **(environment or {}), "PS1": "outer> ", "PS2": "", "TERM": "dumb", "HISTFILE": ""}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], variables)
    try:
        person = Person(descriptor)
        person.sees("outer> ")
        yield person
    finally:
        os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)
