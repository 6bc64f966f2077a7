"""Whether an application can be confined on this system, and what to do where it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import RunParameters
from weft.agent.seccomp.launching import why_not
from weft.agent.strict.launching import trying

_PATIENCE = 30.0
_ADVICE = (
    ("user/max_user_namespaces", "0", "user.max_user_namespaces is 0: root sets it, `sysctl -w {name}=10000`"),
    ("kernel/unprivileged_userns_clone", "0", "this system lets only root make them: `sysctl -w {name}=1` as root"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes their rights away from programs without a profile: `sysctl -w {name}=0` as root, or a profile "
        "for this Python that has `userns,`",
    ),
)
"""Settings of the system, the value that forbids namespaces, and what to do."""
_ELSE = (
    "a container's profile may forbid them (Docker: --security-opt seccomp=unconfined), or a unit of systemd "
    "(RestrictNamespaces=)"
)
SYSTEM = Path("/proc/sys")


def why_not_strict() -> str:
    """Why an application cannot be confined here; empty where it can. Found out by doing it (0.2 s)."""
    found = why_not(trying(), _PATIENCE)
    if not found or sys.platform != "linux" or "install the package" in found:
        return found
    return f"{found}; {advice()}"


def advice(system: Path = SYSTEM) -> str:
    """What to do where namespaces are refused, by the settings below `system`."""
    for place, forbids, what in _ADVICE:
        try:
            found = (system / place).read_text().strip()
        except OSError:
            continue
        if found == forbids:
            return what.format(name=place.replace("/", "."))
    return _ELSE


def check_strict(parameters: RunParameters) -> None:
    """AgentError where `--capture strict` does not go with what else is asked for."""
    if parameters.dns is None:
        raise AgentError(
            "--capture strict needs names answered: no resolver can be reached without; leave --dns off out", EXIT_USAGE
        )
    if parameters.inbound_capture is not None and parameters.inbound_capture.transparent:
        raise AgentError(
            "--inbound-capture tproxy does not go with --capture strict, whose application is called from its own "
            "loopback; give --inbound-capture on",
            EXIT_USAGE,
        )
