"""Errors that end the agent's work, with the exit code that tells a program why."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_TIMEOUT = 4
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class AgentError(Exception):
    """The agent cannot go on. The message tells a person what to do; `exit_code` is for the process."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
