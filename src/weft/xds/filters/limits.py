"""Rate limits: Envoy's local filter, which counts by itself, and the one that asks the control plane, each in a slot.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter and
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter

They stand only before ports that are limited: a first policy replaces the listener, which drains it in order, and every
later change is one of the slot or the routes. Buckets belong to the slot, so a change of routes does not fill them.

A limit is known by its name in a descriptor's first entry; the others are the policy of the route (at a gateway), and
what requests are told apart by. What is not met gives no descriptor at all: a CEL expression that looks up a key that
is not there is an error, and Envoy does not apply a limit whose expression is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption, RuntimeFractionalPercent
from envoy.config.core.v3.config_source_pb2 import V3
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.ratelimit.v3.rls_pb2 import RateLimitServiceConfig
from envoy.config.route.v3.route_components_pb2 import RateLimit
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import (
    DRAFT_VERSION_03,
    LocalRateLimitDescriptor,
    RateLimitDescriptor,
)
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation, Mutations
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit as SharedRateLimit
from envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2 import Descriptor as Expression
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey
from envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.access.access import Access
from weft.mesh.access.limits import Limit, LimitKey, LimitKind, LimitPolicy
from weft.mesh.routes.rules import NamedMatch, RequestMatch, TextMatch
from weft.xds.access.matchers import PAYLOAD, TOKENS
from weft.xds.filters.extension import Extension
from weft.xds.limits import COUNT_SECONDS, MAX_COUNTED_APART, MAX_COUNTED_VALUE
from weft.xds.messages import PROVENANCE, duration, packed, share
from weft.xds.services.names import XDS_CLUSTER

HEADERS = "weft.limit.headers"
LOCAL = "weft.limit"
DRY = "weft.limit.dry"
OPEN = "weft.limit.shared"
CLOSED = "weft.limit.shared.closed"
DOMAIN = "weft"
"""What the control plane is asked about. There is no other: a limit's name says whose it is."""
LIMIT = "limit"
"""The key of a descriptor's first entry, whose value is the limit's name (`LimitPolicy.limit_id`)."""
STATS = "weft.limit."
"""What statistics of the local filter begin with; the policies' names follow."""
LIMITED = "limited"
"""Of a route's metadata: the policy whose limits hold for it."""
_NAMES: Mapping[LimitKind, str] = {"local": LOCAL, "dry-run": DRY, "shared-open": OPEN, "shared-closed": CLOSED}
_POLICY = "policy"
_MATCH = "match"
_YES = "yes"
_ALL = RuntimeFractionalPercent(default_value=share(100))
_NONE = RuntimeFractionalPercent(default_value=share(0))
_NO_CLAIM = "none"
_SHOWN = ("limit", "remaining", "reset")


def standing(kinds: Iterable[LimitKind]) -> tuple[str, ...]:
    """The names of the filters that stand where there are limits of these kinds."""
    names = tuple(_NAMES[kind] for kind in kinds)
    return (HEADERS, *names) if names else ()


def headers_config() -> HeaderMutation:
    """Answers say what is left by the names of the IETF's draft 3, and refused ones when to come again."""
    mutations = Mutations()
    for what in _SHOWN:
        _say(mutations, f"ratelimit-{what}", f"%RESP(x-ratelimit-{what})%")
    limited = "'x-ratelimit-reset' in response.headers && response.headers['x-ratelimit-remaining'] == '0'"
    refused = "response.code_details == 'local_rate_limited' || response.code_details == 'request_rate_limited'"
    when = f"({refused}) && {limited} ? response.headers['x-ratelimit-reset'] : ''"
    _say(mutations, "retry-after", f"%CEL({when})%")
    mutations.response_mutations.extend(Mutation(remove=f"x-ratelimit-{what}") for what in _SHOWN)
    return HeaderMutation(mutations=mutations)


def _say(mutations: Mutations, name: str, value: str) -> None:
    option = HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=HeaderValueOption.ADD_IF_ABSENT)
    mutations.response_mutations.append(Mutation(append=option))


