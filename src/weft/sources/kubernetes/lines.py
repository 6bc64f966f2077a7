"""Lines of a stream, put together from the pieces that arrive. Pure."""

from __future__ import annotations


class LineTooLongError(ValueError):
    """A line is longer than what is read."""


class Lines:
    """What has arrived of the line that is not whole yet, at most `longest` bytes of it."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` makes whole, without their ends; empty ones are left out. LineTooLongError."""
        first, *rest = piece.split(b"\n")
        self._begun.append(first)
        self._size += len(first)
        whole = []
        if rest:
            whole = [b"".join(self._begun), *rest[:-1]]
            self._begun, self._size = [rest[-1]], len(rest[-1])
        if self._size > self._longest or any(len(line) > self._longest for line in whole):
            raise LineTooLongError(f"an event is larger than {self._longest // 1024 // 1024} MiB")
        return [line for line in whole if line.strip()]
