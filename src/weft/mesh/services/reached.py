"""Where workloads are reached: on loopback, which only callers of the same host can use, or at an address for all."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.model.addresses import is_loopback
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload


def unreached_workloads(memo: Memo, workloads: tuple[Workload, ...]) -> tuple[Problem, ...]:
    """Workloads on loopback in a mesh that spans hosts, which shows by others that are reached at other addresses."""
    groups = memo.groups(_is_on_loopback, _name, workloads, name="reached")
    if not groups.get(False):
        return ()
    return tuple(_problem(workload) for workload in groups.get(True, ()))


def _is_on_loopback(workload: Workload) -> tuple[bool, ...]:
    return tuple({is_loopback(port.inbound.host) for port in workload.ports})


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _problem(workload: Workload) -> Problem:
    address = next(str(port.inbound) for port in workload.ports if is_loopback(port.inbound.host))
    return Problem(
        Severity.WARNING,
        "reached-on-loopback",
        f"it is reached at {address}, where callers on other hosts look on their own",
        Origin(f"workload {workload.proxy}"),
        expected="an address of its host: weft run --inbound-address (bind in weft.yaml)",
    )
