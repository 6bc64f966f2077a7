"""Codes of Gateways and of what is attached to them."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

GATEWAYS = (
    error(
        301,
        "unknown-gateway",
        "A route or a gateway process names a Gateway that does not exist or is not weft's.",
        "parentRefs[0]: there is no Gateway 'fron' in namespace 'default'; did you mean 'front'?",
        "Correct the name, or apply the Gateway.",
        istio="0101 0132 0165",
    ),
    error(
        302,
        "unknown-class",
        "A Gateway names a GatewayClass that does not exist.",
        "spec.gatewayClassName: there is no GatewayClass 'eg'; set gatewayClassName: weft",
        "Set gatewayClassName: weft.",
    ),
    warning(
        303,
        "foreign-class",
        "The class belongs to another controller, so weft leaves its Gateways alone.",
        "GatewayClass nginx belongs to nginx.org/gateway-controller",
        "Nothing, if another controller serves it; else set gatewayClassName: weft.",
    ),
    error(
        304,
        "unknown-secret",
        "A document names a Secret that does not exist: the certificate of a listener, or the credential of callers.",
        "certificateRefs[0]: there is no Secret 'front-tls' in namespace 'default'",
        "Apply the Secret, with tls.crt and tls.key. Callers of a DestinationRule with credentialName need it in their "
        "own namespace.",
        istio="0101 0161",
    ),
    error(
        305,
        "bad-certificate",
        "The Secret of a listener holds no certificate and key that fit together.",
        "Secret default/front-tls: tls.key does not belong to tls.crt",
        "Apply the Secret again, with the chain (leaf first) and its key.",
        istio="0161",
    ),
    error(
        306,
        "no-certificate",
        "An HTTPS listener has no certificate.",
        "listeners[0].tls: no certificateRefs",
        "Name a Secret of type kubernetes.io/tls.",
        istio="0161",
    ),
    error(
        307,
        "protocol-conflict",
        "Two listeners of one port have different protocols. Of one document neither is in force; of a ListenerSet "
        "that one which conflicts with its Gateway's, or with one of an older set, is not.",
        "port 80 is HTTP in listener 'a' and HTTPS in listener 'b'",
        "Give them different ports.",
        istio="0145",
    ),
    error(
        308,
        "unsupported-protocol",
        "A listener asks for a protocol that weft's gateways do not speak.",
        "listeners[0].protocol: example.com/raw, expected HTTP or HTTPS or TLS or TCP or UDP",
        "Use one of these five.",
    ),
    error(
        309,
        "invalid-route-kind",
        "A listener lets in routes of a kind that its protocol does not carry.",
        "listeners[0].allowedRoutes.kinds[0]: TCPRoute, of a listener for HTTP",
        "Name HTTPRoute or GRPCRoute, or leave the list out.",
    ),
    error(
        310,
        "no-matching-host",
        "None of the route's hosts is one of the listener, or of the ServiceEntry, it wants to be attached to.",
        "no hostname of the route fits '*.shop.example' of listener 'web'",
        "Make the hostnames of route and listener meet.",
        istio="0132",
    ),
    error(
        311,
        "no-matching-listener",
        "The route names a listener or a port that the Gateway does not have.",
        "sectionName: Gateway default/front has no listener 'https'",
        "Name one of its listeners.",
        istio="0132",
    ),
    error(
        312,
        "not-allowed",
        "The listener does not let in routes of this namespace.",
        "listener 'web' allows routes of its own namespace only",
        "Set allowedRoutes.namespaces in the Gateway.",
    ),
    warning(
        313,
        "not-served",
        "No process serves the Gateway, so nothing listens.",
        "no process serves this Gateway, so nothing listens",
        "Start one.",
        "weft gateway {name} -n {namespace}",
        istio="0101 0162",
    ),
    warning(
        314,
        "unknown-listener",
        "A gateway process is given an address for a port that no listener of its Gateway has.",
        "Gateway default/front has no listener on port 8080, so nothing listens there",
        "Correct --listen (listen in weft.yaml), or add the listener.",
        istio="0162",
    ),
    warning(
        315,
        "gateway-certificate-expires",
        "The certificate of a gateway's listener ends soon, or has ended. Clients refuse it then.",
        "Secret default/front-tls: the certificate ends in 6 days",
        "Apply the Secret with a new certificate; connections go on, new hand-shakes use it.",
        "weft apply -f {source} --wait",
    ),
    error(
        316,
        "http3-not-offered",
        "A Gateway asks for HTTP/3, and a listener cannot offer it: it asks clients for certificates, or speaks TLS "
        "only up to 1.2, or none is HTTPS. What else the listener offers is in force.",
        "servers[0]: this listener asks clients for certificates, which Envoy does not do over QUIC",
        "Put such listeners into a Gateway of their own, without the annotation weft.dev/http3.",
    ),
)
