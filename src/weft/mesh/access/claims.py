"""Routes by claims: where a route looks at what tokens say, and nobody checks tokens."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.access.attachment import AccessPolicies
from weft.mesh.access.tokens import TokenPolicy
from weft.mesh.problems import problem_at
from weft.mesh.routes.kind import MESH
from weft.mesh.routes.virtualservice_matches import claimed_sides, gateway_key
from weft.model.document import Document
from weft.model.problem import Problem
from weft.schema.claims import is_claim
from weft.schema.kinds.virtualservice import VirtualServiceSpec

VirtualServiceDocument = Document[VirtualServiceSpec]


def claim_problems(documents: tuple[VirtualServiceDocument, ...], access: AccessPolicies) -> tuple[Problem, ...]:
    """A Problem for each match on a claim at a place where no token is ever checked."""
    return tuple(problem for document in documents for problem in _of_document(document, access))


def _of_document(document: VirtualServiceDocument, access: AccessPolicies) -> Iterator[Problem]:
    namespace = document.key.namespace
    sides = claimed_sides(document.spec, namespace)
    for index, http in enumerate(document.spec.http):
        for place, match in enumerate(http.match):
            asked = [gateway_key(name, namespace) for name in match.gateways] or list(sides)
            unchecked = [side for side in sides if side in asked and not _is_checked(side, access)]
            for field, names in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
                for name in names if unchecked else ():
                    if is_claim(name):
                        where = "inside the mesh" if unchecked[0] == MESH else f"at Gateway {unchecked[0]}"
                        message = f"claims of tokens are not known {where}, so this asks for what is never there"
                        expected = (
                            "'gateways' without mesh"
                            if unchecked[0] == MESH
                            else "a RequestAuthentication with targetRefs to the Gateway"
                        )
                        path = ("spec", "http", index, "match", place, field, name)
                        yield problem_at(document, path, "claims-unknown", message, expected)


def _is_checked(side: str, access: AccessPolicies) -> bool:
    """Whether a RequestAuthentication can be in force there; which workloads serve a Gateway is not known here."""
    if side == MESH:
        return False
    namespace = side.partition("/")[0]
    targets = (f"Gateway {side}", f"GatewayClass {access.classes.get(side, '')}")
    return any(
        isinstance(each.policy, TokenPolicy)
        and (each.scope.target in targets if each.scope.target else each.scope.namespace in ("", namespace))
        for each in access.of(namespace).attachments
    )
