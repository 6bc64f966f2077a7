"""Codes of the certificate authority."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

AUTHORITY = (
    warning(
        1301,
        "root-rotation-waits",
        "The root is being rotated, and some live proxies have not done the present step for more than ten minutes. "
        "Nothing fails meanwhile: both roots are trusted until they have, or until their certificates are over.",
        "the rotation of the root (trusting) waits for default/reviews-v1: its agent is silent",
        "Start the agents that are named again (weft run with the same name takes over), or end those workloads.",
        "weft ca status",
    ),
    warning(
        1302,
        "authority-unavailable",
        "The authority that signs the mesh's intermediate does not answer, or refuses. What was issued stays valid and "
        "new workloads are certified: the intermediate that there is goes on until its own end.",
        "Vault at https://vault:8200 (mount pki) cannot be reached: no answer in 10 s; what it signed is good for "
        "14.2 days more",
        "See whether it runs, is unsealed, and whether the token in its file is still good. It is asked again by "
        "itself.",
        "weft ca status",
    ),
    warning(
        1303,
        "root-of-users",
        "A root of the mesh is one by which the cluster's API server knows its own clients. It takes a certificate of "
        "a workload for that of a user whose name and groups a pod may choose, and whoever has the mesh's intermediate "
        "can be anybody there, administrators too.",
        "the mesh's root 'CN=Example Root' is one of the API server's clients, too; expected a root that the API "
        "server does not trust",
        "Take the mesh's intermediate from an authority of its own (--ca-signer, --ca-issuer, --ca-roots), or take "
        "this root out of the API server's --client-ca-file.",
        "weft ca status",
    ),
    error(
        1380,
        "identity-source-unavailable",
        "The Workload API that `weft serve --identity-from` names gives no roots: its agent does not run, has no entry "
        "for the control plane, or is of another trust domain. A warning while the roots it gave last are in force.",
        "the source of identities at /run/spire/agent.sock: there is no socket /run/spire/agent.sock; what it said "
        "last stays in force",
        "Start its agent, and give the control plane an entry there: any identity of the mesh's trust domain serves.",
        "weft check",
    ),
)