def local_config() -> LocalRateLimit:
    """What stands until the slot is filled: nothing is counted."""
    return LocalRateLimit(stat_prefix=STATS)


def shared_config() -> SharedRateLimit:
    """What stands until the slot is filled: nobody is asked."""
    return SharedRateLimit(domain=DOMAIN, rate_limit_service=_service(), filter_enabled=_NONE)


def local(access: Access) -> Extension | None:
    """What the slot of enforced limits holds."""
    return _local(access, "local")


def dry(access: Access) -> Extension | None:
    """What the slot of dry runs holds."""
    return _local(access, "dry-run")


def fails_open(access: Access) -> Extension | None:
    """What the slot of shared limits holds that requests pass while nobody answers."""
    return _shared(access, "shared-open")


def fails_closed(access: Access) -> Extension | None:
    """And of those that they do not."""
    return _shared(access, "shared-closed")


def _of(access: Access, kind: LimitKind) -> list[LimitPolicy]:
    return [policy for policy in access.limits if policy.kind == kind]


def _local(access: Access, kind: LimitKind) -> Extension | None:
    policies = _of(access, kind)
    if not policies:
        return None
    config = LocalRateLimit(
        stat_prefix=STATS
        + ",".join(sorted(policy.name for policy in policies))
        + (".dry" if kind == "dry-run" else ""),
        filter_enabled=_ALL,
        filter_enforced=_NONE if kind == "dry-run" else _ALL,
        always_consume_default_token_bucket=BoolValue(value=False),
        rate_limited_as_resource_exhausted=True,
        max_dynamic_descriptors=UInt32Value(value=MAX_COUNTED_APART),
    )
    if kind == "local":
        config.enable_x_ratelimit_headers = DRAFT_VERSION_03
    for policy in policies:
        for limit in policy.limits:
            config.descriptors.append(_bucket(policy, limit, tagged=access.tagged))
            config.rate_limits.append(_actions(policy, limit, tagged=access.tagged))
    return Extension(config)


def _bucket(policy: LimitPolicy, limit: Limit, *, tagged: bool) -> LocalRateLimitDescriptor:
    """Fills evenly, a request at a time. An entry without value stands for every value."""
    entries = [RateLimitDescriptor.Entry(key=LIMIT, value=policy.limit_id(limit))]
    if tagged:
        entries.append(RateLimitDescriptor.Entry(key=_POLICY, value=policy.name))
    if not limit.match.everything:
        entries.append(RateLimitDescriptor.Entry(key=_MATCH, value=_YES))
    entries += [RateLimitDescriptor.Entry(key=_entry_key(number, key)) for number, key in enumerate(limit.keys)]
    bucket = TokenBucket(
        max_tokens=limit.burst,
        tokens_per_fill=UInt32Value(value=limit.requests),
        fill_interval=duration(limit.seconds),
    )
    return LocalRateLimitDescriptor(entries=entries, token_bucket=bucket)


def _shared(access: Access, kind: LimitKind) -> Extension | None:
    policies = _of(access, kind)
    if not policies:
        return None
    config = SharedRateLimit(
        domain=DOMAIN,
        rate_limit_service=_service(),
        timeout=duration(COUNT_SECONDS),
        failure_mode_deny=kind == "shared-closed",
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers=SharedRateLimit.DRAFT_VERSION_03,
        rate_limits=[_actions(policy, limit, tagged=access.tagged) for policy in policies for limit in policy.limits],
    )
    return Extension(config)


def _service() -> RateLimitServiceConfig:
    """The control plane, by the connection that its configuration comes over."""
    grpc = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER))
    return RateLimitServiceConfig(grpc_service=grpc, transport_api_version=V3)


