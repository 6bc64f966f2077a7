"""The listener to which connections are led that were made to other addresses: it goes by where they were made to.

A matcher chooses the filter chain, so that services that come and go change the matcher and no chain of others: Envoy
ends the connections of chains that change, and of no others.
"""

from __future__ import annotations

import functools
import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
)
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import (
    ApplicationProtocolInput,
    DestinationIPInput,
    DestinationPortInput,
    ServerNameInput,
)
from envoy.type.v3.range_pb2 import Int32Range
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value
from xds.core.v3.cidr_pb2 import CidrRange
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.domain_pb2 import ServerNameMatcher
from xds.type.matcher.v3.ip_pb2 import IPMatcher
from xds.type.matcher.v3.matcher_pb2 import Matcher

from weft.mesh.memo import Memo
from weft.mesh.routes.connections import WeightedTarget
from weft.mesh.services.service import Backend, BackendKey, ConnectionLimits, MutualTls, PerEndpoint, Protocol
from weft.mesh.signals import Signals
from weft.mesh.views import Captured, CapturedInstance, CapturedPort
from weft.model.workload import SocketAddress
from weft.xds.filters.place import Place
from weft.xds.http_connection_manager import outbound_manager
from weft.xds.limits import DETECTION_SECONDS, MAX_OUTSIDE_CONNECTIONS, MESH
from weft.xds.listener import filter_chain, http_inspector, internal_listener, tcp_listener, tcp_proxy, tls_inspector
from weft.xds.messages import duration, packed, provenance, tcp_address
from weft.xds.policies.connections import DEFAULT_TIMES, TcpTimes, times_of
from weft.xds.policies.tls import ALPN_TCP, mark_epoch, mesh_client_socket
from weft.xds.resource import encode_resource
from weft.xds.services.cluster import base_cluster
from weft.xds.services.names import CAPTURE_LISTENER, NOWHERE, tunnel_name
from weft.xds.services.shares import led_to
from weft.xds.sidecars.outbound import CAPTURED, CAPTURED_VALUE, OUTBOUND_ROUTES
from weft.xds.signals.collectors import required_collectors
from weft.xds.signals.loggers import connection_report, tcp_loggers
from weft.xds.snapshot import CLUSTER, ROUTES, Resource

PASSTHROUGH = "passthrough"
"""The cluster, and the filter chain, of connections that go on to where they were made to."""
_REFUSED = "refused"
_HTTP, _HTTP_OUTSIDE = "http", "http outside"
"""The chains of requests on connections that were made to a service, and to whatever a document lets callers name."""
_STATS = "upstream"
"""As connections to declared ports: what the application does with its proxy is counted together."""
_WHERE = "envoy.network.transport_socket.original_dst_address"
"""The filter state in which Envoy's cluster for original destinations is told of another one."""
_DETECTED = ("http/1.0", "http/1.1", "h2c")
_LOOPBACK = ("127.0.0.0/8", "::1/128")


Rows = dict[bytes, tuple[Matcher.OnMatch, list[str]]]
"""Addresses of one port, by where they lead."""


@dataclass(slots=True)
class _Table:
    """Which chain takes what: by port, then by address; and what has to be looked at first, by port."""

    chains: dict[str, bytes] = field(default_factory=dict)
    ports: dict[int, Rows] = field(default_factory=lambda: defaultdict(dict))
    elsewhere: dict[int, list[tuple[CapturedPort, Matcher.OnMatch]]] = field(default_factory=lambda: defaultdict(list))
    detected: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)
    http: set[str] = field(default_factory=set)

    def lead(self, port: int, addresses: Iterable[str], where: Matcher.OnMatch) -> None:
        """What is addressed to one of `addresses` at `port`."""
        text = where.SerializeToString(deterministic=True)
        self.ports[port].setdefault(text, (where, []))[1].extend(addresses)


@dataclass(frozen=True, slots=True, eq=False)
class SharedCapture:
    """What the listeners of all sidecars of a class have in common, `encoded`: chains, matcher, what is looked at
    first; the clusters that have to be there, and the names of the chains for `http`. Compared by identity."""

    encoded: bytes
    clusters: tuple[str, ...]
    http: tuple[str, ...]


