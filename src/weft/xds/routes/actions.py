"""What a rule does with a request, as an Envoy RouteAction, RedirectAction or DirectResponseAction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    RetryPolicy,
    RouteAction,
    WeightedCluster,
)
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.routes.connections import WeightedTarget
from weft.mesh.routes.rules import (
    NO_CHANGES,
    SAFE_RETRY,
    Forward,
    HeaderChanges,
    Mirror,
    Redirect,
    Respond,
    Retry,
    TextMatch,
    WeightedBackend,
)
from weft.mesh.services.hosts import DEFAULT_PORTS
from weft.mesh.services.service import BackendKey
from weft.xds.limits import MESH, TCP_IDLE_SECONDS
from weft.xds.messages import duration, packed, share
from weft.xds.policies.connections import TcpTimes
from weft.xds.routes.headers import NOT_DELIVERED, envoy_headers, host_of
from weft.xds.routes.rewrites import envoy_rewrite
from weft.xds.services.names import cluster_name
from weft.xds.services.shares import weighted_clusters

_HOST_ATTEMPTS = 20
_SHORTEST_BACKOFF = 0.001
"""Seconds; Envoy refuses less."""
_OTHER_HOST = "other-host"
"""A name of our own: the type decides, and this stands in every route of every change."""
_OTHER_LOCALITY = "envoy.retry_priorities.previous_priorities"
_TRIES_PER_LOCALITY = 2
"""Istio's."""
_CONNECT_FAILURE = "connect-failure"
_STATUS_CODES = "retriable-status-codes"
_REDIRECT_CODES = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


