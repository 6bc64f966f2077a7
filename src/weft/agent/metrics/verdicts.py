"""What policies decided, by policy: Envoy's counters of RBAC rules and of rate limits as one family of metrics.

Names of policies come from documents only, so their number is that of documents. Callers cannot make any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weft.agent.metrics.families import Family, Sample

VERDICTS = "weft_policy_verdicts_total"
"""What policies decide, also where they only try: labels `kind` (authorization, rate_limit), `policy`, `verdict` and
`mode` (enforced, dry_run)."""
_RULE = re.compile(
    r"http\.(?:inbound|gateway)\.rbac\.(dry_run_)?(audit|deny|allow)\.policy\.([^/]+)/([^/]*)/([^/]+)/\d+\."
    r"(?:shadow_)?(?:allowed|denied)"
)
_CLOSED = re.compile(r"http\.(?:inbound|gateway)\.rbac\.deny\.policy\.closed/([^/]+)/([^/]*)/([^/]+)\.denied")
_LIMIT = re.compile(r"weft\.limit\.([^\s]+?)(\.dry)?\.http_local_rate_limit\.(ok|rate_limited)")
_COUNTED = {"ok": "allowed", "rate_limited": "limited"}
_Key = tuple[str, str, str, str]
_HELP = "Requests that a rule of a policy decided, or noted, or would have decided (dry_run)."
_WORDS = {"audit": "noted", "deny": "denied", "allow": "allowed"}


def verdict_families(counters: Iterable[tuple[str, int]]) -> Iterator[Family]:
    """The family, if any policy has decided anything. Rules of one policy are counted together."""
    found: dict[_Key, int] = {}
    for name, value in counters:
        key = _key(name)
        if key is not None:
            found[key] = found.get(key, 0) + value
    samples = tuple(
        Sample((("kind", kind), ("policy", policy), ("verdict", verdict), ("mode", mode)), value)
        for (kind, policy, verdict, mode), value in sorted(found.items())
    )
    if samples:
        yield Family(VERDICTS, "counter", _HELP, samples)


def is_verdict(name: str) -> bool:
    """Whether a counter of Envoy is told by this family."""
    return _key(name) is not None


def _key(name: str) -> _Key | None:
    """Kind, policy, verdict and mode."""
    if limit := _LIMIT.fullmatch(name):
        policies, dry, verdict = limit.groups()
        return "rate_limit", f"RateLimitPolicy {policies}", _COUNTED[verdict], "dry_run" if dry else "enforced"
    if ".rbac." not in name:
        return None
    if rule := _RULE.fullmatch(name):
        dry, action, kind, namespace, policy = rule.groups()
        return "authorization", f"{kind} {namespace}/{policy}", _WORDS[action], "dry_run" if dry else "enforced"
    if closed := _CLOSED.fullmatch(name):
        kind, namespace, policy = closed.groups()
        return "authorization", f"{kind} {namespace}/{policy}", "closed", "enforced"
    return None
