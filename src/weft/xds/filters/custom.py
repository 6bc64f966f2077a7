"""CUSTOM policies: the calls that their rules match are asked about, each of at most two providers in turn.

For each provider two steps: the rules, which only note whether they match (RBAC's shadow rules), and the question,
which is left out where they noted that they do not. What was not noted is asked about.
"""

from __future__ import annotations

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from google.protobuf.message import Message

from weft.mesh.access.access import Access
from weft.mesh.access.policy import Action
from weft.xds.access.rules import encode_rules
from weft.xds.filters import composite
from weft.xds.filters.ext_authz import NAME as EXT_AUTHZ
from weft.xds.filters.ext_authz import ext_authz

FIRST, SECOND = "weft.access.custom", "weft.access.custom.second"
"""One filter for each, since Envoy leaves out what stands behind one that waits in the same composite filter."""
_RBAC = "envoy.filters.http.rbac"
_NOT_MATCHED = "allowed"
"""What rules that would deny note of a call that they do not match."""


def first_config(access: Access) -> Message | None:
    """What the first provider is asked; None if there is none."""
    return _config(access, 0)


def second_config(access: Access) -> Message | None:
    """What the second provider is asked; None if there is none."""
    return _config(access, 1)


def _config(access: Access, index: int) -> Message | None:
    if index >= len(access.authorizers):
        return None
    authorizer = access.authorizers[index]
    own = [policy for policy in access.enforced(Action.CUSTOM) if policy.provider == authorizer.name]
    prefix = f"custom_{index}_"
    note = RBAC(shadow_rules=encode_rules(access, own, Action.CUSTOM), shadow_rules_stat_prefix=prefix)
    question = ext_authz(authorizer, (_RBAC, f"{prefix}shadow_engine_result", _NOT_MATCHED))
    return composite.route_config([(_RBAC, note), (EXT_AUTHZ, question)])
