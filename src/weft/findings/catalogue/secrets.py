"""Codes of the store's secrets and of those who call the admin API."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

SECRETS = (
    error(
        1360,
        "secrets-sealed",
        "The control plane cannot have the key that encrypts the store's secrets. Secrets cannot be read or changed; "
        "everything else works. Proxies keep the certificates that they have; gateways that start now wait for theirs.",
        "the store's secrets cannot be read or changed: store.key is not there",
        "Put the key file back, or start the control plane with the --store-key with which the store was sealed. It is "
        "tried again every half minute. Where it is lost: weft secrets lost-key, and apply the Secrets again.",
        "weft secrets status",
    ),
    error(
        1361,
        "secret-unreadable",
        "A Secret lies in the store, sealed with a key that is not here, or was moved there from another place; or it "
        "is one of a cluster that may not or could not be read. Gateways that have its certificate keep it.",
        "Secret shop/tls is sealed with a key that is not here; proxies that have it keep it",
        "See how the store's secrets are kept. If its key is lost, apply the Secret again. Of a cluster another "
        "problem at the same document says why.",
        "weft secrets status",
    ),
    warning(
        1362,
        "oidc-keys-missing",
        "The keys of the OpenID provider cannot be fetched. Its tokens are taken with the keys that were fetched last, "
        "for a day; other tokens and certificates are not concerned.",
        "the keys of https://idp.example cannot be fetched, so those fetched last are used, for a day: …",
        "See whether the provider answers, and whether its certificate is trusted here (--oidc-ca-file).",
    ),
    warning(
        1381,
        "token-ends",
        "The token of a person or a program that calls the admin API ends soon: within a fifth of its life, a week at "
        "most. Until then each answer says so in the header X-Weft-Token-Ends, and weft's own commands on standard "
        "error.",
        "the token ci (editor of shop) ends at 2026-12-01T08:00:00.000Z, and was used",
        "Make another one, and give it to whoever uses this one; then revoke this one, or let it end.",
        "weft token list",
    ),
)
