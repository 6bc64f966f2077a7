"""Codes of TLS with servers outside the mesh."""

from __future__ import annotations

from weft.findings.catalogue.entry import Entry, error, warning

ORIGINATION: tuple[Entry, ...] = (
    error(
        1430,
        "incomplete-credential",
        "The Secret that a DestinationRule names as credentialName lacks something: the certificate and key that "
        "callers show (mode MUTUAL), or the authorities that vouch for the server. Every call fails.",
        "client.yaml:3: the Secret has no ca.crt",
        "Put tls.crt, tls.key and ca.crt into the Secret; the authorities may also be ca.crt of a Secret NAME-cacert.",
    ),
    warning(
        1431,
        "unverified-server",
        "A DestinationRule has callers believe a server that proves nothing of its name: with credentialName and sni "
        "but without subjectAltNames, whoever has any certificate of these authorities.",
        "the certificate may have any name that the authorities of 'client' vouch for",
        "Name the server in subjectAltNames, or leave sni out: then the host of each request has to be proved.",
        istio="0128 0129",
    ),
    error(
        1432,
        "credential-not-given",
        "A sidecar calls a server with a credential that it is not given, so it cannot connect and answers 503. "
        "Gateways are given the credentials of what they route to; a sidecar those of DestinationRules whose "
        "workloadSelector selects it. In either case the Secret is one of the proxy's own namespace.",
        "the proxy is not given the credential 'client' that api.example.test asks for",
        "Give the DestinationRule a workloadSelector that selects the caller, or lead the calls through a gateway.",
    ),
    error(
        1433,
        "unknown-authority",
        "A document refers to a ConfigMap for the authorities that vouch for a server, and it is not there or has no "
        "certificates in PEM under ca.crt.",
        "ConfigMap default/ca is not there, or has no ca.crt",
        "Apply the ConfigMap, in the namespace of the document, with the certificates as text under ca.crt.",
    ),
    error(
        1434,
        "bad-authority-kind",
        "A document refers to an object of a kind that holds no authorities.",
        "Secret of the core group holds no authorities",
        "Refer to a ConfigMap with ca.crt; authorities are no secret.",
    ),
    error(
        1435,
        "no-authority",
        "None of the authorities that a BackendTLSPolicy refers to can be read, so nobody is believed: calls to its "
        "Services are answered with 503.",
        "no authority can be read, so nobody is believed and every call fails",
        "Mend what is told of each reference; or say wellKnownCACertificates: System, if the server's certificate is "
        "one of a public authority.",
    ),
    warning(
        1436,
        "setting-without-effect",
        "A DestinationRule says how connections begin that are not made so: PROXY protocol towards endpoints with a "
        "proxy of the mesh, or a tunnel for a port that carries requests.",
        "reviews.default:9080: proxyProtocol has no effect: proxies of the mesh expect TLS first, and get it",
        "Take the setting out, or say it for a port (portLevelSettings) of servers outside the mesh.",
    ),
)
