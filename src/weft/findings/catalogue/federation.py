"""Codes of federation with other trust domains."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

FEDERATION = (
    error(
        1320,
        "federation-misplaced",
        "A FederatedTrustDomain says whom the whole mesh believes, so it stands in the root namespace. One that stands "
        "elsewhere is not in force.",
        "it says whom the whole mesh believes, and stands in a namespace, so it is not in force",
        "Apply it to the root namespace (istio-system, unless the MeshConfig names another).",
    ),
    error(
        1321,
        "federation-with-itself",
        "A FederatedTrustDomain names the mesh's own trust domain. Nobody else vouches for that.",
        "'cluster.local' is the mesh's own trust domain, for which nobody else vouches",
        "Two meshes that are to be told apart need two trust domains: start one with another --trust-domain.",
        "weft serve --trust-domain NAME",
    ),
    error(
        1322,
        "federation-conflict",
        "Two FederatedTrustDomains are for the same trust domain. The older one is in force.",
        "FederatedTrustDomain istio-system/b is older and is for the same trust domain, so this one is not in force",
        "Delete one of them.",
        "weft delete {kind} {name} -n {namespace} --wait",
    ),
    error(
        1323,
        "trust-bundle-missing",
        "No bundle of a federated trust domain was ever fetched, and none stands in the document, so its callers are "
        "refused.",
        "no bundle of b.example is known yet, so its callers are refused: its endpoint does not answer within 10 s",
        "See that the endpoint is reached from the control plane's host, and that its certificate or SPIFFE ID is as "
        "the document says.",
        "weft federation list",
    ),
    warning(
        1324,
        "trust-bundle-stale",
        "The bundle of a federated trust domain cannot be fetched any more. The last one stays in force for a week, "
        "with roots that it has taken back since.",
        "the bundle of b.example cannot be fetched, and that of 20 min ago is in force: connection refused",
        "As for trust-bundle-missing. To believe nobody of that domain meanwhile, delete the document.",
        "weft federation list",
    ),
    error(
        1325,
        "trust-bundle-expired",
        "All roots that are known of a federated trust domain have ended, or its bundle could not be fetched for a "
        "week. Its callers are refused.",
        "every root of b.example that is known has ended, so its callers are refused",
        "Have the other side publish its new roots at the endpoint, or put its bundle into the document.",
        "weft federation list",
    ),
)