def _actions(policy: LimitPolicy, limit: Limit, *, tagged: bool) -> RateLimit:
    message = RateLimit()
    named = message.actions.add().generic_key
    named.descriptor_key, named.descriptor_value = LIMIT, policy.limit_id(limit)
    if tagged:
        at_route = message.actions.add().metadata
        at_route.descriptor_key, at_route.source = _POLICY, RateLimit.Action.MetaData.ROUTE_ENTRY
        at_route.metadata_key.CopyFrom(MetadataKey(key=PROVENANCE, path=[MetadataKey.PathSegment(key=LIMITED)]))
    if not limit.match.everything:
        message.actions.append(_said(_MATCH, f"{{true: '{_YES}'}}[{' && '.join(_conditions(limit.match))}]"))
    message.actions.extend(_entry(number, key) for number, key in enumerate(limit.keys))
    return message


def _entry(number: int, key: LimitKey) -> RateLimit.Action:
    """The entry of what requests are told apart by."""
    if key.kind == "claim":
        return _claim(number, key.name)
    if key.kind != "address":
        return _said(str(number), _value(key))
    address = RateLimit.Action.MaskedRemoteAddress(
        v4_prefix_mask_len=UInt32Value(value=32), v6_prefix_mask_len=UInt32Value(value=64)
    )
    return RateLimit.Action(masked_remote_address=address)


def _entry_key(number: int, key: LimitKey) -> str:
    """Envoy names the entry of an address itself."""
    return "masked_remote_address" if key.kind == "address" else str(number)


def _said(key: str, text: str) -> RateLimit.Action:
    """An entry whose value an expression gives."""
    expression = TypedExtensionConfig(
        name="envoy.rate_limit_descriptors.expr", typed_config=packed(Expression(descriptor_key=key, text=text))
    )
    return RateLimit.Action(extension=expression)


def _value(key: LimitKey) -> str:
    """The expression of what requests are told apart by: a text for every request, of bounded length."""
    match key.kind:
        case "identity":
            return "connection.mtls ? connection.uri_san_peer_certificate : ''"
        case "header":
            name = _literal(key.name)
            return f"{name} in request.headers ? {_bounded(f'request.headers[{name}]')} : ''"
        case "path":
            return _bounded("request.url_path")
        case "method":
            return _bounded("request.method")
        case "host":
            return _bounded("request.host")
        case _:
            raise AssertionError(f"{key.kind} has an action of its own")


def _claim(number: int, name: str) -> RateLimit.Action:
    """What a valid token says, where it is a text; tokens are signed, so its length is the issuer's business."""
    path = [MetadataKey.PathSegment(key=part) for part in (PAYLOAD, *name.split("."))]
    said = RateLimit.Action.MetaData(
        descriptor_key=str(number),
        metadata_key=MetadataKey(key=TOKENS, path=path),
        default_value=_NO_CLAIM,
        source=RateLimit.Action.MetaData.DYNAMIC,
    )
    return RateLimit.Action(metadata=said)


def _bounded(text: str) -> str:
    return f"(size({text}) <= {MAX_COUNTED_VALUE} ? {text} : 'too long')"


def _literal(text: str) -> str:
    """A text in an expression: JSON's escapes are CEL's."""
    return json.dumps(text)


def _conditions(match: RequestMatch) -> Iterator[str]:
    if match.path is not None and not match.path.everything:
        yield _compared("request.url_path", match.path)
    if match.method is not None:
        yield _compared("request.method", match.method)
    for header in match.headers:
        yield _header(header)


def _header(header: NamedMatch) -> str:
    name = _literal(header.name)
    return f"({name} in request.headers && {_compared(f'request.headers[{name}]', header.match)})"


def _compared(what: str, match: TextMatch) -> str:
    value = _literal(match.value)
    match match.kind:
        case "exact":
            return f"{what} == {value}"
        case "prefix":
            return f"{what}.startsWith({value})"
        case "segment-prefix":
            stem = match.value.rstrip("/")
            return f"({what} == {_literal(stem)} || {what}.startsWith({_literal(stem + '/')}))"
        case "regex":
            return f"{what}.matches({_literal(f'^(?:{match.value})$')})"
        case "present":
            return "true"