def encode_shared_capture(
    memo: Memo,
    captured: Captured,
    backends: Mapping[BackendKey, Backend],
    signals: Signals,
    on_demand: bool,
    own_port: int,
) -> SharedCapture:
    """What is led where. By the policies of `backends` connections last. What was made to the listener itself, at
    `own_port` of loopback (0: it has none), is refused: it would go round for ever."""
    table = _Table()
    table.chains[_REFUSED] = memo(_cluster_chain, _REFUSED, NOWHERE, signals)
    if own_port:
        table.lead(own_port, _LOOPBACK, _chain(_REFUSED))
    for port in captured.ports:
        _add_port(table, memo, port, memo(_times, port, backends), signals, on_demand)
    plain = {backend.key for backend in captured.direct if _mutual_tls(backend) is None}
    for instance in captured.instances:
        _add_instance(table, memo, instance, signals, plain)
    rest = Listener(filter_chain_matcher=_by_port(table), listener_filters=_listener_filters(table))
    encoded = b"".join((*table.chains.values(), rest.SerializeToString(deterministic=True)))
    return SharedCapture(
        encoded, tuple(dict.fromkeys((*_clusters(captured), PASSTHROUGH, NOWHERE))), tuple(sorted(table.http))
    )


def encode_capture(
    shared: SharedCapture,
    listen: tuple[SocketAddress, ...],
    proxy: str,
    signals: Signals,
    allow_any: bool,
    on_demand: bool,
    http10: bool,
) -> Resource:
    """The listener of `proxy` at `listen`: the first address, and the same port of others; none: connections come from
    another listener of the proxy. Where no document says what
    an address is, it is passed on or (not `allow_any`) refused. `http10`: see `outbound_manager`."""
    chains: list[FilterChain] = []
    requires = [(CLUSTER, name) for name in shared.clusters]
    if shared.http:
        manager = outbound_manager(
            OUTBOUND_ROUTES, signals, proxy=proxy, any_host=True, on_demand=on_demand, http10=http10
        )
        noted = {_HTTP: [_state(CAPTURED, CAPTURED_VALUE, factory="envoy.string")]}
        chains += [filter_chain(name, manager, before=noted.get(name, ())) for name in shared.http]
        requires.append((ROUTES, OUTBOUND_ROUTES))
    if listen:
        listener = tcp_listener(CAPTURE_LISTENER, listen[0], MESH.buffer, chains)
    else:
        listener = internal_listener(CAPTURE_LISTENER, MESH.buffer, chains)
    to = _bytes(PASSTHROUGH if allow_any else NOWHERE, DEFAULT_TIMES, signals)
    listener.default_filter_chain.CopyFrom(filter_chain("otherwise", to))
    listener.additional_addresses.extend(AdditionalAddress(address=tcp_address(each)) for each in listen[1:])
    listener.listener_filters_timeout.CopyFrom(duration(DETECTION_SECONDS))
    listener.continue_on_listener_filters_timeout = True
    listener.traffic_direction = base_pb2.OUTBOUND
    needed = (*requires, *required_collectors(signals))
    return encode_resource(listener, CAPTURE_LISTENER, (), needed, encoded=shared.encoded)


def encode_passthrough(connect_timeout: float | None = None) -> Resource:
    """To where the connection was made to, and no further than that."""
    limits = ConnectionLimits(connect_timeout=connect_timeout, max_connections=MAX_OUTSIDE_CONNECTIONS)
    return encode_resource(_original_destination(PASSTHROUGH, limits), PASSTHROUGH)


def encode_direct(backend: Backend, trust_domain: str, trust_epoch: int = 0) -> Resource | None:
    """To one instance of a headless service, whose connection says which: with mutual TLS. None: that has none."""
    protected = _mutual_tls(backend)
    if protected is None:
        return None
    name = direct_name(backend.key)
    cluster = _original_destination(name, backend.policy.limits)
    cluster.metadata.CopyFrom(provenance(str(backend.object)))
    mark_epoch(cluster.metadata, trust_epoch)
    cluster.transport_socket.CopyFrom(
        mesh_client_socket(map(str, protected.identities), trust_domain, ALPN_TCP, sni=protected.sni)
    )
    return encode_resource(cluster, name, backend.origins)


def direct_name(key: BackendKey) -> str:
    """The name of the cluster that leads to single instances of a port."""
    return f"direct|{key.port}||{key.host}"


def _mutual_tls(backend: Backend) -> MutualTls | None:
    transport = backend.transport
    if isinstance(transport, PerEndpoint):
        return transport.mutual_tls
    return transport if isinstance(transport, MutualTls) else None


def _original_destination(name: str, limits: ConnectionLimits) -> Cluster:
    cluster = base_cluster(name, limits)
    cluster.type = Cluster.ORIGINAL_DST
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    return cluster


