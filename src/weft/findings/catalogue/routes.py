"""Codes of what is wrong between documents: references that lead nowhere, conflicts, rules that nobody reaches."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

ROUTES = (
    error(
        201,
        "unknown-service",
        "A route sends to a Service, or is for a Service or ServiceEntry, that does not exist. What it sends there is "
        "answered with 500 or 503.",
        "backendRefs[0]: there is no Service 'revews' in namespace 'default'; did you mean 'reviews'?",
        "Correct the name, or apply the Service.",
        istio="0101",
    ),
    error(
        202,
        "unknown-host",
        "A VirtualService or DestinationRule is about a host that is no service of the mesh, or a route of the "
        "Gateway API sends to one (kind Hostname).",
        "spec.host: 'revews' names no service; did you mean 'reviews'?",
        "Correct the name. Short names mean the document's own namespace.",
        istio="0101 0174",
    ),
    error(
        203,
        "unknown-subset",
        "A rule sends to a subset that no DestinationRule in force for its namespace has. Requests sent there get 503.",
        "no DestinationRule for Service default/reviews has a subset 'v3'; requests sent there get 503",
        "Add the subset to the DestinationRule of that host, or correct its name.",
        istio="0101",
    ),
    error(
        204,
        "unknown-port",
        "A document names a port that the service does not have.",
        "Service default/reviews has no port 9081, expected one of 9080",
        "Name one of its ports. It is the port of the Service, not the targetPort.",
        istio="0101 0112",
    ),
    error(
        205,
        "host-conflict",
        "Two documents claim the same host on the same port, or are the DestinationRule of the same host. The older "
        "one "
        "is in force, the other is not. Of ServiceEntries of one host, callers mean that of their own namespace, else "
        "the oldest that they are told of.",
        "'reviews' belongs to VirtualService default/a already, which is older",
        "Put the rules into one document, or delete one of them.",
        "weft delete {kind} {name} -n {namespace} --wait",
        istio="0109",
    ),
    warning(
        206,
        "unreachable",
        "A rule can never be chosen: an earlier one takes every request that it would take.",
        "spec.http[1]: no request comes to it, because spec.http[0] takes all",
        "Put the narrower rule first, or remove it.",
        istio="0130 0131",
    ),
    warning(
        207,
        "differs-from-istio",
        "The document means something else here than in Istio, on purpose.",
        "the service is in namespace 'shop', so this is in force for callers in 'default' only (in Istio for all "
        "callers)",
        "Put the document where it should hold for all callers; the kind's page says why.",
    ),
    warning(
        208,
        "hostnames-ignored",
        "An HTTPRoute with hostnames is attached to a Service, where hostnames have no meaning.",
        "spec.hostnames: have no effect for the parent Service reviews",
        "Remove them, or attach the route to a Gateway.",
    ),
    error(
        209,
        "no-backend",
        "A rule neither sends requests anywhere nor answers or redirects them.",
        "rules[0]: no backendRefs and no filter that answers; requests get 500",
        "Add a backendRef or a RequestRedirect.",
    ),
    error(
        210,
        "not-http",
        "HTTP rules are for a port that carries something else.",
        "port 5432 of Service default/db speaks tcp, so HTTP rules cannot be in force",
        "Name an HTTP port, or correct the port's name or appProtocol.",
        istio="0119",
    ),
    error(
        211,
        "invalid-kind",
        "A reference names a kind of object that cannot stand there.",
        "backendRefs[0]: Backend of gateway.envoyproxy.io cannot be a backend here",
        "Name a Service, or a host (group networking.istio.io, kind Hostname).",
    ),
    error(
        212,
        "reference-not-granted",
        "A document refers to an object of another namespace that has not agreed to it.",
        "there is no ReferenceGrant in namespace 'certs' for Gateways of 'default' to Secrets",
        "Apply a ReferenceGrant in the namespace of what is referred to.",
    ),
    warning(
        213,
        "no-short-name",
        "The name of a service is taken for a host outside the mesh by its callers, so the short name does not reach "
        "it.",
        "a service called 'com' is reached by its full name only",
        "Call it by NAME.NAMESPACE, or give it another name.",
    ),
    warning(
        214,
        "no-ports",
        "A Service has no port that weft can carry.",
        "spec.ports: none of them is TCP",
        "Add a TCP port.",
    ),
    warning(
        215,
        "no-selector",
        "A Service selects nothing and no document routes it elsewhere, so no workload is ever behind it.",
        "the service has no selector, so no workload is ever behind it",
        "Give it the labels of its workloads.",
        istio="0127",
    ),
    error(
        216,
        "mesh-config-conflict",
        "There is more than one document of mesh-wide settings; one is in force.",
        "MeshConfig default is in force already",
        "Keep one of them.",
        "weft delete {kind} {name} -n {namespace} --wait",
    ),
    error(
        217,
        "mesh-config-misplaced",
        "Mesh-wide settings stand in another namespace, or under another name, than the one that is read.",
        "a MeshConfig is called 'default' and stands in namespace 'istio-system'",
        "Put it where the message says.",
    ),
    error(
        218,
        "trust-domain-mismatch",
        "The document says another trust domain than the one that runs. All keys and certificates hang on it, so no "
        "document changes it.",
        "trustDomain: 'example.org', but the control plane runs with 'cluster.local'",
        "Remove the field, or start a new mesh with `weft serve --trust-domain`.",
    ),
    warning(
        219,
        "address-conflict",
        "A document gives its service an address that another service has: who calls the address is led to that one.",
        "Service default/reviews has the address 10.96.0.7, too",
        "Give it another address, or none: weft gives one that nobody else has.",
    ),
    warning(
        220,
        "no-address-left",
        "Every virtual address belongs to another service, so this one has none and its name is not answered over DNS.",
        "every address of 10.9.0.0/28 belongs to another service",
        "Give the mesh a larger range: serviceAddresses of the MeshConfig. See docs/names.md.",
    ),
)
