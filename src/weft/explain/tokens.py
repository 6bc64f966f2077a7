"""Refused tokens: why the token of a request was not accepted, and by which documents. The token is not shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weft.explain.answer import Cause
from weft.explain.callers import places_of
from weft.explain.facts import Facts
from weft.explain.journal import Noted
from weft.mesh.access.tokens import TokenPolicy, TokenRule
from weft.mesh.memo import Memo
from weft.model.printable import printable

CODE = "token-refused"
_REASON = re.compile(r"jwt_authn_access_denied\{([^}]*)\}")
_WORDS = {
    "Jwt is missing": "its scheme is written in another way than a rule asks for ('Bearer ', in this case of letters)",
    "Jwks remote fetch is failed": "the keys of its issuer are not there",
    "Jwt issuer is not configured": "nobody's tokens are accepted but those of the issuers below",
    "Jwks doesn't have key to match kid or alg from Jwt": "its issuer has no such key, or none that signs so",
    "Audiences in Jwt are not allowed": "it is for another audience",
}
_MOST = 3


def token_cause(facts: Facts, noted: Noted) -> Cause | None:
    """Why the token of a request that a proxy noted was refused; None if it was not."""
    found = _REASON.search(noted.seen.details)
    if found is None:
        return None
    reason = printable(found[1].replace("_", " "), 200)
    if reason in _WORDS:
        reason = f"{reason}: {_WORDS[reason]}"
    rules = list(_rules(facts, noted))
    accepted = ", ".join(f"{printable(rule.issuer, 120)} ({rule.origin})" for _, rule in rules[:_MOST])
    more = f" and {len(rules) - _MOST} more" if len(rules) > _MOST else ""
    text = f"{noted.proxy} refused the token of {noted.seen.method} {noted.seen.path}: {reason}"
    if accepted:
        text += f"; accepted are tokens of {accepted}{more}"
    policy = rules[0][0] if rules else None
    missing = [rule for _, rule in rules if not rule.keys and rule.fetched is None]
    fix = "weft problems" if missing else ""
    return Cause(CODE, text, str(policy.object) if policy else "", str(policy.origin) if policy else "", fix)


def _rules(facts: Facts, noted: Noted) -> Iterator[tuple[TokenPolicy, TokenRule]]:
    """What holds at the proxy now."""
    workload = facts.workload(noted.proxy)
    if workload is None:
        return
    seen: set[TokenPolicy] = set()
    for place in places_of(facts.mesh, workload, Memo()):
        for policy in place.access.tokens:
            if policy not in seen:
                seen.add(policy)
                yield from ((policy, rule) for rule in policy.rules)
