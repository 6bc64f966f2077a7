"""Rules between fields, by dataclass: what the specifications demand and a type cannot say."""

from __future__ import annotations

from collections.abc import Mapping

from weft.schema.findings import Rule
from weft.schema.kinds.virtualservice import VirtualServiceSpec
from weft.schema.rules import (
    authorizationpolicy,
    backendpolicies,
    connections,
    core,
    destinationrule,
    edge,
    envoyfilter,
    federatedtrustdomain,
    gateway,
    grpcroute,
    httproute,
    istiogateway,
    layer4routes,
    locality,
    meshconfig,
    peerauthentication,
    proxyconfig,
    ratelimitpolicy,
    requestauthentication,
    serviceentry,
    servicepolicy,
    sessionpersistence,
    sidecar,
    smi,
    telemetry,
    virtualservice,
    workloadgroup,
    xtelemetrypolicy,
)
from weft.schema.rules.normal_form import NORMALISERS

RULES: Mapping[type, tuple[Rule, ...]] = {
    **core.RULES,
    **gateway.RULES,
    **backendpolicies.RULES,
    **httproute.RULES,
    **istiogateway.RULES,
    **grpcroute.RULES,
    **layer4routes.RULES,
    **sessionpersistence.RULES,
    **virtualservice.RULES,
    **connections.RULES,
    VirtualServiceSpec: (*virtualservice.RULES[VirtualServiceSpec], connections.server_names),
    **destinationrule.RULES,
    **envoyfilter.RULES,
    **peerauthentication.RULES,
    **requestauthentication.RULES,
    **authorizationpolicy.RULES,
    **serviceentry.RULES,
    **proxyconfig.RULES,
    **sidecar.RULES,
    **smi.RULES,
    **meshconfig.RULES,
    **locality.RULES,
    **servicepolicy.RULES,
    **edge.RULES,
    **telemetry.RULES,
    **xtelemetrypolicy.RULES,
    **federatedtrustdomain.RULES,
    **ratelimitpolicy.RULES,
    **workloadgroup.RULES,
}

__all__ = ["NORMALISERS", "RULES"]
