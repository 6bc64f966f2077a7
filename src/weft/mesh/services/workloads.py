"""What workloads declare about services and gateways, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from weft.mesh.memo import Memo
from weft.mesh.problems import one_of
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload


def workload_problems(
    memo: Memo, workloads: tuple[Workload, ...], catalog: Catalog, gateways: Collection[str]
) -> tuple[Problem, ...]:
    """What is wrong with upstreams, uses and gateways. `gateways` are the names of those in force."""
    users = memo.groups(_uses, _name, workloads)
    unknown = memo.rows(_unknown_uses, (tuple(users),), catalog)
    bad = [
        _use_problem(workload, name, nearest)
        for names, group in zip(unknown, users.values(), strict=True)
        for name, nearest in names
        for workload in group
    ]
    idle = [_unused_proxy(workload) for workload in memo.groups(_unused, _name, workloads).get(True, ())]
    declaring = memo.groups(_declares, _name, workloads).get(True, ())
    found = memo.rows(_upstream_problems, (declaring,), catalog)
    bound = memo.rows(_gateway_problem, (declaring,), tuple(sorted(gateways)))
    return (*bad, *idle, *(problem for problems in (*found, *bound) for problem in problems))


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _uses(workload: Workload) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What workloads of one namespace that use the same share."""
    return ((workload.namespace, workload.uses),) if workload.uses else ()


def _declares(workload: Workload) -> tuple[bool, ...]:
    """Whether it has upstreams or serves a Gateway."""
    return (True,) if workload.upstreams or workload.gateway is not None else ()


def _unused(workload: Workload) -> tuple[bool, ...]:
    return (True,) if workload.unused_proxy else ()


def _unused_proxy(workload: Workload) -> Problem:
    message = (
        "its application has never used its proxy, though it says what it uses or answers with errors; a client that "
        "does not heed HTTP_PROXY does not reach the mesh, see docs/clients.md"
    )
    return replace(_of_workload(workload, "proxy-unused", message, ""), severity=Severity.WARNING)


def _unknown_uses(_memo: Memo, users: tuple[str, tuple[str, ...]], catalog: Catalog) -> tuple[tuple[str, str], ...]:
    """The names that no service has, each with the name that was perhaps meant."""
    namespace, uses = users
    unknown = [name for name in uses if catalog.find(name, namespace) is None]
    return tuple((name, nearest_host(name, namespace, catalog)) for name in unknown)


def _upstream_problems(_memo: Memo, workload: Workload, catalog: Catalog) -> tuple[Problem, ...]:
    return tuple(_bad_upstreams(workload, catalog))


def _bad_upstreams(workload: Workload, catalog: Catalog) -> Iterable[Problem]:
    for upstream in workload.upstreams:
        frontend = catalog.find(upstream.service, workload.namespace)
        if frontend is None:
            message = f"upstream '{upstream.service}:{upstream.port}' names no service, so its port is not open"
            near = nearest_host(upstream.service, workload.namespace, catalog)
            yield _of_workload(workload, "unknown-upstream", message, "the name of a Service", near)
        elif frontend.port(upstream.port) is None:
            message = f"upstream '{upstream.service}' has no port {upstream.port}, so its port is not open"
            expected = one_of([str(port.number) for port in frontend.ports], "a port")
            yield _of_workload(workload, "unknown-upstream", message, expected)


def _use_problem(workload: Workload, name: str, nearest: str) -> Problem:
    message = f"it uses '{name}', which is no service, so calls to it are refused"
    return _of_workload(workload, "unknown-use", message, "the name of a Service", nearest)


def _gateway_problem(_memo: Memo, workload: Workload, gateways: tuple[str, ...]) -> tuple[Problem, ...]:
    if workload.gateway is None or gateway_of(workload) in gateways:
        return ()
    message = f"it serves Gateway {gateway_of(workload)}, which does not exist or is not of this mesh"
    return (_of_workload(workload, "unknown-gateway", message, "a Gateway of class weft"),)


def gateway_of(workload: Workload) -> str:
    """``namespace/name`` of the Gateway that a gateway workload serves; empty for others."""
    name = workload.gateway.gateway if workload.gateway else ""
    return name if not name or "/" in name else f"{workload.namespace}/{name}"


def origin_of(workload: Workload) -> Origin:
    """Where problems of a workload itself stand."""
    return Origin(f"workload {workload.proxy}")


def _of_workload(workload: Workload, code: str, message: str, expected: str, nearest: str = "") -> Problem:
    return Problem(Severity.ERROR, code, message, origin_of(workload), expected=expected, nearest=nearest)
