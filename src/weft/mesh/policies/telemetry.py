"""Telemetry: which signals each side of each proxy gives, by the documents for it and the mesh's settings.

Order of Istio: the mesh's document (in the root namespace), the namespace's, that of the workload. Narrower goes over
wider, section by section.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.providers import Providers
from weft.mesh.policies.scope import Breadth, Policy, Scope, scope_in, settle
from weft.mesh.policies.telemetry_merge import (
    Levels,
    Said,
    Side,
    TelemetryDocument,
    log_of,
    merge_logs,
    merge_metrics,
    merge_traces,
    named_providers,
    shown_provider,
)
from weft.mesh.policies.xtelemetrypolicy import NO_POLICIES, GatewayTracing, GatewayTracings, with_gateway_tracing
from weft.mesh.problems import one_of, problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.workloads import gateway_of
from weft.mesh.signals import SILENT, AccessLog, CustomTag, FileSink, OtlpSink, Reporter, Signals, Tracing
from weft.model.canonical import canonical_revision, canonical_service
from weft.model.document import Document, ObjectKey
from weft.model.labels import labels_from_mapping
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.model.telemetry import MetricPush, MetricSettings
from weft.model.workload import Workload
from weft.schema.annotations import ACCESS_LOG_SAMPLING
from weft.schema.kinds.meshconfig import MeshConfigSpec
from weft.schema.kinds.telemetry import TargetReference, TelemetrySpec
from weft.schema.wording import nearest_name

TelemetryPolicy = Policy[TelemetrySpec]
_CALLS: Mapping[Side, str] = {"CLIENT": "calls it makes", "SERVER": "calls to it"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Why a proxy gives a signal, or does not: `what` in a few words, and the document that said so, with its line."""

    side: str
    signal: str
    what: str
    object: ObjectKey | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SideSignals:
    """The signals of one side, and why."""

    signals: Signals
    asked: tuple[Asked, ...]
    istio_tags: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class WorkloadSignals:
    """The signals of both sides of a proxy, and why. Compared by identity."""

    outgoing: SideSignals
    incoming: SideSignals

    @property
    def identified(self) -> bool:
        """Whether any side gives signals that say whose they are."""
        return self.outgoing.signals.identified or self.incoming.signals.identified


RouteWords = tuple[bool, bool, bool]
"""Whether any route turns access logs on, or off, or has a share of traces of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Telemetries:
    """All Telemetry documents in force. `classes` are those of Gateways, by ``namespace/name``; `services` says whether
    any document is for Services; `routes_on` and `routes_off` whether any route of the mesh turns access logs on, or
    off, for its requests, `routes_traced` whether one has a share of traces of its own; `gateways` the traces that
    XTelemetryPolicies give Gateways. Compared by identity."""

    policies: tuple[TelemetryPolicy, ...]
    providers: Providers
    classes: Mapping[str, str]
    services: bool = False
    routes_on: bool = False
    routes_off: bool = False
    routes_traced: bool = False
    gateways: GatewayTracings = NO_POLICIES
    problems: tuple[Problem, ...] = ()

    def levels(self, workload: Workload, catalog: Catalog) -> Levels:
        """The documents for a workload, those of wider scopes first: of each breadth the oldest."""
        if not self.policies:
            return ()
        targets = self._targets(workload, catalog)
        found: dict[int, TelemetryDocument] = {}
        for policy in self.policies:
            rank = _rank(policy.scope)
            target = policy.scope.target
            covered = target in targets if target else policy.scope.covers(workload.namespace, workload.labels)
            if covered:
                found.setdefault(rank, policy.document)
        return tuple(found[rank] for rank in sorted(found))

    def _targets(self, workload: Workload, catalog: Catalog) -> frozenset[str]:
        gateway = gateway_of(workload)
        if gateway:
            return frozenset((f"Gateway {gateway}", f"GatewayClass {self.classes.get(gateway, '')}"))
        if not self.services:
            return frozenset()
        services = catalog.selecting(workload.namespace, workload.labels)
        return frozenset(f"Service {service.namespace}/{service.name}" for service in services)


def build_telemetries(
    documents: tuple[TelemetryDocument, ...],
    providers: Providers,
    provider_problems: tuple[Problem, ...],
    classes: tuple[tuple[str, str], ...],
    words: tuple[str, ...],
    gateways: GatewayTracings,
    root_namespace: str,
) -> Telemetries:
    """The documents in force, and what is wrong with them and with providers. `words` are those that routes say of
    access logs."""
    given = [policy for document in documents for policy in policies_of(document, root_namespace)]
    expected = "one Telemetry for each set of workloads"
    policies, conflicts = settle(given, ("spec", "selector"), "policy-conflict", expected)
    problems = [problem for each in documents for problem in _problems(each, providers, root_namespace)]
    problems += _without_provider(documents, providers)
    return Telemetries(
        policies,
        providers,
        MappingProxyType(dict(classes)),
        any(policy.scope.target.startswith("Service ") for policy in policies),
        "on" in words,
        "off" in words,
        "traced" in words,
        gateways,
        (*provider_problems, *conflicts, *problems, *gateways.problems),
    )


def policies_of(document: TelemetryDocument, root_namespace: str) -> Iterator[TelemetryPolicy]:
    """What a document is for: one scope, or one for each of its targets."""
    spec, namespace = document.spec, document.key.namespace
    targets = _targets(spec)
    for _, target in targets:
        if not _misplaced(target, namespace, root_namespace):
            yield Policy(Scope(namespace, target=_target(target, namespace)), document)
    if not targets:
        labels = labels_from_mapping(spec.selector.match_labels) if spec.selector else ()
        yield Policy(scope_in(namespace, root_namespace, labels), document)


def _targets(spec: TelemetrySpec) -> tuple[tuple[FieldPath, TargetReference], ...]:
    """What a document names, and where."""
    if spec.target_ref is not None:
        return ((("spec", "targetRef"), spec.target_ref),)
    return tuple((("spec", "targetRefs", index), target) for index, target in enumerate(spec.target_refs))


def _misplaced(target: TargetReference, namespace: str, root_namespace: str) -> bool:
    """A class of gateways is the whole mesh's."""
    return target.kind == "GatewayClass" and namespace != root_namespace


