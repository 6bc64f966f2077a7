"""What several Telemetry documents come to for one side of a proxy: those of wider scopes first, as Istio merges them.

https://istio.io/latest/docs/reference/config/telemetry/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from weft.mesh.policies.providers import MESH_FILE, MESH_ZIPKIN, Providers, custom_tags
from weft.mesh.signals import AccessLog, CustomTag, Metrics, Tracing
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.telemetry import MetricOverride, MetricTag
from weft.schema.kinds import telemetry as api
from weft.schema.kinds.telemetry import TelemetrySpec
from weft.schema.rules.telemetry import tag_value

Side = Literal["CLIENT", "SERVER"]
TelemetryDocument = Document[TelemetrySpec]
Levels = tuple[TelemetryDocument, ...]
"""The documents for a workload, those of wider scopes first."""

METRICS = (
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
)


@dataclass(frozen=True, slots=True)
class Said:
    """Where a document says something: None and () where none does, and the mesh's settings or weft's defaults hold."""

    document: TelemetryDocument | None = None
    path: FieldPath = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A signal, by the provider's name and what said so last."""

    provider: str
    said: Said


@dataclass(frozen=True, slots=True)
class LogChoice(Chosen):
    """An access log with its filter."""

    filter: str = ""


@dataclass(frozen=True, slots=True)
class Logs:
    """The access logs of a side. `silenced`: a document turned off all that there were."""

    chosen: tuple[LogChoice, ...] = ()
    silenced: Said | None = None


def _covers(match: api.ModeSelector, side: Side) -> bool:
    return match.mode in ("CLIENT_AND_SERVER", side)


def _names(providers: tuple[api.ProviderRef, ...]) -> tuple[str, ...]:
    return tuple(provider.name.lower() for provider in providers)


def _entries(levels: Levels) -> Iterator[tuple[Said, api.AccessLogging]]:
    for level in levels:
        for index, entry in enumerate(level.spec.access_logging):
            yield Said(level, ("spec", "accessLogging", index)), entry


def merge_logs(levels: Levels, providers: Providers, side: Side) -> Logs:
    """The narrowest scope that names providers says which there are; among these, each entry turns its own on or off,
    later ones over earlier ones. One that names none means those named last, or the default ones."""
    defaults = providers.default_logs
    wanted = set(defaults)
    for level in levels:
        named = {
            name
            for entry in level.spec.access_logging
            if _covers(entry.match, side)
            for name in _names(entry.providers)
        }
        wanted = named or wanted
    if not any(level.spec.access_logging for level in levels):
        return Logs(tuple(LogChoice(name, Said()) for name in defaults))
    found: dict[str, LogChoice] = {}
    silenced: Said | None = None
    parents = defaults
    for said, entry in _entries(levels):
        parents = _names(entry.providers) or parents
        if not _covers(entry.match, side):
            continue
        for name in parents:
            if name not in wanted:
                continue
            if entry.disabled:
                found.pop(name, None)
                silenced = said
            else:
                before = found[name].filter if name in found and not entry.providers else ""
                filter_ = before if entry.filter is None else entry.filter.expression
                found[name] = LogChoice(name, said, filter_)
    return Logs(tuple(found.values()), silenced if not found else None)


@dataclass(slots=True)
class _TraceChoice:
    provider: str = ""
    disabled: bool = False
    sampling: float | None = None
    tags: tuple[CustomTag, ...] | None = None
    by_request_id: bool = False
    istio_tags: bool = True
    said: Said = field(default_factory=Said)


@dataclass(frozen=True, slots=True)
class Traces:
    """The traces of a side: what is sent, if anything is (`tracing`), and whether spans have Istio's own tags."""

    tracing: Tracing | None
    istio_tags: bool
    provider: str
    said: Said
    disabled: bool


def merge_traces(levels: Levels, providers: Providers, side: Side, by_route: bool = False) -> Traces:
    """Field by field the narrowest scope that says something; `by_route` as in Tracing."""
    choice = _TraceChoice(provider=_default_tracing(levels, providers))
    for level in levels:
        for index, entry in enumerate(level.spec.tracing):
            if _covers(entry.match, side):
                _take(choice, entry, Said(level, ("spec", "tracing", index)))
    found = providers.traces.get(choice.provider)
    if found is None or choice.disabled:
        return Traces(None, choice.istio_tags, choice.provider, choice.said, choice.disabled)
    older = providers.spec.default_config.tracing
    sampling, tags, longest = choice.sampling, choice.tags, found.max_path_length
    if older is not None:
        sampling = older.sampling if sampling is None else sampling
        tags = custom_tags(older.custom_tags) if tags is None else tags
        longest = older.max_path_tag_length or longest
    tracing = replace(
        found,
        sampling=found.sampling if sampling is None else sampling,
        tags=tags or (),
        by_request_id=choice.by_request_id,
        by_route=by_route,
        max_path_length=longest,
    )
    return Traces(tracing, choice.istio_tags, choice.provider, choice.said, False)


