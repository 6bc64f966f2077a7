"""Codes of services outside the mesh, and of who is told of what."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

OUTSIDE = (
    error(
        1400,
        "unknown-port-name",
        "An endpoint of a ServiceEntry gives the number of a port that the entry does not have.",
        "spec.endpoints[0].ports.htp: the entry has no port called 'htp', expected http",
        "Correct the name: it is that of one of the entry's ports.",
    ),
    error(
        1401,
        "sidecar-conflict",
        "Two Sidecars are for the same workloads: the older one is in force.",
        "Sidecar shop/default (shop.yaml:3) is older and is for the same workloads, so this one is not in force",
        "Join them, or give one of them a workloadSelector.",
        istio="0110 0111",
    ),
    warning(
        1402,
        "egress-host-unknown",
        "An egress listener of a Sidecar names a host that no Service and no ServiceEntry has.",
        "egress[0].hosts[1]: no service is called 'shop/cart.shop.svc.cluster.local', so it lets nothing be called",
        "Correct the namespace or the host, or apply the service.",
    ),
    warning(
        1403,
        "ingress-not-served",
        "An ingress listener of a Sidecar is for a port that none of its workloads has.",
        "ingress[0].port.number: no workload that it selects has port 9080, so nothing is served there",
        "Start the workload with that port, or correct the number.",
    ),
    warning(
        1404,
        "no-account",
        "A described instance says that a proxy stands before it, and not whose certificate that has.",
        "WorkloadEntry shop/vm-1: nobody can prove to be it, since serviceAccount is missing",
        "Write the serviceAccount, or take the label security.istio.io/tlsMode away.",
    ),
    warning(
        1405,
        "unknown-group",
        "A workload is to be started from a WorkloadGroup that its namespace does not have: it waits for it.",
        "workloads[0].group: there is no WorkloadGroup 'revews' in namespace default; did you mean 'reviews'?",
        "Correct the name, or apply the WorkloadGroup in the namespace of the workload.",
    ),
)