def _target(target: TargetReference, namespace: str) -> str:
    return (
        f"{target.kind} {target.name}" if target.kind == "GatewayClass" else f"{target.kind} {namespace}/{target.name}"
    )


def _rank(scope: Scope) -> int:
    """The widest first: the mesh, a class of gateways, a namespace, what is named."""
    if scope.target.startswith("GatewayClass "):
        return 1
    return {Breadth.MESH: 0, Breadth.NAMESPACE: 2}.get(scope.breadth, 3)


def _problems(document: TelemetryDocument, providers: Providers, root_namespace: str) -> Iterator[Problem]:
    """Providers that are not there, or for another signal; a class outside the root namespace."""
    for path, signal, name in named_providers(document):
        of = providers.signals.get(name.lower())
        if of != signal:
            fitting = sorted(each for each, found in providers.signals.items() if found == signal)
            what = f"is for {of}" if of else "is not among the extensionProviders of the MeshConfig"
            message = f"the provider '{name}' {what}, so it does nothing"
            yield problem_at(
                document,
                path,
                "unknown-provider",
                message,
                one_of(fitting, "a provider of extensionProviders"),
                nearest=nearest_name(name, fitting),
            )
    for path, target in _targets(document.spec):
        if _misplaced(target, document.key.namespace, root_namespace):
            message = "a GatewayClass is the whole mesh's, so this is not in force"
            yield problem_at(document, (*path, "kind"), "misplaced-policy", message, f"namespace {root_namespace}")


def _sampling(document: Document[object]) -> float | None:
    """The percentage of the annotation, if there is one."""
    text = dict(document.annotations).get(ACCESS_LOG_SAMPLING)
    return None if text is None else float(text)


def _without_provider(documents: tuple[TelemetryDocument, ...], providers: Providers) -> Iterator[Problem]:
    """Sections about no provider at all: none is named in any document, and there is no default one."""
    named = {signal for each in documents for _, signal, _ in named_providers(each)}
    given = {"accessLogging": providers.default_logs, "tracing": providers.spec.default_providers.tracing}
    for document in documents:
        spec = document.spec
        logs = any(not entry.disabled for entry in spec.access_logging)
        traces = any(not entry.disable_span_reporting for entry in spec.tracing)
        for signal, asked in (("accessLogging", logs), ("tracing", traces)):
            if asked and signal not in named and not given[signal]:
                message = "no document names a provider, and there is no default one, so this does nothing"
                expected = "providers here, or in defaultProviders of the MeshConfig"
                yield problem_at(
                    document, ("spec", signal), "no-provider", message, expected, severity=Severity.WARNING
                )


def signals_of(memo: Memo, telemetries: Telemetries, workload: Workload, catalog: Catalog) -> WorkloadSignals:
    """The signals of a workload's proxy. Workloads for which the same documents are share them, but for the name."""
    levels = telemetries.levels(workload, catalog)
    routes = (telemetries.routes_on, telemetries.routes_off, telemetries.routes_traced)
    found = memo(build_workload_signals, memo, telemetries.providers, routes, levels)
    policy = telemetries.gateways.by_gateway.get(gateway_of(workload)) if workload.gateway is not None else None
    if policy is None and not found.identified:
        return found
    outgoing = found.outgoing if policy is None else memo(_at_gateway, found.outgoing, policy)
    service = (policy.service if policy is not None else "") or canonical_service(workload)
    who = (service, canonical_revision(workload), workload.name, workload.namespace)
    return memo(WorkloadSignals, memo(_reported, outgoing, who), memo(_reported, found.incoming, who))


def metric_settings(telemetries: Telemetries, workload: Workload, catalog: Catalog) -> MetricSettings:
    """What the agent of a workload is told about the metrics it serves."""
    found = signals_of(Memo(), telemetries, workload, catalog)
    source, destination = found.outgoing.signals.metrics, found.incoming.signals.metrics
    return MetricSettings(
        source.overrides if source is not None else (),
        destination.overrides if destination is not None else (),
        telemetries.providers.spec.enable_prometheus_merge,
        _push(telemetries.providers.spec),
    )


