"""What a Gateway or its class says of the process that is made for it in a cluster, and which object says more."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.findings import printable
from weft.schema.forms import FORMS, FormError, read_subdomain
from weft.schema.kinds.gateway import GatewayClassSpec, GatewaySpec
from weft.schema.kinds.meshconfig import PARAMETERS
from weft.schema.wording import shown

INVALID_PARAMETERS = "invalid-parameters"
OF_GATEWAY: FieldPath = ("spec", "infrastructure", "parametersRef")
OF_CLASS: FieldPath = ("spec", "parametersRef")
"""Where parameters are named."""
KEYS = f"a ConfigMap with {', '.join(PARAMETERS[:-1])} or {PARAMETERS[-1]}"


class ParametersRef(msgspec.Struct, frozen=True):
    """A reference as it was written."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class Infrastructure(msgspec.Struct, rename="camel"):
    """``spec.infrastructure`` of a Gateway."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    parameters_ref: ParametersRef | None = None


class _Spec(msgspec.Struct):
    infrastructure: Infrastructure | None = None


class _Text(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_NOTHING = Infrastructure()
ParametersDocument = Document[GatewaySpec] | Document[GatewayClassSpec]


def infrastructure_of(document: Document[GatewaySpec]) -> Infrastructure:
    """What a Gateway asks for its process; where it cannot be read it asks for nothing (the API server takes none that
    cannot)."""
    if '"infrastructure"' not in document.text:
        return _NOTHING
    try:
        return msgspec.json.decode(document.text, type=_Text).spec.infrastructure or _NOTHING
    except msgspec.MsgspecError:
        return _NOTHING


def parameters_of(document: ParametersDocument) -> tuple[ObjectKey | None, Problem | None]:
    """The ConfigMap that a Gateway or GatewayClass refers to for parameters, or what is wrong with its reference.
    Neither, where it refers to nothing."""
    found = _reference(document)
    if found is None:
        return None, None
    reference, path = found
    if (reference.group, reference.kind) != ("", "ConfigMap"):
        kind = printable(f"{reference.kind}.{reference.group}".rstrip(".")[:120])
        message = f"parameters are not read from {kind}"
        return None, problem_at(document, path, INVALID_PARAMETERS, message, "kind ConfigMap of group ''")
    try:
        read_subdomain(reference.name)  # it is asked for by it
    except FormError:
        message = f"{shown(reference.name)} is no name of a ConfigMap"
        expected = FORMS["dns-subdomain"].expected
        return None, problem_at(document, (*path, "name"), INVALID_PARAMETERS, message, expected)
    of_class = isinstance(document.spec, GatewayClassSpec)
    if of_class and not reference.namespace:
        message = f"ConfigMap {shown(reference.name)} is in a namespace, which is not said"
        return None, problem_at(document, (*path, "namespace"), INVALID_PARAMETERS, message, "a namespace")
    namespace = reference.namespace if of_class else document.key.namespace
    return ObjectKey("", "ConfigMap", namespace, reference.name), None


def _reference(document: ParametersDocument) -> tuple[ParametersRef, FieldPath] | None:
    spec: Any = document.spec
    if isinstance(spec, GatewayClassSpec):
        given = spec.parameters_ref
        if given is None:
            return None
        return ParametersRef(given.group, given.kind, given.name, given.namespace or ""), OF_CLASS
    asked = infrastructure_of(cast("Document[GatewaySpec]", document)).parameters_ref
    return (asked, OF_GATEWAY) if asked is not None else None
