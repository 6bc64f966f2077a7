"""Scope: which services the callers of a class are told of, by what they say they use, by Sidecars and by exportTo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.sidecar import Ports, SidecarDocument, narrowed, outside_named
from weft.mesh.services.catalog import Catalog
from weft.mesh.sidecars.outbound import CallerRoutes, Entry
from weft.mesh.sidecars.refusals import refused_uses
from weft.mesh.views import Refusal


@dataclass(frozen=True, slots=True, eq=False)
class CallScope:
    """What the callers of a class are told of: `hosts` (full names, sorted; None: everything), of some of them only
    certain `ports`; of hosts that are no services those that `egress` names. `given`: they are told of it at once, for
    somebody wrote down what it is. `refused` are names that lead nowhere. Compared by identity."""

    hosts: tuple[str, ...] | None = None
    ports: Mapping[str, Ports] = field(default_factory=lambda: MappingProxyType({}))
    egress: SidecarDocument | None = None
    namespace: str = ""
    given: bool = False
    refused: tuple[Refusal, ...] = ()

    def entries(self, memo: Memo, routes: CallerRoutes, catalog: Catalog) -> list[Entry]:
        """How everything in the scope is reached."""
        found = routes.entries(catalog.hosts if self.hosts is None else self.hosts)
        if self.egress is not None:
            outside = {
                each.host for each in routes.outside if not outside_named(self.egress, each.host, self.namespace)
            }
            found = [entry for entry in found if entry.host not in outside]
        if self.ports:
            found = [memo(at_ports, each, self.ports[each.host]) if each.host in self.ports else each for each in found]
        return found


EVERYTHING = CallScope()


def build_scope(
    memo: Memo,
    catalog: Catalog,
    outside: tuple[str, ...],
    namespace: str,
    uses: tuple[str, ...],
    upstreams: tuple[str, ...],
    egress: SidecarDocument | None,
) -> CallScope:
    """The scope of workloads of a namespace that say they use `uses` (none: everything) and have `upstreams`, and for
    which the egress listeners of a Sidecar are in force. `outside` are hosts outside that its documents route."""
    hosts = catalog.hosts_for(namespace) if catalog.restricted else None
    ports: dict[str, Ports] = {}
    if uses:
        hosts = scope_of(catalog, namespace, (*uses, *upstreams))
    if egress is not None:
        allowed = dict(memo(narrowed, catalog, egress, namespace))
        hosts = tuple(host for host in (sorted(allowed) if hosts is None else hosts) if host in allowed)
        ports = {host: allowed[host] for host in hosts if allowed[host]}
    refused: tuple[Refusal, ...] = ()
    if uses:
        refused = memo(refused_uses, memo, catalog, outside, namespace, uses)
    return CallScope(hosts, MappingProxyType(ports), egress, namespace, bool(uses or egress), refused)


def scope_of(catalog: Catalog, namespace: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The full names of the services that workloads of a namespace `named`, sorted."""
    found = [catalog.called(name, namespace) for name in named]
    return tuple(sorted({frontend.host for frontend in found if frontend is not None}))


def at_ports(entry: Entry, ports: Ports) -> Entry:
    """How a service is reached at some of its ports only."""
    hosts = tuple(host for host in entry.virtual_hosts if host.port in ports)
    tunnels = tuple(tunnel for tunnel in entry.tunnels if tunnel.port in ports)
    backends = dict.fromkeys(key for key in entry.backends if key.host != entry.host or key.port in ports)
    return replace(
        entry,
        virtual_hosts=hosts,
        tunnels=tunnels,
        backends=tuple(backends),
        carried=tuple(key for key in entry.carried if key.host != entry.host or key.port in ports),
        undetected=tuple(each for each in entry.undetected if each[0] in ports),
    )
