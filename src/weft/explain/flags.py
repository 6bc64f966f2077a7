"""Response flags and response code details of Envoy in plain words: what happened, on whose side, and what to look at.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#config-access-log-format-response-flags
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.requests import RequestSeen


@dataclass(frozen=True, slots=True)
class Flag:
    """A response flag: our stable `code` for what it means, the same in words, and what to do (may be empty)."""

    code: str
    text: str
    fix: str = ""


FLAGS = {
    "UF": Flag("connections-fail", "no connection could be made to the endpoint", "weft ps; weft get workloads"),
    "UC": Flag("connection-closed", "the other side closed the connection before it answered", "its log"),
    "UR": Flag("reset", "the other side reset the request", "its log"),
    "UH": Flag("no-endpoint-for-calls", "no endpoint could be chosen: none is there, healthy and not ejected"),
    "UO": Flag("overload", "a bound on connections or requests was reached, so the proxy answered itself"),
    "UT": Flag("calls-time-out", "the answer did not come within the time limit", "the callee, or the limit"),
    "URX": Flag("tries-used-up", "all tries failed, or the limit of connection tries was reached"),
    "UPE": Flag("protocol-error", "the other side does not speak the protocol that the port says", "the port's name"),
    "UMSDR": Flag("too-long", "the request lasted longer than any may on that connection"),
    "NR": Flag("no-route-for-calls", "no rule matches the request"),
    "NC": Flag("not-told", "the control plane has not told this proxy where the service is", "weft proxy status"),
    "NFCF": Flag("not-told", "the control plane did not tell the proxy in time where the service is"),
    "DF": Flag("dns-fails", "DNS does not have the name of the host", "the name; or a Service of that name"),
    "DI": Flag("fault-in-force", "a rule delayed the request on purpose (fault injection)"),
    "FI": Flag("fault-in-force", "a rule answered with an error on purpose (fault injection)"),
    "LR": Flag("reset", "the proxy reset the request itself"),
    "LH": Flag("no-endpoint-for-calls", "the endpoint failed the proxy's health check"),
    "RL": Flag("rate-limited", "a rate limit refused the request"),
    "RLSE": Flag("rate-limited", "the rate limit service did not answer"),
    "RFCF": Flag("overload", "the response code was set by a filter for overload"),
    "UAEX": Flag("denied", "an authorization policy, or the external service that decides, denied the request"),
    "DC": Flag("client-gone", "the caller closed the connection before the answer", "the caller's own time limit"),
    "DPE": Flag("bad-request", "the caller does not speak HTTP correctly"),
    "DT": Flag("too-long", "the request or the connection lasted longer than it may"),
    "DR": Flag("client-gone", "the caller reset the request"),
    "SI": Flag("too-long", "nothing was sent for too long on this stream"),
    "IH": Flag("bad-request", "a header of the request is not allowed"),
    "OM": Flag("overload", "the proxy has too little memory and sheds load"),
    "DO": Flag("overload", "the request was dropped because of overload"),
}
"""By the letters in the access log. Those that policies to come will use are there."""

_DETAILS = (
    ("route_not_found", "no rule matches the request"),
    ("cluster_not_found", "the proxy does not know where the service is"),
    ("no_healthy_upstream", "no endpoint could be chosen: none is there, healthy and not ejected"),
    ("upstream_response_timeout", "the answer did not come within the route's time limit"),
    ("response_timeout", "the answer did not come within the route's time limit"),
    ("upstream_per_try_timeout", "no try was answered within its time limit"),
    ("upstream_max_stream_duration_reached", "the request lasted longer than any may on that connection"),
    ("stream_idle_timeout", "nothing was sent for too long"),
    ("request_overall_timeout", "the request did not come whole within the time limit"),
    ("overload", "the proxy sheds load"),
    ("fault_filter_abort", "a rule answered with an error on purpose (fault injection)"),
    ("jwt_authn_access_denied", "the request's token is not accepted"),
    ("rbac_access_denied", "an authorization policy denied the request"),
    ("ext_authz_denied", "the external authorization service denied the request"),
    ("ext_authz_error", "the external authorization service did not answer, or not in time"),
    ("missing_api_key", "the request has no API key"),
    ("unknown_api_key", "the request has an API key that nobody has"),
    ("no_credential_for_basic_auth", "the request has no user and password"),
    ("invalid_credential_for_basic_auth", "the request has a wrong user or password"),
    ("csrf_origin_mismatch", "the request changes something, and comes from a page of another host"),
    ("request_rate_limited", "a rate limit refused the request"),
    ("rate_limited", "a rate limit refused the request"),
    ("downstream_remote_disconnect", "the caller closed the connection before the answer"),
    ("http1.", "the caller does not speak HTTP/1 correctly"),
    ("http2.", "the caller does not speak HTTP/2 correctly"),
    ("dns_resolution_failure", "DNS does not have the name of the host"),
    ("dns_cache", "the name of the host could not be looked up"),
    ("direct_response", "the proxy answered itself, as a rule says"),
    ("via_upstream", "the other side answered so"),
    ("retry_limit", "the limit of tries was reached"),
    ("path_normalization_failed", "the path is not allowed"),
    ("missing_host_header", "the request has no host"),
)
_RESETS = {
    "connection_failure": "no connection could be made",
    "remote_connection_failure": "no connection could be made",
    "local_connection_failure": "the proxy could not make a connection",
    "connection_termination": "the other side closed the connection",
    "remote_reset": "the other side reset the request",
    "remote_refused_stream_reset": "the other side refused the request",
    "local_reset": "the proxy reset the request",
    "overflow": "a bound on connections or requests was reached",
    "protocol_error": "the other side does not speak the protocol",
}
_TLS = (
    ("CERTIFICATE EXPIRED", "the other side says that this proxy's certificate has expired"),
    ("certificate has expired", "the certificate of the other side has expired"),
    ("CERTIFICATE VERIFY FAILED", "the certificate of the other side is not one that is expected there"),
    ("WRONG VERSION NUMBER", "one side speaks TLS and the other plaintext"),
    ("CERTIFICATE REQUIRED", "the other side asks for a certificate of the mesh, and got none"),
    ("TLSV1 ALERT UNKNOWN CA", "the other side does not know the authority that issued this proxy's certificate"),
    ("Connection refused", "nobody listens at that address"),
    ("connection timeout", "nobody answered at that address in time"),
    ("Network is unreachable", "the network of that address cannot be reached"),
    ("No route to host", "the host of that address cannot be reached"),
)


def flags_of(seen: RequestSeen) -> tuple[str, ...]:
    """The response flags of a request, the one that says least last."""
    found = [flag for flag in seen.flags.split(",") if flag not in ("", "-")]
    return tuple(sorted(found, key=lambda flag: flag == "URX"))


def meaning(seen: RequestSeen) -> str:
    """Why a request ended as it did, in a sentence."""
    parts = [FLAGS[flag].text for flag in flags_of(seen) if flag in FLAGS]
    if not parts and seen.details == "via_upstream" and not seen.failed:
        return ""
    if not parts and (text := details_text(seen.details)):
        application = seen.side == "inbound" and seen.details == "via_upstream"
        parts.append("the application itself answered so" if application else text)
    if reason := failure_text(f"{seen.failure} {seen.details}"):
        parts.append(reason)
    if seen.attempts > 1:
        parts.append(f"it was tried {seen.attempts} times")
    return "; ".join(dict.fromkeys(parts))


def details_text(details: str) -> str:
    """Envoy's response code details in words; nothing for what is not in the table."""
    for start, text in _DETAILS:
        if details.startswith(start):
            return text
    if "reset_" in details and "{" in details:
        reason = details.partition("{")[2].partition("|")[0].partition("}")[0]
        when = "after the answer had begun" if "after_response_started" in details else "before it was answered"
        return f"{_RESETS.get(reason, reason.replace('_', ' '))} {when}"
    return ""


def failure_text(text: str) -> str:
    """Why a connection could not be made, in words."""
    spaced = text.replace("_", " ")
    return next((words for sign, words in _TLS if sign in spaced), "")