def _add_port(
    table: _Table, memo: Memo, port: CapturedPort, times: TcpTimes, signals: Signals, on_demand: bool
) -> None:
    where = _leading(table, memo, port, times, signals, on_demand)
    if port.protocol is Protocol.AUTO:
        table.detected.add(port.port)
    if port.addresses:
        table.lead(port.port, port.addresses, where)
    elif port.called:
        table.elsewhere[port.port].append((port, where))
        if port.tls:
            table.named.add(port.port)


def _leading(
    table: _Table, memo: Memo, port: CapturedPort, times: TcpTimes, signals: Signals, on_demand: bool
) -> Matcher.OnMatch:
    """What becomes of connections to a port; the chains that it needs are added."""
    http = _HTTP_OUTSIDE if port.called else _HTTP
    if port.protocol is not Protocol.TCP:
        table.http.add(http)
    if port.protocol not in (Protocol.TCP, Protocol.AUTO):
        return _chain(http)
    name = PASSTHROUGH if port.called else f"tcp {port.host}:{port.port}"
    if port.called:
        table.chains[name] = memo(_cluster_chain, name, PASSTHROUGH, signals)
    else:
        table.chains[name] = memo(_port_chain, name, port, times, signals, on_demand)
    if port.protocol is Protocol.TCP:
        return _chain(name)
    found = Matcher(on_no_match=_chain(name))
    found.matcher_tree.input.CopyFrom(_extension("application-protocol", ApplicationProtocolInput()))
    for protocol in _DETECTED:
        found.matcher_tree.exact_match_map.map[f"'{protocol}'"].CopyFrom(_chain(http))
    return Matcher.OnMatch(matcher=found)


def _times(port: CapturedPort, backends: Mapping[BackendKey, Backend]) -> TcpTimes:
    """How long its connections may last. Those that are led on within the proxy end there."""
    if port.connections.by_name:
        return TcpTimes(idle=0)
    return DEFAULT_TIMES if port.connections.otherwise is None else times_of(backends, port.connections.otherwise)


def _port_chain(name: str, port: CapturedPort, times: TcpTimes, signals: Signals, on_demand: bool) -> bytes:
    """Where names decide they are read in a listener of their own: here nobody waits for a client's first bytes."""
    if port.connections.by_name:
        return _encoded(filter_chain(name, _bytes(tunnel_name(BackendKey(port.host, port.port)), times, signals)))
    route = port.connections.otherwise
    if route is None:
        return _encoded(filter_chain(name, _bytes(NOWHERE, times, signals)))
    asks = on_demand and any(not key.opaque for key in route.used())
    return _encoded(filter_chain(name, _bytes(route.backends, times, signals, on_demand=asks)))


def _cluster_chain(name: str, cluster: str, signals: Signals) -> bytes:
    return _encoded(filter_chain(name, _bytes(cluster, DEFAULT_TIMES, signals)))


def _add_instance(
    table: _Table, memo: Memo, instance: CapturedInstance, signals: Signals, plain: set[BackendKey]
) -> None:
    name = f"instance {instance.accepts} {instance.key.port} {instance.key.host}"
    protected = instance.mutual_tls and instance.key not in plain
    cluster = direct_name(instance.key) if protected else PASSTHROUGH
    table.chains[name] = memo(_instance_chain, name, str(instance.accepts), cluster, signals)
    table.lead(instance.port, (instance.address,), _chain(name))


def _instance_chain(name: str, accepts: str, cluster: str, signals: Signals) -> bytes:
    """It says to the cluster where the instance accepts: its proxy does so at another port than it itself."""
    return _encoded(filter_chain(name, _bytes(cluster, DEFAULT_TIMES, signals), before=[_state(_WHERE, accepts)]))


def _bytes(
    to: str | tuple[WeightedTarget, ...], times: TcpTimes, signals: Signals, *, on_demand: bool = False
) -> Filter:
    logs, report = tcp_loggers(signals, Place.OUTBOUND), connection_report(signals)
    return tcp_proxy(_STATS, to, times, logs, on_demand=on_demand, report=report)


def _encoded(chain: FilterChain) -> bytes:
    """As a field of the listener."""
    return Listener(filter_chains=[chain]).SerializeToString(deterministic=True)


def _state(key: str, value: str, factory: str = "") -> Filter:
    """A filter that notes something of the connection, for what comes after it."""
    noted = SetFilterState()
    text = SubstitutionFormatString()
    text.text_format_source.inline_string = value
    noted.on_new_connection.add(object_key=key, factory_key=factory, format_string=text)
    return Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(noted))