@dataclass(frozen=True, slots=True)
class SharedChanges:
    """Header changes of a rule that its weighted destinations make, before their own."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES


def forward_action(
    forward: Forward,
    backends: tuple[WeightedBackend, ...],
    path: TextMatch | None,
    shared: SharedChanges,
) -> RouteAction:
    """Send to `backends` (all of positive weight, at least one), otherwise as `forward` says."""
    action = RouteAction(timeout=duration(forward.timeout or 0))
    if len(backends) == 1:
        _set_single(action, backends[0], forward)
    else:
        own_hosts = any(_own_host(backend) for backend in backends)
        host = forward.host_rewrite if own_hosts else ""
        action.weighted_clusters.clusters.extend(_weighted(backend, shared, host) for backend in backends)
        if forward.host_rewrite and not own_hosts:
            action.host_rewrite_literal = forward.host_rewrite
    rewrite = backends[0].path_rewrite or forward.path_rewrite
    if rewrite is not None:
        envoy = envoy_rewrite(rewrite, path)
        if envoy.pattern is not None:
            action.regex_rewrite.CopyFrom(envoy.pattern)
        else:
            action.prefix_rewrite = envoy.prefix
    if forward.retry is not None:
        action.retry_policy.CopyFrom(retry_policy(forward.retry))
    elif forward.per_try_timeout is not None:
        action.retry_policy.CopyFrom(retry_policy(replace(SAFE_RETRY, per_try_timeout=forward.per_try_timeout)))
    action.request_mirror_policies.extend(_mirror(mirror) for mirror in forward.mirrors)
    if forward.websocket:
        action.idle_timeout.CopyFrom(duration(TCP_IDLE_SECONDS))
    return action


def set_longest(action: RouteAction, forward: Forward, longest: float) -> None:
    """Exempt a request from the `longest` (seconds) that its listener lets it last as a whole: where there is to be no
    timeout, where it leads to WebSocket, and up to its timeout where that is longer.

    Nothing else may be said here: a route that has a bound of its own has no other timeout in Envoy.
    """
    if forward.timeout == 0 or (forward.websocket and forward.timeout is None):
        action.max_stream_duration.max_stream_duration.CopyFrom(duration(0))
    elif forward.timeout is not None and forward.timeout > longest:
        action.max_stream_duration.max_stream_duration.CopyFrom(duration(forward.timeout))


def connect_action(to: str | tuple[WeightedTarget, ...], times: TcpTimes) -> RouteAction:
    """End the CONNECT here and carry what is inside as plain TCP to a cluster, or to backends by weight. It is tried
    once, whatever its virtual host does. Where it is led through a further proxy, that is sent a CONNECT."""
    action = RouteAction(timeout=duration(0), retry_policy=RetryPolicy())
    if times.idle != MESH.stream_idle:
        action.idle_timeout.CopyFrom(duration(times.idle))
    shares = weighted_clusters(to)
    if len(shares) == 1:
        action.cluster = shares[0][0]
    else:
        for cluster, weight in shares:
            action.weighted_clusters.clusters.add(name=cluster).weight.value = weight
    if times.longest is not None:
        action.max_stream_duration.max_stream_duration.CopyFrom(duration(times.longest))
    upgrade = action.upgrade_configs.add(upgrade_type="CONNECT")
    if times.tunnel:
        action.host_rewrite_literal = times.tunnel
    else:
        upgrade.connect_config.SetInParent()
    return action


def redirect_action(
    redirect: Redirect, path: TextMatch | None, domains: tuple[str, ...], scheme: str
) -> RedirectAction:
    """Answer with a redirect. The query string stays. `domains` are the virtual host's, `scheme` that of
    requests.

    A default port is not written. Envoy would keep the port the client wrote unless it is given a host or a port; the
    host is known when the virtual host has only one, else the port has to be written after all.
    """
    action = RedirectAction(response_code=_REDIRECT_CODES[redirect.status])
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    default = DEFAULT_PORTS.get(redirect.scheme or scheme, 0)
    stays = not redirect.port and redirect.port_from_request and redirect.scheme in ("", scheme)
    host = redirect.host or ("" if stays else _only_host(domains))
    if host:
        action.host_redirect = host
    if redirect.port and not (host and redirect.port == default):
        action.port_redirect = redirect.port
    elif not host and not stays:
        action.port_redirect = default
    if redirect.path_rewrite is not None:
        envoy = envoy_rewrite(redirect.path_rewrite, path)
        if redirect.path_rewrite.kind == "full":
            action.path_redirect = redirect.path_rewrite.value
        elif envoy.pattern is not None:
            action.regex_rewrite.CopyFrom(envoy.pattern)
        else:
            action.prefix_rewrite = envoy.prefix
    return action


def respond_action(respond: Respond) -> DirectResponseAction:
    """Answer at once."""
    action = DirectResponseAction(status=respond.status)
    if respond.body:
        try:
            action.body.inline_string = respond.body.decode()
        except UnicodeDecodeError:
            action.body.inline_bytes = respond.body
    return action


def _only_host(domains: tuple[str, ...]) -> str:
    return domains[0] if len(domains) == 1 and "*" not in domains[0] else ""


def _set_single(action: RouteAction, backend: WeightedBackend, forward: Forward) -> None:
    """One destination. Its own header changes are on the route (see routes.py)."""
    action.cluster = cluster_name(_existing(backend))
    host = _own_host(backend) or forward.host_rewrite
    if host:
        action.host_rewrite_literal = host


def _existing(backend: WeightedBackend) -> BackendKey:
    """Its key. Shares of backends that do not exist are answered by routes of their own."""
    if backend.backend is None:
        raise ValueError("a backend that does not exist has no cluster")
    return backend.backend


def _own_host(backend: WeightedBackend) -> str:
    return host_of(backend.request) or backend.host_rewrite


def _weighted(backend: WeightedBackend, shared: SharedChanges, shared_host: str) -> WeightedCluster.ClusterWeight:
    """One of several destinations. The route's own host rewrite would win over those of the destinations, so where one
    has its own, the others are given the shared one."""
    request = envoy_headers(shared.request, backend.request)
    response = envoy_headers(shared.response, backend.response)
    weight = WeightedCluster.ClusterWeight(
        name=cluster_name(_existing(backend)),
        weight=UInt32Value(value=backend.weight),
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
    )
    host = _own_host(backend) or shared_host
    if host:
        weight.host_rewrite_literal = host
    return weight


def retry_policy(retry: Retry) -> RetryPolicy:
    """`retry` for Envoy. Without attempts it is a policy that never retries, but still ends a try in time."""
    policy = _attempts(retry) if retry.attempts else RetryPolicy()
    if retry.per_try_timeout:
        policy.per_try_timeout.CopyFrom(duration(retry.per_try_timeout))
    return policy


def _attempts(retry: Retry) -> RetryPolicy:
    conditions = retry.conditions
    if retry.codes and _STATUS_CODES not in conditions:
        conditions += (_STATUS_CODES,)
    hop = _CONNECT_FAILURE in conditions
    policy = RetryPolicy(
        retry_on=",".join((*conditions, "retriable-headers") if hop else conditions),
        num_retries=UInt32Value(value=retry.attempts),
        retriable_status_codes=retry.codes,
    )
    if hop:  # also when it is the last hop, from the proxy to its application, that cannot be connected
        policy.retriable_headers.add(name=NOT_DELIVERED, present_match=True)
    if retry.backoff:
        policy.retry_back_off.base_interval.CopyFrom(duration(max(retry.backoff, _SHORTEST_BACKOFF)))
    if retry.other_locality:
        priorities = PreviousPrioritiesConfig(update_frequency=_TRIES_PER_LOCALITY)
        policy.retry_priority.CopyFrom(RetryPolicy.RetryPriority(name=_OTHER_LOCALITY, typed_config=packed(priorities)))
    if retry.other_host:
        policy.retry_host_predicate.append(
            RetryPolicy.RetryHostPredicate(name=_OTHER_HOST, typed_config=packed(PreviousHostsPredicate()))
        )
        policy.host_selection_retry_max_attempts = _HOST_ATTEMPTS
    return policy


def _mirror(mirror: Mirror) -> RouteAction.RequestMirrorPolicy:
    return RouteAction.RequestMirrorPolicy(
        cluster=cluster_name(mirror.backend),
        runtime_fraction=RuntimeFractionalPercent(default_value=share(mirror.percent)),
    )
