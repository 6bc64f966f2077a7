"""How a relay and its application are started: by this Python, without site packages."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_CODE = "import sys; sys.path.append(sys.argv.pop(1)); from weft.agent.strict.process import main; main(sys.argv[1:])"


def relaying(
    proxy: int, dns: int, secret: Path, member: int, upstreams: Iterable[int], ports: Iterable[int]
) -> tuple[str, ...]:
    """The command of a relay that leads to the ports `proxy` and `dns` of loopback and to those of `upstreams`, and
    from `ports` to the application's, in the namespaces of the process `member` (0: new ones)."""
    lists = (",".join(map(str, each)) for each in (upstreams, ports))
    return (*_python(), "relay", str(proxy), str(dns), str(secret), str(member), *lists)


def entering(process: int, command: Sequence[str]) -> tuple[str, ...]:
    """The command that becomes `command` in the namespaces of `process`."""
    return (*_python(), "enter", str(process), *command)


def trying() -> tuple[str, ...]:
    """The command that tries it on this system: its exit code is 0 if it works, else it prints why not."""
    return (*_python(), "try")


def _python() -> tuple[str, ...]:
    return (sys.executable, "-E", "-P", "-S", "-B", "-c", _CODE, str(_ROOT))