def _default_tracing(levels: Levels, providers: Providers) -> str:
    """The default provider; the older settings hold where no Telemetry says anything of traces."""
    named = providers.spec.default_providers.tracing
    if named:
        return named[0].lower()
    asked = any(level.spec.tracing for level in levels)
    return MESH_ZIPKIN if providers.spec.enable_tracing and not asked else ""


def _take(choice: _TraceChoice, entry: api.Tracing, said: Said) -> None:
    choice.said = said
    if entry.providers:
        choice.provider = _names(entry.providers)[0]
    if entry.disable_span_reporting is not None:
        choice.disabled = entry.disable_span_reporting
    if entry.random_sampling_percentage is not None:
        choice.sampling = entry.random_sampling_percentage
    if entry.custom_tags is not None:
        choice.tags = custom_tags(entry.custom_tags)
    if entry.use_request_id_for_trace_sampling is not None:
        choice.by_request_id = entry.use_request_id_for_trace_sampling
    if entry.enable_istio_tags is not None:
        choice.istio_tags = entry.enable_istio_tags


@dataclass(slots=True)
class _MetricChange:
    disabled: bool = False
    tags: dict[str, api.TagOverride] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricsOf:
    """The metrics of a side, None if there are none, and what said so last."""

    metrics: Metrics | None
    said: Said


def merge_metrics(levels: Levels, providers: Providers, side: Side) -> MetricsOf:
    """Overrides are made in order, those of wider scopes first; where all metrics are disabled nothing is counted at
    all, until a later override says something of any of them: then the others count as well, as in Istio."""
    wanted = _metric_providers(levels, providers)
    if not wanted & providers.metrics:
        return MetricsOf(None, _last_metrics(levels))
    parents = providers.default_metrics
    changes: dict[str, _MetricChange] = {}
    interval: float | None = None
    off, said = False, Said()
    for level in levels:
        for index, entry in enumerate(level.spec.metrics):
            parents = _names(entry.providers) or parents
            if not wanted & providers.metrics & set(parents):
                continue
            interval = interval if entry.reporting_interval is None else entry.reporting_interval
            for place, override in enumerate(entry.overrides):
                if override.match.mode not in ("CLIENT_AND_SERVER", side):
                    continue
                said = Said(level, ("spec", "metrics", index, "overrides", place))
                off = override.match.metric in (None, "ALL_METRICS") and override.disabled is True
                if not off:
                    _change(changes, override)
    if off or (len(changes) == len(METRICS) and all(change.disabled for change in changes.values())):
        return MetricsOf(None, said)
    return MetricsOf(Metrics(tuple(_overrides(changes)), interval), said)


def _metric_providers(levels: Levels, providers: Providers) -> set[str]:
    wanted = set(providers.default_metrics)
    for level in levels:
        for entry in level.spec.metrics:
            wanted = set(_names(entry.providers)) or wanted
    return wanted


def _last_metrics(levels: Levels) -> Said:
    places = [Said(level, ("spec", "metrics")) for level in levels if level.spec.metrics]
    return places[-1] if places else Said()


def _change(changes: dict[str, _MetricChange], override: api.MetricsOverrides) -> None:
    metric = override.match.metric
    for name in METRICS if metric in (None, "ALL_METRICS") else (metric,):
        change = changes.setdefault(name, _MetricChange())
        if override.disabled is not None:
            change.disabled = override.disabled
        change.tags.update(override.tag_overrides)


def _overrides(changes: Mapping[str, _MetricChange]) -> Iterable[MetricOverride]:
    for name, change in sorted(changes.items()):
        removed = tuple(sorted(tag for tag, each in change.tags.items() if each.operation == "REMOVE"))
        tags = tuple(
            MetricTag(tag, *value)
            for tag, each in sorted(change.tags.items())
            if each.operation == "UPSERT" and (value := tag_value(each.value)) is not None
        )
        if change.disabled or removed or tags:
            yield MetricOverride(name, change.disabled, removed, tags)


def named_providers(document: TelemetryDocument) -> Iterator[tuple[FieldPath, str, str]]:
    """Every provider that a document names: where, the signal, and the name."""
    spec = document.spec
    sections: tuple[tuple[str, Iterable[tuple[api.ProviderRef, ...]]], ...] = (
        ("accessLogging", [entry.providers for entry in spec.access_logging]),
        ("tracing", [entry.providers for entry in spec.tracing]),
        ("metrics", [entry.providers for entry in spec.metrics]),
    )
    for signal, entries in sections:
        for index, providers in enumerate(entries):
            for place, provider in enumerate(providers):
                yield ("spec", signal, index, "providers", place, "name"), signal, provider.name


def log_of(choice: LogChoice, providers: Providers, sampling: float) -> AccessLog | None:
    """An access log as a proxy writes it; None if its provider is not there, of which its document is told."""
    found = providers.logs.get(choice.provider)
    return None if found is None else replace(found, filter=choice.filter, sampling=sampling)


def shown_provider(name: str) -> str:
    """A provider's name for people."""
    return "MeshConfig" if name in (MESH_FILE, MESH_ZIPKIN) else name