def _clusters(captured: Captured) -> Iterator[str]:
    """Those that have to be there."""
    for port in captured.ports:
        if port.connections.by_name:
            yield tunnel_name(BackendKey(port.host, port.port))
        elif not port.called:
            yield from led_to(port.connections.routes())
    for backend in captured.direct:
        if _mutual_tls(backend) is not None:
            yield direct_name(backend.key)


# -- the matcher -------------------------------------------------------------------------------------------------------


def _by_port(table: _Table) -> Matcher:
    matcher = Matcher()
    matcher.matcher_tree.input.CopyFrom(_extension("port", DestinationPortInput()))
    for port in sorted({*table.ports, *table.elsewhere}):
        found = matcher.matcher_tree.exact_match_map.map[str(port)]
        found.CopyFrom(_by_address(table.ports.get(port, {}), _elsewhere(table.elsewhere.get(port, []))))
    return matcher


def _by_address(rows: Rows, elsewhere: Matcher.OnMatch | None) -> Matcher.OnMatch:
    """Of several that have one address, the first has it; of ranges the smallest."""
    matcher = IPMatcher()
    taken: set[tuple[str, int]] = set()
    for where, addresses in rows.values():
        ranges = [each for each in dict.fromkeys(map(_range, addresses)) if each not in taken]
        taken.update(ranges)
        if ranges:
            matcher.range_matchers.add(ranges=[_cidr(*each) for each in ranges], on_match=where, exclusive=True)
    if not matcher.range_matchers:
        return elsewhere or Matcher.OnMatch()
    found = Matcher(on_no_match=elsewhere)
    found.matcher_tree.input.CopyFrom(_extension("address", DestinationIPInput()))
    found.matcher_tree.custom_match.CopyFrom(_extension("envoy.matching.custom_matchers.ip_range_matcher", matcher))
    return Matcher.OnMatch(matcher=found)


def _elsewhere(rows: list[tuple[CapturedPort, Matcher.OnMatch]]) -> Matcher.OnMatch | None:
    """Addresses of a port that nobody is known to have: they may be those of hosts whose callers say where to. Which of
    them is told by the server name where it is TLS, and by the request where it is HTTP."""
    names: dict[str, Matcher.OnMatch] = {}
    otherwise = None
    for port, where in rows:
        if port.tls:
            names.setdefault(port.called, where)
        else:
            otherwise = otherwise or where
    if not names:
        return otherwise
    matcher = ServerNameMatcher()
    for name, where in sorted(names.items()):
        matcher.domain_matchers.add(domains=[name], on_match=where)
    found = Matcher(on_no_match=otherwise)
    found.matcher_tree.input.CopyFrom(_extension("server-name", ServerNameInput()))
    found.matcher_tree.custom_match.CopyFrom(_extension("envoy.matching.custom_matchers.domain_matcher", matcher))
    return Matcher.OnMatch(matcher=found)


def _chain(name: str) -> Matcher.OnMatch:
    return Matcher.OnMatch(action=_extension(name, StringValue(value=name)))


def _extension(name: str, config: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=packed(config))


@functools.lru_cache(maxsize=1 << 16)
def _range(address: str) -> tuple[str, int]:
    """An address or a range: the first address of it, and how many bits are the same in all."""
    network = ipaddress.ip_network(address, strict=False)
    return str(network.network_address), network.prefixlen


def _cidr(prefix: str, bits: int) -> CidrRange:
    return CidrRange(address_prefix=prefix, prefix_len=UInt32Value(value=bits))


# -- what is looked at first -------------------------------------------------------------------------------------------


def _listener_filters(table: _Table) -> Iterator[ListenerFilter]:
    """Only ports that need it wait for the client's first bytes: elsewhere the server may speak first."""
    yield ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=packed(OriginalDst()))
    for inspector, ports in ((tls_inspector(), table.named), (http_inspector(), table.detected)):
        if ports:
            inspector.filter_disabled.not_match.CopyFrom(_any_of(sorted(ports)))
            yield inspector


def _any_of(ports: list[int]) -> ListenerFilterChainMatchPredicate:
    rules = [
        ListenerFilterChainMatchPredicate(destination_port_range=Int32Range(start=port, end=port + 1)) for port in ports
    ]
    if len(rules) == 1:
        return rules[0]
    return ListenerFilterChainMatchPredicate(or_match=ListenerFilterChainMatchPredicate.MatchSet(rules=rules))
