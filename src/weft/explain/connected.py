"""The explanation of a connection that is described: what carries it, where to, who may, and why it is closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.explain.answer import Answer, Cause, Explanation, Hop, Share
from weft.explain.causes import caller_causes, cause_of, host_cause, most_telling, target_causes
from weft.explain.connections import CLOSED, Carried, Connection, carry, routes_by_name
from weft.explain.denied import Judged, connection_at_gateway, connection_before
from weft.explain.explanation import changes_about, shown_share
from weft.explain.facts import Facts, Question, decider, target_of
from weft.explain.matching import Request
from weft.explain.path import endpoint_states, incoming, transport_text
from weft.explain.verdict import Verdict, host_of
from weft.mesh.services.service import BackendKey, Frontend, Health, Protocol, Target
from weft.mesh.views import GatewayView, InboundPort, ProxyView
from weft.model.printable import printable
from weft.model.workload import Workload
from weft.schema.hosts import clean_host
from weft.xds.services.names import cluster_name


@dataclass(frozen=True, slots=True)
class ConnectionQuestion:
    """A connection that the application of `caller`, or a client of that gateway, would make, with what its proxy does.
    `described`: the caller stands for any workload of its namespace."""

    caller: Workload
    view: ProxyView
    connection: Connection
    described: bool = False


def explain_connection(facts: Facts, question: ConnectionQuestion) -> Explanation:
    """What becomes of a connection, and why."""
    question = _by_full_name(facts, question)
    carried, passed = _fate(question)
    shares, targets = _divided(question.view, carried)
    edge = connection_at_gateway(question.view, question.connection)
    hops, denied = [_hop(facts, question, carried, shares, targets, edge)], edge.cause
    for target in targets[:1] if denied is None else ():
        behind = incoming(facts, target, lambda port, where: _judged(question, port, where), requests=False)
        if behind is not None:
            hop, denied = behind
            hops.append(hop)
    found = [*([denied] if denied else []), *_causes(facts, question, carried, targets, passed=passed)]
    causes = most_telling(found)
    concerned = {cause.object for cause in causes} | {hop.rule.object for hop in hops if hop.rule}
    if denied is not None:
        where = f" ({denied.source})" if denied.source else ""
        by = f"{denied.object}{where} denies it" if denied.object else denied.text
        answer = Answer("refused", f"the proxy {hops[-1].proxy} closes the connection: {by}")
    else:
        answer = _answer(question, carried, shares, targets, passed=passed)
    return Explanation(answer, tuple(hops), changes_about(facts, concerned), causes)


def _fate(question: ConnectionQuestion) -> tuple[Carried, bool]:
    """Who carries it, and whether it goes where DNS says since it is nothing of the mesh."""
    view, connection = question.view, question.connection
    carried = carry(view, connection)
    if carried is not CLOSED or isinstance(view, GatewayView):
        return carried, False
    found = host_of(view, Request(connection.host, port=connection.port))
    return carried, isinstance(found, Verdict) and found.passthrough


def _by_full_name(facts: Facts, question: ConnectionQuestion) -> ConnectionQuestion:
    """The same with the full name of the service that its host means to the caller."""
    frontend = _called(facts, question)
    if frontend is None or isinstance(question.view, GatewayView):
        return question
    return replace(question, connection=replace(question.connection, host=frontend.called))


def _called(facts: Facts, question: ConnectionQuestion) -> Frontend | None:
    return facts.mesh.catalog.called(clean_host(question.connection.host), question.caller.namespace)


def _divided(view: ProxyView, carried: Carried) -> tuple[tuple[Share, ...], tuple[Target, ...]]:
    """Where it may go, and what the proxy knows of each; the largest share first."""
    keys: dict[str, BackendKey] = {cluster_name(key): key for key in carried.route.used()} if carried.route else {}
    shares, targets = [], []
    for name, share in sorted(carried.shares, key=lambda each: -each[1]):
        key = keys[name]
        shares.append(Share(name, share, key.host, key.port, key.subset))
        target = target_of(view, key._replace(opaque=False))  # that of connections has no endpoints of its own
        targets += [target] if target is not None else []
    if carried.route is not None and carried.closed > 0:
        shares.append(Share("", carried.closed))
    return tuple(shares), tuple(targets)


def _hop(
    facts: Facts,
    question: ConnectionQuestion,
    carried: Carried,
    shares: tuple[Share, ...],
    targets: tuple[Target, ...],
    edge: Judged,
) -> Hop:
    side = "gateway" if isinstance(question.view, GatewayView) else "outbound"
    route, first = carried.route, targets[0] if targets else None
    if route is None:
        return Hop(question.caller.proxy, side, verdicts=edge.texts)
    rules = routes_by_name(question.view, question.connection)
    names = [name for name, each in rules if name and each is route]
    return Hop(
        proxy=question.caller.proxy,
        side=side,
        rule=decider(route.object, route.origin),
        match=_match(names, ruled=any(each is route for _, each in rules)),
        does=("carries the bytes as they are",) if carried.shares else ("closes it",),
        split=shares,
        cluster=next((one.cluster for one in shares), ""),
        transport=transport_text(first.backend.transport) if first else "",
        endpoints=tuple(one for target in targets for one in endpoint_states(facts, target)),
        verdicts=edge.texts,
    )


def _match(names: list[str], *, ruled: bool) -> str:
    if names:
        return f"connections whose TLS asks for {' or '.join(names[:5])}"
    return "every connection" if ruled else "connections whose TLS asks for a service, in Istio's form"


def _judged(question: ConnectionQuestion, port: InboundPort, where: str) -> Judged:
    return connection_before(str(question.view.identity), port, where, described=question.described)


def _answer(
    question: ConnectionQuestion,
    carried: Carried,
    shares: tuple[Share, ...],
    targets: tuple[Target, ...],
    *,
    passed: bool,
) -> Answer:
    shown = f"'{printable(question.connection.host, 120)}' port {question.connection.port}"
    if passed:
        return Answer("forwarded", f"{shown} is nothing of the mesh: it goes where DNS says, without mutual TLS")
    if carried.route is None:
        return Answer("refused", f"the proxy closes the connection: nothing carries connections to {shown}")
    if not carried.shares:
        return Answer("refused", "the proxy closes the connection: its rule leads to no backend that exists")
    told = [one for one in shares if one.cluster]
    where = ", ".join(shown_share(one) + (f" ({one.share * 100:g} %)" if len(shares) > 1 else "") for one in told)
    lost = f"; {carried.closed * 100:g} % are closed" if carried.closed > 0 else ""
    known = [one for target in targets if target.endpoints for one in target.endpoints.endpoints]
    healthy = [one for one in known if one.health is Health.HEALTHY]
    if targets and not healthy and all(target.endpoints is not None for target in targets):
        return Answer("unavailable", f"the proxy closes the connection: {where} cannot be reached")
    count = f"; {len(healthy)} healthy endpoint{'' if len(healthy) == 1 else 's'}" if known else ""
    return Answer("forwarded", f"it is carried to {where}{lost}{count}")


def _causes(
    facts: Facts, question: ConnectionQuestion, carried: Carried, targets: tuple[Target, ...], *, passed: bool
) -> Iterator[Cause]:
    if not question.described:
        yield from caller_causes(facts, question.caller)
    route = carried.route
    if route is None:
        yield _nothing(facts, question, passed=passed)
        return
    if carried.closed > 0:
        yield Cause("missing-backend", "a backend of the rule does not exist", str(route.object), str(route.origin))
    for target in targets:
        yield from target_causes(facts, None, target)
    hosts = [facts.mesh.catalog.by_host.get(key.host) for key in route.used()]
    keys = dict.fromkeys((route.object, *(frontend.key for frontend in hosts if frontend is not None)))
    yield from map(cause_of, facts.about(keys))


def _nothing(facts: Facts, question: ConnectionQuestion, *, passed: bool) -> Cause:
    """Why nothing carries it."""
    view, connection = question.view, question.connection
    if isinstance(view, GatewayView):
        ports = ", ".join(f"{port.port} ({port.protocol})" for port in view.ports)
        text = f"the gateway carries no such connection at port {connection.port}; it has port {ports or 'none'}"
        return Cause("no-route-for-calls", text, source=view.gateway)
    frontend = _called(facts, question)
    port = frontend.port(connection.port) if frontend is not None else None
    if frontend is not None and port is not None and port.protocol is not Protocol.TCP and not passed:
        place = facts.place(frontend.key, "spec", "ports", frontend.ports.index(port), "name") or frontend.origin
        carries = "HTTP" if port.protocol is not Protocol.AUTO else "what its name does not say"
        text = (
            f"port {port.number} of {frontend.key} carries {carries}: connections to it have no rules of their own here"
        )
        fix = "weft explain with http://…; or name the port tcp, or call it by weft run --upstream"
        return Cause("not-tcp", text, str(frontend.key), str(place), fix)
    asked = Request(connection.host, port=connection.port)
    carried = [one for one in frontend.ports if one.protocol is Protocol.TCP] if frontend is not None else []
    if frontend is not None and port is None:
        numbers = ", ".join(str(one.number) for one in frontend.ports)
        place = facts.place(frontend.key, "spec", "ports") or frontend.origin
        text = f"{frontend.key} has no port {connection.port}; it has {numbers or 'none'}"
        fix = f"tcp://{printable(connection.host, 80)}:{carried[0].number}" if carried else ""
        return Cause("unknown-port", text, str(frontend.key), str(place), fix)
    known = [name for name, _ in routes_by_name(view, connection) if name]
    if known:
        text = f"no rule is for connections without one of the server names {', '.join(known[:5])}: they are closed"
        return Cause("no-route-for-calls", text, str(frontend.key) if frontend else "")
    return host_cause(facts, Question(question.caller, view, asked, question.described))
