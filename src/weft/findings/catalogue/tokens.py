"""Codes of tokens: whose are accepted, and where the keys are that they are checked with."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

TOKENS = (
    error(
        1240,
        "keys-not-fetched",
        "The keys of an issuer were never fetched, or not for a week, so its tokens are refused.",
        "the keys of https://issuer.example cannot be fetched from https://issuer.example/keys since "
        "2026-11-26T10:00:00.000Z: it answers 404; until they can, its tokens are refused",
        "Correct jwksUri. An address that is not public has to be in jwksAllowedNetworks of the MeshConfig; a server "
        "whose certificate comes from another authority needs SSL_CERT_FILE for the control plane.",
    ),
    warning(
        1241,
        "keys-outdated",
        "The keys of an issuer cannot be fetched now. Those fetched last stay in force for a week.",
        "the keys of https://issuer.example cannot be fetched from https://issuer.example/keys since "
        "2026-11-26T10:00:00.000Z: there was no whole answer within 10 s; those of 2026-11-26T09:40:00.000Z stay in "
        "force until 2026-12-03T09:40:00.000Z",
        "See whether the issuer's server is up, and whether the control plane reaches it.",
    ),
    warning(
        1242,
        "key-left-out",
        "A key of an issuer may not be used: it is a shared secret, too short, or malformed. Its other keys are in "
        "force.",
        "a key at https://issuer.example/keys is not used: key 1: its RSA key has 1024 bits; 2048 to 8192 are taken",
        "Have the issuer sign with another key.",
    ),
    error(
        1243,
        "keys-unreachable",
        "The keys of an issuer are where nobody fetches them from, so its tokens are refused.",
        "keycloak.auth.svc.cluster.local is a service of the mesh, which takes calls of workloads only, so tokens of "
        "http://keycloak.auth are refused",
        "Keys of a service of the mesh are fetched by the proxies: annotate the document with weft.dev/jwks-fetch: "
        "proxy. Other servers are asked over https.",
    ),
    error(
        1244,
        "claims-unknown",
        "A route looks at a claim of the request's token, and no RequestAuthentication checks tokens at the gateway: "
        "the claim is never there, so the route is never taken, or always where the claim must not be there.",
        "the route looks at a claim, and no RequestAuthentication is in force at Gateway default/edge",
        "Add a RequestAuthentication with targetRefs to the Gateway.",
    ),
    warning(
        1246,
        "tokens-unchecked",
        "A rule looks at the request's token, and no RequestAuthentication is in force there, so no token ever counts: "
        "an ALLOW rule is never met, and `notRequestPrincipals` always is.",
        "the rule looks at tokens, and no RequestAuthentication checks any there: none ever counts",
        "Add a RequestAuthentication for the same workloads or Gateway.",
    ),
    error(
        1245,
        "token-refused",
        "A request had a token that is not accepted: it has expired, is of another issuer, for another audience, or "
        "its signature is wrong. Without a token it would have passed.",
        "Jwt is expired: no rule of RequestAuthentication default/shop accepts the token",
        "Get a new token. If it is a right one, see issuer, audiences and keys of the RequestAuthentication.",
    ),
)
