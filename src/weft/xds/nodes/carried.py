"""A workload's resources as an Envoy holds them that carries others too: the very same, under names of their own.

What its sidecar would do is compiled once and in one place; here each name in it gets the workload's prefix, and each
file its directory. So a cluster shows the certificate of the workload that it is for, whatever comes to it: there is
nothing to choose by, and a name that were forgotten here would lead nowhere, never to a neighbour.

Which fields are names stands in one table, by the field's full name in Envoy's API.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from xds.type.v3.typed_struct_pb2 import TypedStruct

from weft.xds.nodes.names import CarriedName
from weft.xds.resource import encode_resource
from weft.xds.services.names import XDS_CLUSTER
from weft.xds.snapshot import ENDPOINTS, EXTENSION, Resource
from weft.xds.stats import STATS_PREFIX

_CORE, _ROUTE = "envoy.config.core.v3.", "envoy.config.route.v3."
_NETWORK, _HTTP = "envoy.extensions.filters.network.", "envoy.extensions.filters.http."
_MANAGER = f"{_NETWORK}http_connection_manager.v3."
_NAMES = frozenset({
    "envoy.config.cluster.v3.Cluster.name",
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig.service_name",
    "envoy.config.endpoint.v3.ClusterLoadAssignment.cluster_name",
    "envoy.config.listener.v3.Listener.name",
    "envoy.config.listener.v3.Listener.stat_prefix",
    "envoy.config.trace.v3.ZipkinConfig.collector_cluster",
    f"{_CORE}EnvoyInternalAddress.server_listener_name",
    f"{_CORE}GrpcService.EnvoyGrpc.cluster_name",
    f"{_CORE}HttpUri.cluster",
    f"{_ROUTE}RouteConfiguration.name",
    f"{_ROUTE}RouteAction.cluster",
    f"{_ROUTE}RouteAction.RequestMirrorPolicy.cluster",
    f"{_ROUTE}WeightedCluster.ClusterWeight.name",
    f"{_MANAGER}Rds.route_config_name",
    f"{_MANAGER}HttpConnectionManager.stat_prefix",
    f"{_NETWORK}tcp_proxy.v3.TcpProxy.stat_prefix",
    f"{_NETWORK}tcp_proxy.v3.TcpProxy.cluster",
    f"{_NETWORK}tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight.name",
    f"{_NETWORK}rbac.v3.RBAC.stat_prefix",
    f"{_HTTP}local_ratelimit.v3.LocalRateLimit.stat_prefix",
    "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig.name",
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig.name",
    "envoy.extensions.transport_sockets.tls.v3.Secret.name",
})  # fmt: skip
_FILES = frozenset({
    f"{_CORE}DataSource.filename",
    f"{_CORE}PathConfigSource.path",
    f"{_CORE}WatchedDirectory.path",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog.path",
})  # fmt: skip
_UNTYPED = {"envoy_grpc": "cluster_name", "http_uri": "cluster"}
"""Where names are in what is configured by its JSON: a field, and the one in it that is a name."""
_STREAMS: Mapping[type[StdoutAccessLog | StderrAccessLog], str] = {
    StdoutAccessLog: "access.log",
    StderrAccessLog: "envoy.log",
}
"""Where an agent has its Envoy's standard output and error written to: an Envoy of many has one of each."""
_SLOT = f"{_MANAGER}HttpFilter"
_PER_FILTER = "typed_per_filter_config"
_UNDER = f"{STATS_PREFIX}."
"""What statistics of traffic begin with, by which Envoy is told to keep them: the prefix comes after it."""
_SHARED = frozenset({XDS_CLUSTER})
"""What the node's bootstrap has for all."""


def carry_resource(resource: Resource, name: str, namespace: str) -> Resource:
    """One resource of the workload `name` in `namespace`, as a node holds it."""
    whose = CarriedName(name, namespace)
    message = _message_class(resource.type_url.rpartition("/")[2]).FromString(resource.body)
    slots = frozenset([slot for type_url, slot in resource.requires if type_url == EXTENSION])
    if resource.type_url == ENDPOINTS:  # there are many, and they name nothing else
        message.cluster_name = name_of(message.cluster_name, whose)  # type: ignore[attr-defined]
    else:
        _change(message, whose, slots)
    if resource.type_url == EXTENSION:
        message.name = name_of(message.name, whose)  # type: ignore[attr-defined]
    requires = tuple([(type_url, name_of(required, whose)) for type_url, required in resource.requires])
    return encode_resource(message, name_of(resource.name, whose), resource.origins, requires)


def carry_message(message: Message, whose: CarriedName) -> None:
    """Give a message of a workload's own the names and paths that it has in a node, in place."""
    _change(message, whose, frozenset())


def name_of(name: str, whose: CarriedName) -> str:
    """A name of a workload's, as it is in a node."""
    if name in _SHARED or not name:
        return name
    return whose.prefix + name


