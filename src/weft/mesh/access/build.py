"""All access policies of the mesh: documents of every kind that says who may call, attached to what they are for."""

from __future__ import annotations

from types import MappingProxyType

from weft.mesh.access.attachment import AccessPolicies, attach_all
from weft.mesh.access.defaults import NamespaceDocument, build_defaults
from weft.mesh.access.problems import access_problems
from weft.mesh.access.unchecked import unchecked_policies
from weft.mesh.access.warnings import policy_warnings
from weft.mesh.gateways.declared import Declared
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizationpolicy import access_documents, attach_document
from weft.mesh.policies.meshconfig import MeshWide
from weft.mesh.policies.requestauthentication import attach_tokens, keys_of, services_of, token_documents
from weft.mesh.policies.traffictarget import attach_target, route_documents, target_documents
from weft.mesh.services.catalog import Catalog
from weft.model.document import Document
from weft.model.jwks import KeySet
from weft.model.unreadable import Unreadable
from weft.schema.kinds.authorizationpolicy import AuthorizationPolicySpec
from weft.schema.kinds.requestauthentication import RequestAuthenticationSpec
from weft.schema.kinds.smi import HttpRouteGroupSpec, SmiTcpRouteSpec, TrafficTargetSpec

ACCESS_KINDS: tuple[type[object], ...] = (
    AuthorizationPolicySpec,
    RequestAuthenticationSpec,
    TrafficTargetSpec,
    HttpRouteGroupSpec,
    SmiTcpRouteSpec,
    Unreadable,
)
"""The specs of documents that access policies are made of."""


def build_access_policies(
    documents: tuple[Document[object], ...],
    memo: Memo,
    wide: MeshWide,
    namespaces: tuple[NamespaceDocument, ...],
    catalog: Catalog,
    declared: Declared,
    keys: tuple[KeySet, ...] = (),
    providers: tuple[str, ...] = (),
) -> AccessPolicies:
    """The policies of all namespaces. `keys` are those that issuers' tokens are checked with, `providers` the names of
    those that can be asked."""
    settings = wide.settings
    root, known = settings.root_namespace, {each.uri: each.text for each in keys}
    given, routes = access_documents(documents), memo.same(route_documents(documents))
    tokens = token_documents(documents)
    found = [memo(attach_document, each, root, settings.trust_domain, providers) for each in given]
    found += [memo(attach_target, each, routes) for each in target_documents(documents)]
    for each in tokens:
        keyed = keys_of(memo, each, known)
        found.append(memo(attach_tokens, each, root, keyed, services_of(each, catalog), settings.trust_domain))
    attachments = [each for one in found for each in one.attachments]
    defaults, wrong = build_defaults(memo, wide, namespaces, documents)
    spaces, elsewhere = attach_all(memo, attachments, defaults)
    classes = {name: each.gateway_class for name, each in declared.gateways.items()}
    problems = [*wrong, *(problem for each in found for problem in each.problems)]
    problems += access_problems(memo, (*given, *tokens), attachments, catalog, declared)
    problems += unchecked_policies(given, attachments)
    problems += policy_warnings(memo, given, attachments, settings.trust_domain)
    return AccessPolicies(spaces, elsewhere, MappingProxyType(classes), settings.trust_domain, tuple(problems))
