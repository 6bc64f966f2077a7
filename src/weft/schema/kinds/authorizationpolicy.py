"""Istio security: AuthorizationPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.gateway import GroupName, KindName
from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.scalars import Length, Name, Subdomain

DRY_RUN = "istio.io/dry-run"
"""The annotation that has a policy noted, not enforced."""
PolicyAction = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]
Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTargetReference:
    """A Gateway of the namespace, at whose proxies it holds; or a GatewayClass, in the root namespace; or a Service,
    before whose ports it holds, at the workloads that it selects."""

    kind: KindName
    name: Subdomain
    group: GroupName = ""
    namespace: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who calls. All fields that are there have to fit, each with one of its values, and none with a `not…` value.

    Identities are those of certificates. `ipBlocks` are addresses of connections, `remoteIpBlocks` of clients as
    X-Forwarded-For has them: a gateway writes it, in the mesh a caller may. `serviceAccounts` are NAMESPACE/NAME, or
    names in the document's namespace. `requestPrincipals` are ISSUER/SUBJECT of a valid token.
    """

    principals: Texts = ()
    not_principals: Texts = ()
    request_principals: Texts = ()
    not_request_principals: Texts = ()
    namespaces: Texts = ()
    not_namespaces: Texts = ()
    service_accounts: Annotated[Texts, Length(0, 16)] = ()
    not_service_accounts: Annotated[Texts, Length(0, 16)] = ()
    trust_domains: Texts = ()
    not_trust_domains: Texts = ()
    ip_blocks: Texts = ()
    not_ip_blocks: Texts = ()
    remote_ip_blocks: Texts = ()
    not_remote_ip_blocks: Texts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """One source."""

    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is called. `ports` are those of the application (at a gateway: of the listener). `paths` are without query,
    and may have `{*}` for one segment and `{**}` for anything; `hosts` are in any case, and with any port if they say
    none."""

    hosts: Texts = ()
    not_hosts: Texts = ()
    ports: Texts = ()
    not_ports: Texts = ()
    methods: Texts = ()
    not_methods: Texts = ()
    paths: Texts = ()
    not_paths: Texts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """One operation."""

    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A condition. `key` is one of `request.headers[NAME]`, `source.ip`, `remote.ip`, `source.namespace`,
    `source.principal`, `source.serviceAccount`, `request.auth.principal`, `request.auth.audiences`,
    `request.auth.presenter`, `request.auth.claims[NAME]` (deeper: `[NAME][NAME]`), `destination.ip`,
    `destination.port`, `connection.sni`."""

    key: Annotated[str, Length(1, 512)]
    values: Texts = ()
    not_values: Texts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRuleSpec:
    """One of `from`, one of `to` and all of `when`. What is not there asks for nothing: the rule `{}` is met by every
    call."""

    from_: Annotated[tuple[From, ...], Length(0, 512)] = ()
    to: Annotated[tuple[To, ...], Length(0, 512)] = ()
    when: Annotated[tuple[When, ...], Length(0, 512)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyProvider:
    """One of the MeshConfig's `extensionProviders`, which is asked."""

    name: Annotated[str, Length(1, 253)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPolicySpec:
    """https://istio.io/latest/docs/reference/config/security/authorization-policy/

    Who may call whom. Of the policies for a workload those are asked first that are CUSTOM, then those that DENY; then,
    if there is any that ALLOWs, one of its rules has to be met. Without `selector` and `targetRefs` it is for the
    namespace, in the root namespace for the whole mesh; a `selector` there is for workloads of all namespaces. An ALLOW
    without rules allows nothing. See [authorization](../authorization.md).

    Values are compared exactly; `abc*` is a beginning, `*abc` an end, `*` anything that is not empty. In principals and
    trust domains `cluster.local` means the mesh's own trust domain, whatever its name.

    The annotation `istio.io/dry-run: "true"` has it counted and noted what the policy would do, and nothing done.
    """

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Length(0, 16)] = ()
    action: PolicyAction = "ALLOW"
    provider: PolicyProvider | None = None
    rules: Annotated[tuple[AccessRuleSpec, ...], Length(0, 512)] = ()
