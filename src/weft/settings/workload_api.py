"""Where another authority's SPIFFE Workload API is, as options and files say it."""

from __future__ import annotations

SPIRE_SOCKET = "/tmp/spire-agent/public/api.sock"  # noqa: S108 - where SPIRE's agent listens unless it is told otherwise
_LONGEST = 107
"""What the address of a unix socket may have, in bytes."""


def socket_from_text(text: str) -> str:
    """The path of the socket in ``unix:/PATH`` (or ``unix:///PATH``, as `SPIFFE_ENDPOINT_SOCKET` has it) or ``spire``;
    empty stays empty. ValueError says what was found."""
    if not text:
        return ""
    if text == "spire":
        return SPIRE_SOCKET
    path = text.removeprefix("unix:").removeprefix("//")
    if not text.startswith("unix:") or not path.startswith("/") or "\0" in path:
        raise ValueError(f"'{text[:200]}': expected unix:/PATH of a Workload API, or spire")
    if len(path.encode()) > _LONGEST:
        raise ValueError(f"'{text[:200]}': the path of a unix socket may have {_LONGEST} bytes")
    return path