def _push(spec: MeshConfigSpec) -> MetricPush | None:
    found = spec.otlp_metrics
    return None if found is None else MetricPush(found.endpoint, found.interval)


def _at_gateway(side: SideSignals, policy: GatewayTracing) -> SideSignals:
    """The side of a gateway whose traces a policy of the Gateway API gives or takes."""
    document = policy.document
    others = tuple(each for each in side.asked if each.signal != "traces")
    asked = Asked(_CALLS["CLIENT"], "traces", policy.words, document.key, document.at("spec", "tracing"))
    return SideSignals(with_gateway_tracing(side.signals, policy), (*others, asked), side.istio_tags)


def build_workload_signals(memo: Memo, providers: Providers, routes: RouteWords, levels: Levels) -> WorkloadSignals:
    """Both sides. Gateways have the one of callers only, where routes are."""
    outgoing = memo(_side, providers, routes, levels, "CLIENT")
    return WorkloadSignals(outgoing, memo(_side, providers, (False, False, False), levels, "SERVER"))


def _side(providers: Providers, routes: RouteWords, levels: Levels, side: Side) -> SideSignals:
    routes_on, routes_off, traced = routes
    logs, traces = merge_logs(levels, providers, side), merge_traces(levels, providers, side, traced)
    metrics = merge_metrics(levels, providers, side)
    sampling, thinned = _log_sampling(levels, providers)
    found: list[AccessLog] = []
    asked = [_metrics_asked(side, metrics.metrics is not None, metrics.said)]
    for choice in logs.chosen:
        log = log_of(choice, providers, sampling)
        if log is not None:
            found.append(replace(log, off_by_route=routes_off, on_by_route=routes_on))
            asked.append(_asked(side, "access log", _log_words(choice.provider, found[-1]), choice.said))
    if thinned.document is not None and found:
        asked.append(_asked(side, "access log", f"its share: {sampling:g} %", thinned))
    if not found and logs.silenced is not None:
        asked.append(_asked(side, "access log", "off", logs.silenced))
    elif not found and routes_on:
        found += [replace(log, by_default=False, on_by_route=True) for log in _route_logs(providers)]
        asked.append(_asked(side, "access log", "for routes that ask for it", Said()))
    if traces.tracing is not None or traces.disabled:
        words = f"{traces.tracing.sampling:g} % to {shown_provider(traces.provider)}" if traces.tracing else "off"
        asked.append(_asked(side, "traces", words, traces.said))
    signals = Signals(metrics=metrics.metrics, tracing=traces.tracing, logs=tuple(found))
    return SideSignals(signals if signals != SILENT else SILENT, tuple(asked), traces.istio_tags)


def _route_logs(providers: Providers) -> Iterable[AccessLog]:
    names = providers.default_logs or ("envoy",)
    return [providers.logs[name] for name in names if name in providers.logs]


def _log_sampling(levels: Levels, providers: Providers) -> tuple[float, Said]:
    for level in reversed(levels):
        found = _sampling(level)
        if found is not None:
            return found, Said(level, ("metadata", "annotations", ACCESS_LOG_SAMPLING))
    given = providers.spec.access_log_sampling
    return 100.0 if given is None else given, Said()


def _log_words(provider: str, log: AccessLog) -> str:
    where = log.sink.path if isinstance(log.sink, FileSink) else shown_provider(provider)
    where += f", where {log.filter}" if log.filter else ""
    return where if log.sampling >= 100 else f"{where}: {log.sampling:g} % of what went well"


def _metrics_asked(side: Side, on: bool, said: Said) -> Asked:
    return _asked(side, "metrics", "on" if on else "off", said)


def _asked(side: Side, signal: str, what: str, said: Said) -> Asked:
    words = _CALLS[side]
    document = said.document
    if document is None:
        return Asked(words, signal, what)
    return Asked(words, signal, what, document.key, document.at(*said.path))


def _reported(side: SideSignals, who: tuple[str, str, str, str]) -> SideSignals:
    """A side whose spans and records say whose they are."""
    signals, reporter = side.signals, Reporter(*who)
    tracing = signals.tracing
    if tracing is None and not any(isinstance(log.sink, OtlpSink) for log in signals.logs):
        return side
    if tracing is not None and side.istio_tags:
        tracing = _with_istio_tags(tracing, reporter)
    return replace(side, signals=replace(signals, tracing=tracing, reporter=reporter))


def _with_istio_tags(tracing: Tracing, reporter: Reporter) -> Tracing:
    """The tags of Istio that say whose span it is, but for those that the document has under these names."""
    given = {tag.name for tag in tracing.tags}
    own = (
        ("istio.canonical_service", reporter.service),
        ("istio.canonical_revision", reporter.revision),
        ("istio.namespace", reporter.namespace),
    )
    more = tuple(CustomTag(name, "literal", value) for name, value in own if name not in given)
    return replace(tracing, tags=(*tracing.tags, *more))
