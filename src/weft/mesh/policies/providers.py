"""Providers of MeshConfig: where signals go, each compiled to what a proxy does, and what is wrong with its Service.

What a Service comes to is looked up first, as plain values: another Service that changes then changes no provider.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import MeshWide
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host, unknown_port
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.signals import AccessLog, Collector, CustomTag, FileSink, GrpcSink, OtlpSink, Tracing
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import is_own_host, service_of_host
from weft.schema.kinds import providers as api
from weft.schema.kinds import telemetry as telemetry_api
from weft.schema.kinds.meshconfig import MeshConfigSpec
from weft.schema.rules.meshconfig import BUILT_IN_PROVIDERS, signal_of

MESH_FILE = "accessLogFile"
"""The provider that `accessLogFile` stands for; no document can name it."""
MESH_ZIPKIN = "zipkin.address"
"""The provider that `defaultConfig.tracing.zipkin` stands for."""
PlainCollector = tuple[str, int, bool]
"""Host, port, and whether it is a Service of the mesh."""


@dataclass(frozen=True, slots=True, eq=False)
class Providers:
    """All providers by their names in lower case: access logs, traces, and the `metrics` of which there is one kind.
    `signals` says which each is for. Compared by identity."""

    logs: Mapping[str, AccessLog]
    traces: Mapping[str, Tracing]
    metrics: frozenset[str]
    signals: Mapping[str, str]
    spec: MeshConfigSpec

    @property
    def default_logs(self) -> tuple[str, ...]:
        """Those of access logs where no Telemetry names any."""
        named = tuple(name.lower() for name in self.spec.default_providers.access_logging)
        return named or ((MESH_FILE,) if self.spec.access_log_file else ())

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """Those of metrics: Prometheus unless a document says otherwise."""
        named = self.spec.default_providers.metrics
        return ("prometheus",) if named is None else tuple(name.lower() for name in named)


def build_providers(memo: Memo, wide: MeshWide, catalog: Catalog) -> tuple[Providers, tuple[Problem, ...]]:
    """The providers in force, the same object while what they come to is the same, and what is wrong with them."""
    resolved: tuple[PlainCollector | None, ...] = ()
    problems: tuple[Problem, ...] = ()
    if _services(wide.spec):
        resolved, problems = memo(resolve_services, wide, catalog)
    return memo(compile_providers, wide, resolved), problems


def compile_providers(wide: MeshWide, resolved: tuple[PlainCollector | None, ...]) -> Providers:
    """The providers; `resolved` are their services in the order of `_services`. One whose service is not there is no
    provider, and who names it is told."""
    spec = wide.spec
    collectors = {path: collector(each) for (path, _, _), each in zip(_services(spec), resolved, strict=True) if each}
    logs = {"envoy": _mesh_file(spec, "/dev/stdout"), MESH_FILE: _mesh_file(spec, spec.access_log_file)}
    traces: dict[str, Tracing] = {}
    signals = dict(BUILT_IN_PROVIDERS)
    for index, provider in enumerate(spec.extension_providers):
        name = provider.name.lower()
        signals[name] = signal_of(provider)
        found = next((each for path, each in collectors.items() if path[:2] == ("extensionProviders", index)), None)
        log, trace = _log(provider, found, spec), _trace(provider, found)
        if log is not None:
            logs[name] = log
        if trace is not None:
            traces[name] = trace
    zipkin = collectors.get(("defaultConfig", "tracing", "zipkin", "address"))
    if zipkin is not None:
        traces[MESH_ZIPKIN] = Tracing("zipkin", zipkin, w3c=False)
    own = (provider.name.lower() for provider in spec.extension_providers if provider.prometheus is not None)
    metrics = frozenset(("prometheus", *own))
    return Providers(MappingProxyType(logs), MappingProxyType(traces), metrics, MappingProxyType(signals), spec)


def collector(plain: PlainCollector) -> Collector:
    """Where signals are sent."""
    host, port, inside = plain
    return Collector(BackendKey(host, port)) if inside else Collector(host=host, port=port)


def _services(spec: MeshConfigSpec) -> tuple[tuple[FieldPath, str, int], ...]:
    """The services that providers name: where below the settings, the name, and the port."""
    return tuple(_named_services(spec))


def _named_services(spec: MeshConfigSpec) -> Iterator[tuple[FieldPath, str, int]]:
    for index, provider in enumerate(spec.extension_providers):
        for name, each in (
            ("opentelemetry", provider.opentelemetry),
            ("zipkin", provider.zipkin),
            ("envoyHttpAls", provider.envoy_http_als),
            ("envoyTcpAls", provider.envoy_tcp_als),
            ("envoyOtelAls", provider.envoy_otel_als),
        ):
            if each is not None:
                yield ("extensionProviders", index, name, "service"), each.service, each.port
    traces = spec.default_config.tracing
    if traces is not None and traces.zipkin is not None and spec.enable_tracing:
        host, _, port = traces.zipkin.address.rpartition(":")
        path = ("defaultConfig", "tracing", "zipkin", "address")
        yield path, host.removeprefix("[").removesuffix("]"), int(port)


def resolve_services(wide: MeshWide, catalog: Catalog) -> tuple[tuple[PlainCollector | None, ...], tuple[Problem, ...]]:
    """What the services of providers come to, None for those that are not there."""
    document = cast(Document[object], wide.document)
    problems: list[Problem] = []
    found: list[PlainCollector | None] = []
    for path, name, port in _services(wide.spec):
        where, root = (*wide.path, *path), wide.settings.root_namespace
        result = tuple(resolve_service(document, where, name, port, catalog, root))
        problems += [each for each in result if isinstance(each, Problem)]
        found.append(next((each for each in result if not isinstance(each, Problem)), None))
    return tuple(found), tuple(problems)


def resolve_service(
    document: Document[object], path: FieldPath, text: str, port: int, catalog: Catalog, root_namespace: str
) -> Iterator[PlainCollector | Problem]:
    """A service as Istio's providers name it (``NAMESPACE/HOST`` or HOST), or a host outside the mesh; and what is
    wrong with it."""
    given, _, host = text.rpartition("/")
    namespace = given or root_namespace
    key = None if _is_address(host) or is_own_host(host) else service_of_host(host, namespace)
    frontend = catalog.by_host.get(host) or (catalog.named(key.name, key.namespace) if key is not None else None)
    if frontend is None and key is None and not given:
        yield host, port, False
        return
    if frontend is None:
        message = f"'{text}' is no Service, so nothing is sent there"
        near = nearest_host(host, namespace, catalog)
        yield problem_at(document, path, "unknown-service", message, "a Service, or a host outside", nearest=near)
        return
    found = frontend.port(port)
    if found is None:
        yield unknown_port(document, (*path[:-1], "port"), frontend, port, ", so nothing is sent there")
        return
    if found.protocol not in (Protocol.HTTP2, Protocol.TCP) and not _over_http(path):
        message = f"port {port} of {frontend.key} does not say that it speaks HTTP/2, which gRPC needs"
        expected = "a port called grpc-…, or with appProtocol: grpc"
        yield problem_at(document, path, "collector-protocol", message, expected, severity=Severity.WARNING)
    yield frontend.host, port, True


def _over_http(path: FieldPath) -> bool:
    """Whether it goes over HTTP, or may: nothing is said of its ports then."""
    return path[-2] in ("opentelemetry", "zipkin", "envoyExtAuthzHttp")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _mesh_file(spec: MeshConfigSpec, path: str) -> AccessLog:
    """A file in the mesh's own format."""
    as_json = spec.access_log_encoding == "JSON"
    return AccessLog(FileSink(path, spec.access_log_format, as_json))


