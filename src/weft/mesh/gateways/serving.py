"""Serving: which Gateways one gateway process serves together, and what becomes of their listeners there.

By its name it serves a Gateway of the Gateway API, by its labels Istio's Gateways. Listeners of one port are served
together as Istio merges servers: all without TLS whose requests are looked at, or all that the name in the handshake
tells apart. Of what does not go together the oldest document has the port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from weft.mesh.gateways.addresses import bound_problem
from weft.mesh.gateways.certificates import Secrets, client_roots, served_certificate
from weft.mesh.gateways.declared import Declared, DeclaredGateway
from weft.mesh.gateways.listeners import CredentialName, Listener, closed
from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.routes.precedence import owner_order
from weft.mesh.services.workloads import declaring_workloads, gateway_of
from weft.mesh.views import Certificate, ClientRoots
from weft.model.document import Document
from weft.model.labels import Labels, selects
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.schema.kinds.gateway import GatewaySpec
from weft.schema.wording import nearest_name

_KEYS = {False: "data with tls.crt and tls.key, or cert and key", True: "data with ca.crt or cacert"}
Server = tuple[str, str, Labels, str]
"""A gateway process: what it serves by name (``namespace/name``), its namespace, its labels, and where it listens; a
pod ("") everywhere: of addresses that documents ask for, its Service is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What is served together under a name: the Gateways, their listeners in force, and what is wrong with others."""

    name: str
    gateways: tuple[DeclaredGateway, ...]
    listeners: tuple[Listener, ...]
    problems: tuple[Problem, ...] = ()


def servers_of(memo: Memo, workloads: tuple[Workload, ...]) -> tuple[Server, ...]:
    """The gateway processes, each name once."""
    found: dict[str, Server] = {}
    for each in declaring_workloads(memo, workloads):
        if each.gateway is not None:
            name = gateway_of(each)
            address = "" if each.pod else each.gateway.address
            found.setdefault(name, (name, each.namespace, each.labels, address))
    return tuple(found[name] for name in sorted(found))


def build_served(memo: Memo, declared: Declared, servers: tuple[Server, ...]) -> tuple[Served, ...]:
    """All that processes serve, and every Gateway that none does, by itself."""
    found: dict[str, Served] = {}
    taken: set[int] = set()
    for name, namespace, labels, address in servers:
        chosen = _chosen(declared, name, labels)
        taken |= {id(each) for each in chosen}
        if chosen:
            found[name] = memo(_served, memo, chosen, name, namespace, address, declared.secrets)
    names = {name for name, *_ in servers}
    for each in declared.gateways.values():
        if id(each) not in taken:
            whole = _with_sets(declared, each)
            found[each.name] = memo(_served, memo, whole, each.name, each.key.namespace, "::", declared.secrets)
    for each in declared.selecting.values():
        if id(each) not in taken and each.name not in found and each.name not in names:
            secrets = None if declared.partial else declared.secrets
            found[each.name] = memo(_unserved, each, secrets)
    return tuple(found.values())


def selected(gateway: DeclaredGateway, servers: Iterable[Server]) -> bool:
    """Whether a process serves a Gateway of Istio."""
    return any(selects(gateway.selector or (), labels) for _, _, labels, _ in servers)


def _chosen(declared: Declared, name: str, labels: Labels) -> tuple[DeclaredGateway, ...]:
    own = declared.gateways.get(name)
    selecting = [each for each in declared.selecting.values() if selects(each.selector or (), labels)]
    selecting.sort(key=lambda each: owner_order(each.document))
    return (*(_with_sets(declared, own) if own is not None else ()), *selecting)


def _with_sets(declared: Declared, gateway: DeclaredGateway) -> tuple[DeclaredGateway, ...]:
    """A Gateway of the Gateway API and the ListenerSets that add to it, the oldest first."""
    added = [each for each in declared.sets.values() if each.parent == gateway.name and declared.takes(each)]
    return (gateway, *sorted(added, key=lambda each: owner_order(each.document)))


def set_problems(declared: Declared) -> list[Problem]:
    """ListenerSets that add to no Gateway."""
    problems = []
    for each in declared.sets.values():
        if each.parent not in declared.gateways and each.parent not in declared.foreign:
            message = f"there is no Gateway '{each.parent}' of this mesh, so no listener of this set is in force"
            path: FieldPath = ("spec", "parentRef", "name")
            near = nearest_name(each.parent, list(declared.gateways))
            expected = "the name of a Gateway"
            problems.append(problem_at(each.document, path, "unknown-gateway", message, expected, nearest=near))
        elif each.parent in declared.gateways and not declared.takes(each):
            message = f"Gateway {each.parent} takes no listeners of namespace '{each.key.namespace}'"
            expected = "allowedListeners of the Gateway that take them"
            problems.append(
                problem_at(each.document, ("spec", "parentRef"), "listeners-not-allowed", message, expected)
            )
    return problems


def _unserved(gateway: DeclaredGateway, secrets: Secrets | None) -> Served:
    """Nobody serves it, so in which namespace its Secrets are looked for is not known: they have to be in one. Without
    `secrets` nothing is known of them before somebody serves it."""
    if secrets is None:
        return Served(gateway.name, (gateway,), gateway.listeners)
    names = {key.name for key in secrets}
    problems = [
        _unknown_secret(gateway, each, "any namespace", "")
        for listener in gateway.listeners
        for each in (listener.tls.credentials if listener.tls else ())
        if each.name not in names and not each.own
    ]
    return Served(gateway.name, (gateway,), gateway.listeners, tuple(problems))


def _served(
    memo: Memo, gateways: tuple[DeclaredGateway, ...], name: str, namespace: str, address: str, secrets: Secrets
) -> Served:
    standing: dict[int, list[tuple[Listener, DeclaredGateway]]] = {}
    listeners: list[Listener] = []
    where, unbound = address or "::", _unbound(gateways) if address else None
    problems: list[Problem] = [unbound] if unbound is not None else []
    for gateway in gateways:
        if unbound is not None and gateway.selector is None:
            continue
        for declared in gateway.listeners:
            everywhere = not address and gateway.selector is None and declared.bind
            listener = memo(_everywhere, declared) if everywhere else declared
            bad = _bind_problem(gateway, listener, where) or _conflict(
                gateway, listener, standing.get(listener.port, []), name, where
            )
            if bad is not None:
                problems.append(bad)
                continue
            standing.setdefault(listener.port, []).append((listener, gateway))
            found, wrong = _with_credentials(memo, gateway, listener, namespace, secrets)
            problems += wrong
            if found is not None:
                listeners.append(found)
    quic = {each.port for each in listeners if each.http3}
    if quic:
        beaten = [one for port in sorted(quic) for one in standing[port] if one[0].datagrams]
        problems += [_beaten_by_quic(gateway, listener, name) for listener, gateway in beaten]
        listeners = [each for each in listeners if not (each.datagrams and each.port in quic)]
    return Served(name, gateways, memo.same(_needed(listeners)), tuple(problems))


def _unbound(gateways: tuple[DeclaredGateway, ...]) -> Problem | None:
    """Why nothing of the Gateway API is served where a process listens at addresses of documents."""
    document = gateways[0].document
    if not isinstance(document.spec, GatewaySpec):
        return None
    return bound_problem(cast("Document[GatewaySpec]", document))


def _everywhere(listener: Listener) -> Listener:
    return replace(listener, bind="")


def _needed(listeners: list[Listener]) -> list[Listener]:
    """Without closed ones at whose port nothing is served."""
    ports = {each.port for each in listeners if not each.closed}
    return [each for each in listeners if each.port in ports]


def _beaten_by_quic(gateway: DeclaredGateway, listener: Listener, name: str) -> Problem:
    """HTTP/3 has the UDP port: without it clients that were told of it would wait."""
    message = f"at gateway {name}, UDP port {listener.port} is that of HTTP/3, so this listener is not in force"
    expected = "another port, or no HTTP/3 there"
    return problem_at(gateway.document, _path(gateway, listener), "server-conflict", message, expected)


def _conflict(
    gateway: DeclaredGateway,
    listener: Listener,
    standing: list[tuple[Listener, DeclaredGateway]],
    name: str,
    address: str,
) -> Problem | None:
    """Why a listener cannot be served beside those of its port that stand already."""
    code = "server-conflict"
    for other, owner in standing:
        if (owner is gateway and listener.isolated) or other.datagrams != listener.datagrams:
            continue
        same = set(listener.hostnames) & set(other.hostnames)
        if (other.bind or address) != (listener.bind or address):
            why = f"binds {_bound(other)} there, and this one {_bound(listener)}"
        elif listener.plain and other.plain and not (same and listener.isolated and other.isolated):
            continue
        elif not (listener.plain and other.plain) and not (listener.secure and other.secure):
            why = f"speaks {other.protocol} there, and this one {listener.protocol}"
            code = "protocol-conflict" if listener.isolated else code
        elif same:
            why = f"has the host '{min(same)}' there already"
        else:
            continue
        where = f"{owner.key} ({other.origin})"
        message = f"at gateway {name}, port {listener.port}: {where} {why}, so this server is not in force"
        expected = "another port, or hosts that no other server has"
        return problem_at(gateway.document, _path(gateway, listener), code, message, expected)
    return None


def _bound(listener: Listener) -> str:
    return listener.bind or "every address"


def _path(gateway: DeclaredGateway, listener: Listener) -> FieldPath:
    field = "servers" if gateway.selector is not None else "listeners"
    return ("spec", field, gateway.written.index(listener.name))


def _bind_problem(gateway: DeclaredGateway, listener: Listener, address: str) -> Problem | None:
    """A document may narrow where a process listens, and never widen it."""
    if not listener.bind or ipaddress.ip_address(address).is_unspecified or listener.bind == address:
        return None
    what = "this server" if gateway.selector is not None else "the Gateway"
    message = f"the gateway's process listens on {address}, so {what} is not in force"
    expected = f"{address}, or a process started with --bind {listener.bind}"
    path = (*_path(gateway, listener), "bind") if gateway.selector is not None else ("spec", "addresses", 0, "value")
    return problem_at(gateway.document, path, "bind-not-served", message, expected)


def _with_credentials(
    memo: Memo, gateway: DeclaredGateway, listener: Listener, namespace: str, secrets: Secrets
) -> tuple[Listener | None, list[Problem]]:
    """The listener with what its credentials are in a namespace. If one that it needs is missing there is none, or a
    closed one where clients were to be asked."""
    if listener.tls is None or not listener.tls.credentials:
        return listener, []
    certificates: list[Certificate] = []
    roots: ClientRoots | None = None
    problems: list[Problem] = []
    for each in listener.tls.credentials:
        find = client_roots if each.clients else served_certificate
        found = find(memo, each.name, namespace, secrets, own=each.own)
        if isinstance(found, Certificate):
            certificates.append(found)
        elif isinstance(found, ClientRoots):
            roots = found
        elif found == "missing":
            problems.append(_unknown_secret(gateway, each, f"namespace '{namespace}'", _elsewhere(each, secrets)))
        else:
            problems.append(problem_at(gateway.document, each.path, "bad-certificate", found, _KEYS[each.clients]))
    if not certificates or (listener.tls.clients is not None and roots is None):
        return (memo(closed, listener) if listener.tls.clients is not None else None), problems
    return memo(_complete, listener, tuple(certificates), roots), problems


def _complete(listener: Listener, certificates: tuple[Certificate, ...], roots: ClientRoots | None) -> Listener:
    tls, clients = listener.tls, None
    if tls is None:
        return listener
    if tls.clients is not None and roots is not None:
        clients = replace(tls.clients, roots=roots.name, unsent=not roots.roots)
    return replace(listener, tls=replace(tls, certificates=certificates, roots=roots, clients=clients, credentials=()))


def _elsewhere(credential: CredentialName, secrets: Secrets) -> str:
    """A namespace that has a Secret of the name."""
    return next((key.namespace for key in secrets if key.name == credential.name), "")


def _unknown_secret(gateway: DeclaredGateway, credential: CredentialName, where: str, elsewhere: str) -> Problem:
    message = f"there is no Secret '{credential.name}' in {where}"
    if elsewhere:
        message += f", where the gateway's process is; namespace '{elsewhere}' has one"
    expected = "the name of a Secret in the namespace of the gateway's process"
    return problem_at(gateway.document, credential.path, "unknown-secret", message, expected)
