"""MeshConfig: which document's mesh-wide settings are in force, over those the control plane was started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from weft.mesh.policies.localitylbsetting import build_nearness
from weft.mesh.routes.rules import Forward, Retry, Rule, Session
from weft.mesh.routes.sessions import ServiceSessions, with_service_sessions
from weft.mesh.routes.virtualservice_forward import build_retry
from weft.mesh.services.service import NEAR, Nearness
from weft.model.document import Document
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.names import USUAL_RANGES, AddressRanges, Network4, Network6
from weft.model.origin import FieldPath, PathPart
from weft.model.problem import Problem, Severity
from weft.model.snapshot import MeshSettings
from weft.schema.kinds.meshconfig import MESH_CONFIG_NAME, ConfigMapSpec, MeshConfigSpec

_SAYS_NOTHING = MeshConfigSpec()
SettingsDocument = Document[MeshConfigSpec] | Document[ConfigMapSpec]


@dataclass(frozen=True, slots=True)
class TrafficDefaults:
    """What holds where no route and no DestinationRule says otherwise; None where weft's own default does. Seconds.
    `nearness` None: callers prefer no endpoint by where it runs. `exports` say who is told of VirtualServices,
    `sessions` which services keep clients at an instance, by full name."""

    retry: Retry | None = None
    connect_timeout: float | None = None
    gateway_request: float | None = None
    exports: tuple[str, ...] = ()
    nearness: Nearness | None = NEAR
    sessions: Mapping[str, Session] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class MeshWide:
    """The settings in force; `spec` is the document's own word, at `path` of `document`. `ranges` are those of virtual
    addresses. Compared by identity."""

    settings: MeshSettings
    defaults: TrafficDefaults = TrafficDefaults()
    problems: tuple[Problem, ...] = ()
    spec: MeshConfigSpec = _SAYS_NOTHING
    document: SettingsDocument | None = None
    path: FieldPath = ()
    ranges: AddressRanges = USUAL_RANGES


def settings_documents(documents: Iterable[Document[object]]) -> tuple[SettingsDocument, ...]:
    """Those with mesh-wide settings."""
    return tuple(document for document in documents if _has_settings(document))


def _has_settings(document: Document[object]) -> TypeGuard[SettingsDocument]:
    spec = document.spec
    if isinstance(spec, ConfigMapSpec):
        return spec.data.mesh is not None or spec.data.mesh_config is not None
    return isinstance(spec, MeshConfigSpec)


def build_settings(documents: tuple[SettingsDocument, ...], defaults: MeshSettings) -> MeshWide:
    """The settings of the document in force; what it does not say is as in `defaults`.

    It stands in the root namespace of `defaults`: a MeshConfig called ``default``, else the oldest ConfigMap. The trust
    domain is never changed by a document: keys and certificates of the whole mesh hang on it. An empty one in
    `defaults` means that none is running, as where documents are only checked.
    """
    problems: list[Problem] = []
    chosen: SettingsDocument | None = None
    for document in sorted(documents, key=lambda item: (item.key.kind != "MeshConfig", item.precedence)):
        if not _in_place(document, defaults):
            problems.append(_misplaced(document, defaults))
        elif chosen is not None:
            problems.append(_second(document, chosen))
        else:
            chosen = document
    if chosen is None:
        return MeshWide(_running(defaults), problems=tuple(problems))
    spec, path = _spec_of(chosen)
    if spec.trust_domain and defaults.trust_domain not in ("", spec.trust_domain):
        problems.append(_other_trust_domain(chosen, path, spec, defaults))
        spec = replace(spec, trust_domain="")
    outbound = spec.outbound_traffic_policy
    settings = MeshSettings(
        trust_domain=spec.trust_domain or _running(defaults).trust_domain,
        root_namespace=spec.root_namespace or defaults.root_namespace,
        outbound_policy=outbound.mode if outbound else defaults.outbound_policy,
        cookie_key=defaults.cookie_key,
        trust_epoch=defaults.trust_epoch,
    )
    retry = build_retry(spec.default_http_retry_policy)
    times = (spec.connect_timeout, spec.gateway_max_request_duration)
    traffic = TrafficDefaults(
        retry,
        *times,
        exports=spec.default_virtual_service_export_to,
        nearness=build_nearness(spec.locality_lb_setting or spec.zone_aware_lb_setting),
    )
    ranges = AddressRanges(Network4(spec.service_addresses.ipv4), Network6(spec.service_addresses.ipv6))
    return MeshWide(settings, traffic, tuple(problems), spec, chosen, path, ranges)


def settings_of(documents: Iterable[Document[object]], defaults: MeshSettings) -> MeshSettings:
    """The settings that documents of all kinds, one of them perhaps a MeshConfig, put in force."""
    return build_settings(settings_documents(documents), defaults).settings


def with_sessions(defaults: TrafficDefaults, sessions: ServiceSessions) -> TrafficDefaults:
    """The defaults, with the sessions of services."""
    return replace(defaults, sessions={host: Session("cookie", name, life) for host, name, life in sessions})


def with_defaults(rule: Rule, defaults: TrafficDefaults) -> Rule:
    """`rule` with the default retry if it names none of its own, and the sessions of the services that it leads to."""
    rule = with_service_sessions(rule, defaults.sessions)
    action = rule.action
    if defaults.retry is None or not isinstance(action, Forward) or action.retry is not None:
        return rule
    own = replace(defaults.retry, per_try_timeout=action.per_try_timeout or defaults.retry.per_try_timeout)
    return replace(rule, action=replace(action, retry=own))


def _running(defaults: MeshSettings) -> MeshSettings:
    return defaults if defaults.trust_domain else replace(defaults, trust_domain=DEFAULT_TRUST_DOMAIN)


def _spec_of(document: SettingsDocument) -> tuple[MeshConfigSpec, tuple[PathPart, ...]]:
    """The settings and where in the document they stand."""
    spec = document.spec
    if isinstance(spec, MeshConfigSpec):
        return spec, ("spec",)
    if spec.data.mesh is not None:
        return spec.data.mesh, ("data", "mesh")
    return spec.data.mesh_config or MeshConfigSpec(), ("data", "meshConfig")


def _in_place(document: SettingsDocument, defaults: MeshSettings) -> bool:
    named = document.key.kind != "MeshConfig" or document.key.name == MESH_CONFIG_NAME
    return named and document.key.namespace == defaults.root_namespace


def _misplaced(document: SettingsDocument, defaults: MeshSettings) -> Problem:
    name = MESH_CONFIG_NAME if document.key.kind == "MeshConfig" else document.key.name
    return Problem(
        Severity.ERROR,
        "mesh-config-misplaced",
        f"mesh-wide settings do not stand in {document.key}, so it is not in force",
        document.at("metadata"),
        document.key,
        ("metadata",),
        f"{document.key.kind} {defaults.root_namespace}/{name}",
    )


def _second(document: SettingsDocument, owner: SettingsDocument) -> Problem:
    return Problem(
        Severity.ERROR,
        "mesh-config-conflict",
        f"{owner.key} ({owner.origin}) sets the mesh-wide settings, so this one is not in force",
        document.origin,
        document.key,
        expected="one document with mesh-wide settings",
    )


def _other_trust_domain(
    document: SettingsDocument, path: tuple[PathPart, ...], spec: MeshConfigSpec, defaults: MeshSettings
) -> Problem:
    return Problem(
        Severity.ERROR,
        "trust-domain-mismatch",
        f"the mesh runs with the trust domain '{defaults.trust_domain}', on which all its keys and certificates hang, "
        f"and goes on with it; a mesh of '{spec.trust_domain}' is a new one: `weft serve --trust-domain "
        f"{spec.trust_domain}` with a --home of its own",
        document.at(*path, "trustDomain"),
        document.key,
        (*path, "trustDomain"),
        defaults.trust_domain,
    )