def _log(provider: api.ExtensionProvider, found: Collector | None, spec: MeshConfigSpec) -> AccessLog | None:
    file, otel = provider.envoy_file_access_log, provider.envoy_otel_als
    http, tcp = provider.envoy_http_als, provider.envoy_tcp_als
    if file is not None:
        return AccessLog(_file(file, provider.name, spec))
    if found is None:
        return None
    if otel is not None:
        format_ = otel.log_format or api.OtelLogFormat()
        return AccessLog(OtlpSink(found, otel.log_name, format_.text or "", tuple(sorted(format_.labels.items()))))
    if http is not None:
        return AccessLog(
            GrpcSink(
                found,
                name=http.log_name,
                request_headers=_lower(http.additional_request_headers_to_log),
                response_headers=_lower(http.additional_response_headers_to_log),
                response_trailers=_lower(http.additional_response_trailers_to_log),
                filter_state=http.filter_state_objects_to_log,
            )
        )
    if tcp is not None:
        return AccessLog(GrpcSink(found, True, tcp.log_name, filter_state=tcp.filter_state_objects_to_log))
    return None


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _file(file: api.EnvoyFileAccessLog, name: str, spec: MeshConfigSpec) -> FileSink:
    """The one called ``envoy`` has the mesh's format where it has none of its own, as in Istio."""
    path, format_ = file.path or "/dev/stdout", file.log_format
    if format_ is None and name.lower() == "envoy" and not file.omit_empty_values:
        return FileSink(path, spec.access_log_format, spec.access_log_encoding == "JSON")
    if format_ is None or format_.labels is None:
        return FileSink(path, (format_.text if format_ else "") or "", omit_empty=file.omit_empty_values)
    return FileSink(path, _json(format_.labels), json=True, omit_empty=file.omit_empty_values)


