"""Codes of guards: what clients of a gateway show, and who is asked."""

from __future__ import annotations

from weft.findings.catalogue.entry import error

GUARDS = (
    error(
        1260,
        "bad-credential",
        "A Secret that a CredentialPolicy or an OIDCPolicy names does not hold what it should, so nobody is let in.",
        "Secret default/users has at .htpasswd a line 2 that is no user with a SHA hash, so nobody is let in",
        "API keys: an entry for each client, its value the key. Passwords: at `.htpasswd` what `htpasswd -s` writes. "
        "OIDC: the client's secret at `client-secret`.",
    ),
    error(
        1261,
        "provider-unread",
        "What an OpenID provider says of its endpoints cannot be read. If it could before, that stays in force and "
        "this is a warning; else nobody is let in.",
        "https://id.example.com/.well-known/openid-configuration cannot be read: it answers 404; nobody is let in",
        "Write the issuer as the provider writes it. Where the control plane may not reach it, give the policy "
        "`authorizationEndpoint` and `tokenEndpoint`.",
    ),
    error(
        1262,
        "provider-unreachable",
        "The token endpoint of an OpenID provider is where a gateway sends no secrets: http that is not loopback, or "
        "https on loopback.",
        "its token endpoint is at https://localhost, which a gateway does not speak to",
        "Use https, or http on loopback.",
    ),
    error(
        1266,
        "too-many-providers",
        "More than two providers would be asked about the same calls (CUSTOM policies), so nobody may make them.",
        "more than 2 providers would be asked about one call, so nobody may call where this one comes third",
        "Ask one server that asks the others, or leave one out.",
    ),
    error(
        1263,
        "asked-refused",
        "A server that a CUSTOM policy or a route has asked said that a request may not pass.",
        "echo-v1.default inbound: 'opa', which AuthorizationPolicy default/reports has asked, said no",
        "Ask whoever runs the server; its own log says why.",
    ),
    error(
        1264,
        "asked-unanswered",
        "A server that a CUSTOM policy or a route has asked did not answer, or not in time, or with a status of 5xx.",
        "echo-v1.default inbound: 'opa', which AuthorizationPolicy default/reports has asked, did not answer",
        "See whether the server runs, and whether its own policies let proxies ask it. `failOpen` of the provider lets "
        "requests pass meanwhile.",
    ),
    error(
        1265,
        "not-let-in",
        "A guard of a gateway refused a request: without an API key or password that is known, or a change that comes "
        "from a page of another host.",
        "front.default: the request has an API key that nobody has",
        "Show what the policy asks for; for pages of other hosts, add them to the CsrfPolicy's `additionalOrigins`.",
    ),
)