def _statistics_of(name: str, whose: CarriedName) -> str:
    if name.startswith(_UNDER):
        return f"{_UNDER}{whose.prefix}.{name.removeprefix(_UNDER)}"
    return name_of(name, whose)


def _file_of(path: str, whose: CarriedName) -> str:
    return path if not path or path.startswith("/") else whose.directory + path


def _change(message: Message, whose: CarriedName, slots: frozenset[str]) -> None:
    """Give every name and file within `message` its owner, in place."""
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Any":
        _change_packed(message, whose, slots)  # type: ignore[arg-type]
        return
    if kind == "xds.type.v3.TypedStruct":
        _change_untyped(message.value, whose)  # type: ignore[attr-defined]
        return
    if kind == _SLOT and message.HasField("config_discovery"):
        message.name = whose.prefix + message.name  # type: ignore[attr-defined]
    for field, changed in _plan(message.DESCRIPTOR):
        if changed is not None:
            value = getattr(message, field.name)
            if value:
                setattr(message, field.name, changed(value, whose))
        elif field.is_repeated:
            _change_many(message, field, whose, slots)
        elif message.HasField(field.name):
            _change(getattr(message, field.name), whose, slots)


def _change_many(message: Message, field: FieldDescriptor, whose: CarriedName, slots: frozenset[str]) -> None:
    several = getattr(message, field.name)
    if not _is_map(field):
        for each in several:
            _change(each, whose, slots)
        return
    for key in list(several):
        _change(several[key], whose, slots)
        if field.name == _PER_FILTER and key in slots:
            several[whose.prefix + key].CopyFrom(several[key])
            del several[key]


def _change_packed(packed: AnyMessage, whose: CarriedName, slots: frozenset[str]) -> None:
    if not packed.type_url:
        return
    for kind, file in _STREAMS.items():
        stream = kind()
        if packed.Unpack(stream):
            found = FileAccessLog(path=whose.directory + file)
            if stream.HasField("log_format"):
                found.log_format.CopyFrom(stream.log_format)
            packed.Pack(found, deterministic=True)
            return
    inner = _message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value)
    if not isinstance(inner, AnyMessage | TypedStruct) and not _plan(inner.DESCRIPTOR):
        return
    _change(inner, whose, slots)
    packed.value = inner.SerializeToString(deterministic=True)


def _change_untyped(config: Struct, whose: CarriedName) -> None:
    """What is configured by its JSON, because the protobuf classes are older than Envoy: access loggers, of statistics
    (`weft.xds.signals.metrics`) and of OpenTelemetry."""
    for name, value in config.fields.items():
        if name in ("prefix", "stat_prefix") and value.string_value == STATS_PREFIX:
            value.string_value = _UNDER + whose.prefix
        elif value.HasField("struct_value"):
            inner = value.struct_value
            if name in _UNTYPED and (where := inner.fields.get(_UNTYPED[name])) is not None:
                where.string_value = name_of(where.string_value, whose)
            _change_untyped(inner, whose)


Plan = tuple[tuple[FieldDescriptor, Callable[[str, CarriedName], str] | None], ...]


@functools.cache
def _plan(descriptor: Descriptor) -> Plan:
    """The fields of a kind of message that are names or files, and those (None) that may hold some."""
    found: list[tuple[FieldDescriptor, Callable[[str, CarriedName], str] | None]] = []
    for field in descriptor.fields:
        if field.full_name in _NAMES:
            found.append((field, _statistics_of if field.name == "stat_prefix" else name_of))
        elif field.full_name in _FILES:
            found.append((field, _file_of))
        elif _leads_to_messages(field) and _may_hold(_held(field), frozenset()):
            found.append((field, None))
    return tuple(found)


def _leads_to_messages(field: FieldDescriptor) -> bool:
    return _held(field) is not None


def _held(field: FieldDescriptor) -> Descriptor | None:
    """The kind of messages in a field, or among the values of a map."""
    kind = field.message_type
    if kind is not None and _is_map(field):
        return kind.fields_by_name["value"].message_type
    return kind


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _may_hold(descriptor: Descriptor | None, above: frozenset[str]) -> bool:
    """Whether a message of this kind can hold a name or a file, at any depth."""
    if descriptor is None or descriptor.full_name in above:
        return False
    return _holds(descriptor.full_name)


@functools.cache
def _holds(kind: str) -> bool:
    reached, pending = {kind}, [descriptor_pool.Default().FindMessageTypeByName(kind)]
    while pending:
        descriptor = pending.pop()
        if descriptor.full_name in ("google.protobuf.Any", "xds.type.v3.TypedStruct", _SLOT):
            return True
        for field in descriptor.fields:
            if field.full_name in _NAMES or field.full_name in _FILES:
                return True
            inner = _held(field)
            if inner is not None and inner.full_name not in reached:
                reached.add(inner.full_name)
                pending.append(inner)
    return False


@functools.cache
def _message_class(kind: str) -> type[Message]:
    """The class of messages of a kind. A kind that is not known could hold anything: KeyError."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(kind))
