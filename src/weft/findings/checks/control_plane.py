"""Checks of the control plane itself and of certificates."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from weft.findings.checks.wording import lasting
from weft.findings.facts import Facts
from weft.findings.finding import Finding, finding
from weft.mesh.memo import Memo
from weft.mesh.referred import referred
from weft.model.problem import Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.gateway import GatewaySpec, ListenerSetSpec
from weft.schema.kinds.istiogateway import IstioGatewaySpec

_LATE = 0.5
_BUILD = 2.0
_FREE_SHARE = 0.02
_FREE_BYTES = 200 << 20
_DAY = 86400.0
_ROOT_DAYS, _INTERMEDIATE_DAYS, _SECRET_DAYS = 60, 3, 14
_BROUGHT_DAYS = 14
"""Somebody else has to sign the next one; an upstream authority would have been asked at half its life."""
_SERVER_SECONDS = 3600.0
_CHAIN = "tls.crt"


def event_loop_lag(facts: Facts) -> Iterator[Finding]:
    """The control plane comes round late."""
    if facts.control_plane.late > _LATE:
        text = f"it came round up to {facts.control_plane.late:.1f} s late within the last minute"
        yield finding("event-loop-lag", text, about="control plane")


def build_slow(facts: Facts) -> Iterator[Finding]:
    """Compiling takes long."""
    if facts.control_plane.build > _BUILD:
        text = f"the last build took {facts.control_plane.build:.1f} s"
        yield finding("build-slow", text, about="control plane")


def disk_nearly_full(facts: Facts) -> Iterator[Finding]:
    """There is little room for the store."""
    free, room = facts.control_plane.free, facts.control_plane.room
    if free is not None and room and ((free < _FREE_BYTES and free < room * 0.2) or free < room * _FREE_SHARE):
        text = f"{free >> 20} MB of {room >> 20} MB are free where the store is"
        yield finding("disk-nearly-full", text, about="control plane")


def ca_expires(facts: Facts) -> Iterator[Finding]:
    """The mesh's own certificates end."""
    one = facts.control_plane
    intermediate = _INTERMEDIATE_DAYS if one.own_root else _BROUGHT_DAYS
    for name, end, days in (("root", one.root_ends, _ROOT_DAYS), ("intermediate", one.intermediate_ends, intermediate)):
        if end and end - facts.now < days * _DAY:
            yield finding("ca-expires", f"the {name} certificate {lasting(end - facts.now)}", about="control plane")


def server_certificate_expires(facts: Facts) -> Iterator[Finding]:
    """The control plane's certificate is not renewed."""
    left = facts.control_plane.server_ends - facts.now
    if facts.control_plane.server_ends and left < _SERVER_SECONDS / 6:
        text = f"the control plane's certificate {lasting(left)}"
        yield finding("server-certificate-expires", text, about="control plane")


def weft_versions_differ(facts: Facts) -> Iterator[Finding]:
    """Other versions of weft than the control plane's."""
    running = facts.control_plane.version
    if facts.command and facts.command != running:
        text = f"the control plane runs {running}, this command is {facts.command}"
        yield finding("weft-versions-differ", text, about="command", workload="control-plane")
    others: dict[str, list[str]] = {}
    for one in facts.workloads:
        if one.version and one.version != running:
            others.setdefault(one.version, []).append(one.workload.name)
    for version, names in sorted(others.items()):
        text = f"the control plane runs {running}, the agents of {', '.join(names[:3])} run {version}"
        yield finding("weft-versions-differ", text, about=f"workload {names[0]}", workload=names[0])


def gateway_certificate_expires(facts: Facts) -> Iterator[Finding]:
    """Certificates of Gateways' listeners end."""
    named = _referenced(facts)
    for document in facts.documents:
        if not isinstance(document.spec, SecretSpec) or (document.key.namespace, document.key.name) not in named:
            continue
        end = _end_of(document.spec.data.get(_CHAIN, b""))
        if end is not None and end - facts.now < _SECRET_DAYS * _DAY:
            severity = Severity.ERROR if end < facts.now else Severity.WARNING
            key, origin = document.key, document.origin
            text = f"{key}: its certificate {lasting(end - facts.now)}"
            yield finding("gateway-certificate-expires", text, object=key, origin=origin, severity=severity)


def unused_secrets(facts: Facts) -> Iterator[Finding]:
    """Secrets that no document names."""
    named = {**_referenced(facts), **_looked_up(facts)}
    for document in facts.documents:
        if isinstance(document.spec, SecretSpec) and (document.key.namespace, document.key.name) not in named:
            text = "no document names this Secret"
            yield finding("unused-document", text, object=document.key, origin=document.origin)


def _referenced(facts: Facts) -> dict[tuple[str, str], None]:
    """Namespace and name of every Secret that a Gateway names."""
    found: dict[tuple[str, str], None] = {}
    names = {(document.key.namespace, document.key.name) for document in facts.documents}
    for document in facts.documents:
        if isinstance(document.spec, IstioGatewaySpec):
            wanted = set(_credentials(document.spec))
            found.update(dict.fromkeys(each for each in sorted(names) if each[1] in wanted))
        if isinstance(document.spec, GatewaySpec | ListenerSetSpec):
            for listener in document.spec.listeners:
                for one in listener.tls.certificate_refs if listener.tls is not None else ():
                    found[one.namespace or document.key.namespace, one.name] = None
    return found


def _looked_up(facts: Facts) -> dict[tuple[str, str], None]:
    """Namespace and name of every Secret that the mesh looks up."""
    memo = Memo()
    memo.begin()
    workloads = tuple(each.workload for each in facts.workloads)
    found = referred(ConfigSnapshot(0, facts.documents, workloads), memo)
    return {(each.key.namespace, each.key.name): None for each in found if each.key.kind == "Secret"}


def _credentials(spec: IstioGatewaySpec) -> Iterator[str]:
    """Names of Secrets, in whatever namespace the gateway's process is."""
    for server in spec.servers:
        if server.tls is not None:
            named = (server.tls.credential_name, *server.tls.credential_names, server.tls.ca_cert_credential_name)
            yield from (name for each in named if each for name in (each, f"{each}-cacert"))


def _end_of(chain: bytes) -> float | None:
    """When the first certificate of a PEM chain ends."""
    try:
        return x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp()
    except ValueError:
        return None
