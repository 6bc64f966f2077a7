"""What ``weft host`` is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from weft.agent.parameters import DEFAULT_NAMESPACE, ControlPlane, RunParameters, Timing
from weft.settings.home import Home

DEFAULT_NAME = "host"
DEFAULT_ACCOUNT = "weft-host"


@dataclass(frozen=True, slots=True)
class HostParameters:
    """One Envoy and one agent for all workloads that `wanted` says: None where that cannot be told now, and what runs
    stays as it is. The node has a name and an identity of its own, by which its Envoy is told what to do; none of its
    workloads is known by it."""

    home: Home
    wanted: Callable[[], tuple[RunParameters, ...] | None]
    name: str = DEFAULT_NAME
    namespace: str = DEFAULT_NAMESPACE
    service_account: str = DEFAULT_ACCOUNT
    control_plane: ControlPlane = field(default_factory=ControlPlane)
    timing: Timing = field(default_factory=Timing)
    quiet: bool = False
