"""Codes of who may call whom: policies that do what nobody wants, and calls that they deny."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

AUTHORIZATION = (
    warning(
        1204,
        "header-by-expression",
        "A TrafficTarget lets callers in by a header for which an expression is given. Of a header that is sent twice "
        "all values have to be right, and a proxy can ask that for texts, beginnings and ends only: RE2 has no "
        "complement of an expression. One value that fits is enough here: an application that looks at the other one "
        "is fooled.",
        "it lets in by an expression for the header x-role (match 'read'): who sends the header twice is let in if one "
        "value fits, and the application may look at the other",
        "Write the value without signs that mean something in expressions, or use an AuthorizationPolicy, whose values "
        "are texts, beginnings and ends.",
    ),
    warning(
        1220,
        "deny-by-path",
        "A rule keeps out by path or header: it denies some, or allows all but some. Applications take several "
        "spellings for one path (another case, %20 or a dot at the end, ';' and what follows, twice escaped), and of a "
        "header whose values are joined by commas any one, so what was meant is reached by another spelling.",
        "the rule denies by path (path /admin*): it is dodged by spellings that the application takes for the same",
        "Say what may be called: an ALLOW policy with these paths and methods. What it does not name is denied.",
    ),
    warning(
        1221,
        "rule-never-matches",
        "No call can meet a rule: its conditions exclude each other, or it asks for a method that HTTP does not have.",
        "no call can meet the rule: identity cluster.local/ns/a/sa/web and namespace b exclude each other",
        "Correct the condition that is wrong. Methods are written in capital letters.",
    ),
    warning(
        1222,
        "allow-swallowed",
        "Everything that an ALLOW rule allows is denied by a DENY rule wherever it holds: DENY goes first.",
        "all that the rule allows is denied by AuthorizationPolicy shop/no-jobs (rule 0, policies.yaml:12)",
        "Remove one of the two, or make the DENY narrower.",
    ),
    warning(
        1223,
        "allows-everybody",
        "A rule without conditions allows every call, and ALLOW policies add up: the others at the same place keep "
        "nobody out.",
        "the rule allows every call, so AuthorizationPolicy shop/orders (orders.yaml:1) keeps nobody out",
        "Give the rule conditions. A policy that allows nobody has no rules at all: `spec: {}`.",
    ),
    warning(
        1224,
        "unknown-caller",
        "A rule names a namespace or service account that no workload has, so it lets in nobody by that, and would let "
        "in whoever gets that name.",
        "no workload has the service account 'shop/crat' that the rule names; did you mean 'shop/cart'?",
        "Correct the name, or start the workload.",
        istio="0107",
    ),
    warning(
        1225,
        "gateway-left-out",
        "A gateway has a route to a service whose policies never let the gateway in, so everything that comes from "
        "outside gets 403. The application is called by the gateway: it has the gateway's service account.",
        "the gateway default/edge has a route to orders.shop, and its policies never let it in: it calls as service "
        "account default/gateway-edge",
        "Name the gateway's service account in a rule, with what its clients may ask for.",
    ),
    error(
        1230,
        "access-denied",
        "A policy that says who may call denied the request (403) or the connection: a DENY rule matches it, no ALLOW "
        "rule does, or the place is closed.",
        "orders-v1.shop denied GET /orders/7 from job-v1.shop: no rule of an ALLOW policy matches it "
        "(AuthorizationPolicy shop/orders)",
        "See which policy decides, at which line: weft authz check FROM TO. Let it allow this caller, or call as one "
        "that it allows.",
    ),
    warning(
        1231,
        "calls-denied",
        "All calls of a caller to a service were denied by a policy in the last minute. That is as it should be, or a "
        "policy leaves out a caller.",
        "all 120 calls from job-v1.shop to shop/orders were denied in the last minute: no rule of an ALLOW policy "
        "matches (AuthorizationPolicy shop/orders)",
        "Ask which policy decides: weft authz check FROM TO.",
    ),
)
