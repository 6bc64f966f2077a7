"""What workloads declare about services and gateways, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.mesh.memo import Memo
from weft.mesh.problems import one_of
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import is_routed_outside, nearest_host
from weft.model.labels import Labels
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.schema.wording import HINTS, nearest_name

GatewayPorts = tuple[str, tuple[int, ...]]
"""``namespace/name`` of a Gateway, and the ports of its listeners."""


def workload_problems(
    memo: Memo,
    workloads: tuple[Workload, ...],
    catalog: Catalog,
    outside: Mapping[str, tuple[str, ...]],
    gateways: tuple[GatewayPorts, ...],
) -> tuple[Problem, ...]:
    """What is wrong with upstreams, uses and gateways. `outside` are the hosts outside the mesh that each namespace's
    documents route, `gateways` those in force."""
    users = memo.groups(_uses, _name, workloads)
    unknown = memo.rows(_unknown_uses, (tuple(users),), catalog, outside)
    bad = [
        _use_problem(workload, index, nearest)
        for found, group in zip(unknown, users.values(), strict=True)
        for index, nearest in found
        for workload in group
    ]
    idle = [_unused_proxy(workload) for workload in memo.groups(_unused, _name, workloads).get(True, ())]
    declaring = declaring_workloads(memo, workloads)
    found = memo.rows(_upstream_problems, (declaring,), catalog)
    bound = memo.rows(_gateway_problems, (declaring,), gateways)
    return (*bad, *idle, *(problem for problems in (*found, *bound) for problem in problems))


def unselected_problems(memo: Memo, workloads: tuple[Workload, ...], catalog: Catalog) -> tuple[Problem, ...]:
    """Workloads with ports that no Service selects."""
    serving = memo.groups(_serves, _name, workloads)
    selected = memo.rows(_is_selected, (tuple(serving),), catalog)
    if all(selected):
        return ()
    hinted = selected.count(False) <= HINTS
    return tuple(
        memo(_unselected, workload_source(workload), workload.namespace, workload.labels, catalog, hinted)
        for found, group in zip(selected, serving.values(), strict=True)
        if not found
        for workload in group
    )


def declaring_workloads(memo: Memo, workloads: tuple[Workload, ...]) -> tuple[Workload, ...]:
    """Those that have upstreams or serve a Gateway."""
    return memo.groups(_declares, _name, workloads).get(True, ())


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _uses(workload: Workload) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What workloads of one namespace that use the same share."""
    return ((workload.namespace, workload.uses),) if workload.uses else ()


def _serves(workload: Workload) -> tuple[tuple[str, Labels], ...]:
    """What workloads of one namespace share that the same services select."""
    return ((workload.namespace, workload.labels),) if workload.ports and workload.gateway is None else ()


def _is_selected(_memo: Memo, workloads: tuple[str, Labels], catalog: Catalog) -> bool:
    namespace, labels = workloads
    return any(frontend for frontend in catalog.selecting(namespace, labels))


def _unselected(source: str, namespace: str, labels: Labels, catalog: Catalog, hinted: bool) -> Problem:
    """Nobody can call a workload that no Service selects: a typing error in a label (which one is looked for if it is
    `hinted`), or a Service still to come."""
    own = [f"{name}={value}" for name, value in labels]
    frontends = catalog.by_namespace.get(namespace, ())
    selectors = {f"{name}={value}" for frontend in frontends for name, value in frontend.selector}
    strange = [pair for pair in own[:HINTS] if pair not in selectors] if hinted else []
    nearest = next((near for pair in strange if (near := nearest_name(pair, selectors))), "")
    message = f"no Service selects it (labels: {', '.join(own) or 'none'}), so nothing can call it by name"
    expected = f"a Service in namespace '{namespace}' that selects its labels"
    return Problem(Severity.WARNING, "not-selected", message, Origin(source), None, ("labels",), expected, nearest)


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
    return _of_workload(workload, (), "proxy-unused", message, "", severity=Severity.WARNING)


def _unknown_uses(
    _memo: Memo, users: tuple[str, tuple[str, ...]], catalog: Catalog, outside: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[int, str], ...]:
    """Which names no service has, each with the name that was perhaps meant."""
    namespace, uses = users
    routed = outside.get(namespace, ())
    unknown = [
        (index, name)
        for index, name in enumerate(uses)
        if catalog.called(name, namespace) is None and not is_routed_outside(name, routed)
    ]
    return tuple(
        (index, nearest_host(name, namespace, catalog) if place < HINTS else "")
        for place, (index, name) in enumerate(unknown)
    )


def _upstream_problems(_memo: Memo, workload: Workload, catalog: Catalog) -> tuple[Problem, ...]:
    return tuple(_bad_upstreams(workload, catalog))


def _bad_upstreams(workload: Workload, catalog: Catalog) -> Iterable[Problem]:
    unknown = 0
    for index, upstream in enumerate(workload.upstreams):
        path = ("upstreams", index)
        frontend = catalog.find(upstream.service, workload.namespace)
        if frontend is None:
            message = f"upstream '{upstream.service}:{upstream.port}' names no service, so its port is not open"
            nearest = nearest_host(upstream.service, workload.namespace, catalog) if unknown < HINTS else ""
            unknown += 1
            yield _of_workload(workload, path, "unknown-upstream", message, "the name of a Service", nearest)
        elif frontend.port(upstream.port) is None:
            message = f"upstream '{upstream.service}' has no port {upstream.port}, so its port is not open"
            expected = one_of([str(port.number) for port in frontend.ports], "a port")
            yield _of_workload(workload, path, "unknown-upstream", message, expected)


def _use_problem(workload: Workload, index: int, nearest: str) -> Problem:
    message = f"it uses '{workload.uses[index]}', which is no service, so calls to it are refused"
    return _of_workload(workload, ("uses", index), "unknown-use", message, "the name of a Service", nearest)


def _gateway_problems(_memo: Memo, workload: Workload, gateways: tuple[GatewayPorts, ...]) -> tuple[Problem, ...]:
    """A Gateway that is not there, and ports of it that it does not listen on."""
    if workload.gateway is None:
        return ()
    name = gateway_of(workload)
    ports = dict(gateways).get(name)
    if ports is None:
        message = f"it serves Gateway {name}, which does not exist or is not of this mesh"
        nearest = nearest_name(name, [known for known, _ in gateways])
        return (_of_workload(workload, ("name",), "unknown-gateway", message, "a Gateway of class weft", nearest),)
    return tuple(
        _of_workload(
            workload,
            ("listen", str(port)),
            "unknown-listener",
            f"Gateway {name} has no listener on port {port}, so nothing listens there",
            one_of(map(str, ports), "a listener's port"),
            severity=Severity.WARNING,
        )
        for port, _ in workload.gateway.ports
        if port not in ports
    )


def gateway_of(workload: Workload) -> str:
    """``namespace/name`` of the Gateway that a gateway workload serves; empty for others."""
    name = workload.gateway.gateway if workload.gateway else ""
    return name if not name or "/" in name else f"{workload.namespace}/{name}"


def workload_source(workload: Workload) -> str:
    """The source of Problems of a registered workload."""
    return f"workload {workload.proxy}"


def _of_workload(
    workload: Workload,
    path: FieldPath,
    code: str,
    message: str,
    expected: str,
    nearest: str = "",
    severity: Severity = Severity.ERROR,
) -> Problem:
    return Problem(severity, code, message, Origin(workload_source(workload)), None, path, expected, nearest)