def _json(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(labels.items())), ensure_ascii=False) if labels else ""


def _trace(provider: api.ExtensionProvider, found: Collector | None) -> Tracing | None:
    otlp, zipkin = provider.opentelemetry, provider.zipkin
    if found is None:
        return None
    if otlp is not None and otlp.http is not None:
        return Tracing(
            "opentelemetry-http",
            found,
            path=otlp.http.path,
            headers=_headers(otlp.http.headers),
            timeout=otlp.http.timeout,
            max_path_length=otlp.max_tag_length or 256,
        )
    if otlp is not None:
        grpc = otlp.grpc or api.OtlpGrpc()
        return Tracing(
            "opentelemetry-grpc",
            found,
            headers=_headers(grpc.initial_metadata),
            timeout=grpc.timeout,
            max_path_length=otlp.max_tag_length or 256,
        )
    if zipkin is not None:
        return Tracing(
            "zipkin",
            found,
            path=zipkin.path,
            headers=_headers(zipkin.headers),
            timeout=zipkin.timeout,
            max_path_length=zipkin.max_tag_length or 256,
            short_ids=zipkin.enable_64bit_trace_id,
            w3c=zipkin.trace_context_option != "USE_B3",
        )
    return None


def _headers(headers: tuple[api.ProviderHeader, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((each.name.lower(), each.value) for each in headers)


def custom_tags(tags: Mapping[str, telemetry_api.CustomTag]) -> tuple[CustomTag, ...]:
    """Tags of spans, by name."""
    return tuple(_tag(name, tag) for name, tag in sorted(tags.items()))


def _tag(name: str, tag: telemetry_api.CustomTag) -> CustomTag:
    if tag.environment is not None:
        return CustomTag(name, "environment", tag.environment.name, tag.environment.default_value)
    if tag.header is not None:
        return CustomTag(name, "header", tag.header.name.lower(), tag.header.default_value)
    if tag.formatter is not None:
        return CustomTag(name, "formatter", tag.formatter.value)
    return CustomTag(name, "literal", tag.literal.value if tag.literal is not None else "")
