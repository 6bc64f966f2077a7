"""Codes of single requests: what `weft explain` says of one that is described, or that failed."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

REQUESTS = (
    error(
        1001,
        "application-error",
        "The application answered with 5xx itself: its proxy had a connection and passed the answer on.",
        "the application of reviews-v1.default answered 500 itself, after 12 ms",
        "See what the application says.",
        "weft logs {workload}",
    ),
    warning(
        1002,
        "slow-application",
        "The application took more than a second to answer.",
        "the application of ratings-v1.default took 2004 ms to answer",
        "See what the application does in that time.",
        "weft logs {workload}",
    ),
    error(
        1003,
        "certificate-expired",
        "The certificate of a proxy is over: nobody accepts its connections. Its agent, which renews it, is away.",
        "the certificate of reviews-v1's proxy has expired",
        "Start the agent again: the same weft run, or weft up, takes the running proxy over.",
    ),
    error(
        1004,
        "certificate-refused",
        "One side of a connection does not accept the certificate of the other: another authority issued it, or it "
        "proves another identity than the workload behind that address should have.",
        "page-v1.default outbound: no connection could be made to the endpoint: the certificate of the other side is "
        "not one that is expected there",
        "See whether another process has taken the address, and whether both are of the same control plane.",
        "weft proxy status",
    ),
    error(
        1005,
        "connection-closed",
        "The other side closed the connection before it answered. An application that closes idle connections soon, or "
        "that crashes, does so.",
        "page-v1.default outbound: the other side closed the connection before it answered",
        "See what the callee says.",
        "weft logs {workload}",
    ),
    error(
        1006,
        "reset",
        "The other side, or the proxy, reset the request.",
        "page-v1.default outbound: the other side reset the request",
        "See what the callee says.",
        "weft logs {workload}",
    ),
    warning(
        1007,
        "client-gone",
        "The caller did not wait for the answer. Its own time limit is mostly the reason.",
        "reviews-v1.default inbound: the caller closed the connection before the answer",
        "Compare the caller's time limit with how long the answer takes.",
    ),
    error(
        1008,
        "tries-used-up",
        "All tries of a request failed, or too many connections were tried.",
        "page-v1.default outbound: all tries failed, or the limit of connection tries was reached",
        "See what is wrong with the callee.",
        "weft logs {workload}",
    ),
    error(
        1009,
        "too-long",
        "The request, the connection or a silence in it lasted longer than is allowed.",
        "front.default gateway: the request lasted longer than any may on that connection",
        "Set a timeout of the route that fits, or let the application send something meanwhile.",
    ),
    error(
        1010,
        "protocol-error",
        "The other side does not speak the protocol that the port says.",
        "page-v1.default outbound: the other side does not speak the protocol that the port says",
        "Correct the port's name or appProtocol in the Service.",
        "weft describe service {name} -n {namespace}",
    ),
    error(
        1011,
        "bad-request",
        "The caller does not speak HTTP correctly, or sends a header that is not allowed.",
        "front.default gateway: the caller does not speak HTTP correctly",
        "Correct the client.",
    ),
    error(
        1012,
        "not-told",
        "The proxy does not know where the service is: the control plane has not told it, or not in time.",
        "page-v1.default outbound: the control plane has not told this proxy where the service is",
        "See whether the proxy is connected; with uses or scope: all it knows the service at once.",
        "weft proxy status",
    ),
    error(
        1013,
        "missing-backend",
        "The rule sends a share of the requests to something that does not exist.",
        "the rule sends to something that does not exist: that share gets 503",
        "Correct the destination's name.",
        "weft problems",
    ),
    error(
        1014,
        "refused-document",
        "A document of the namespaces concerned is not in force, because it has errors. If it was meant for the "
        "request, that is why the request goes another way.",
        "VirtualService default/reviews is refused, so it is not in force",
        "Correct the document.",
        "weft problems",
    ),
    warning(
        1015,
        "https-inside",
        "The application encrypts by itself, so the proxies see nothing of its requests: rules for HTTP do not hold.",
        "the application encrypts by itself (https), so its proxy sees nothing of the request",
        "Call http://: the proxies make mutual TLS of it.",
    ),
    error(
        1016,
        "rate-limited",
        "A rate limit refused the request, or the service that decides did not answer.",
        "reviews-v1.default inbound: a rate limit refused the request",
        "Call less often, or raise the limit.",
    ),
    error(
        1017,
        "denied",
        "A policy denied the request.",
        "reviews-v1.default inbound: an authorization policy, or the external service that decides, denied the request",
        "Let the policy allow this caller, or call as one that it allows.",
    ),
    error(
        1018,
        "not-among-uses",
        "The workload says which services it uses, and the one that is called is not among them: its proxy does not "
        "know it, and sends the request outside the mesh.",
        "page-v1 says what it uses (reviews), and Service default/ratings is not among it",
        "Add the service to uses (--uses), or leave uses out: the proxy then loads a service when it is first called.",
    ),
)
