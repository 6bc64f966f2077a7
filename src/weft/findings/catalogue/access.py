"""Codes of access policies: who may call whom."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

ACCESS = (
    warning(
        1201,
        "http-rule-on-tcp",
        "A rule looks at requests (methods, paths, hosts, headers, tokens), and holds before a TCP port, where there "
        "are connections only. There an ALLOW rule is never met, and a DENY rule is met whatever the request would be.",
        "the rule looks at requests, and at TCP ports (postgres.default:5432) there are none: it is never met there",
        "Give the rule `ports` that leave TCP ports out, and TCP ports a rule of their own with callers only.",
    ),
    error(
        1202,
        "unknown-target",
        "A policy is for a Gateway, GatewayClass or Service that is not there, so it holds nowhere by that.",
        "there is no Service 'review' in namespace 'default', so the policy holds nowhere by it",
        "Correct the name. A target is of the policy's own namespace.",
    ),
    warning(
        1203,
        "no-rules",
        "A policy that denies, notes or asks has no rules, so no call matches it. An ALLOW without rules allows "
        "nobody.",
        "a DENY without rules matches no call, so it does nothing",
        "Add rules; `rules: [{}]` is met by every call.",
    ),
)
