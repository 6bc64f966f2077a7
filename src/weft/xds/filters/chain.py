"""The order of HTTP filters, the places where each stands, and each filter's per-route configuration.

A filter that only some routes need stands in the chain disabled, and the routes enable it: a change of routes then
never changes a listener, and connections that are already open follow the new rules at once.

A filter whose routes cannot say all of it stands as a slot: its configuration is a resource of its own (ECDS), named by
the filter and the route configuration that it stands before. It is replaced without a change of the listener too.
https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from weft.mesh.access.access import Access
from weft.mesh.routes.rules import Rule
from weft.xds.filters import (
    cdn_loop,
    composite,
    cors,
    custom,
    distrust,
    fault,
    forward_proxy,
    guard,
    limits,
    on_demand,
    overload,
    proxy_auth,
    rbac,
    router,
    tokens,
)
from weft.xds.filters.extension import Extension
from weft.xds.filters.place import Place
from weft.xds.messages import packed
from weft.xds.policies.tls import ads_source
from weft.xds.resource import encode_resource
from weft.xds.snapshot import EXTENSION, Resource

CALLING = (Place.OUTBOUND, Place.GATEWAY)
CALLED = (Place.INBOUND, Place.GATEWAY)
EVERYWHERE = tuple(Place)
_NOTHING: Mapping[str, Message] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Filter:
    """One HTTP filter. `listener` gives what stands in the chain; None if that is not the same everywhere, then it
    stands in chains for which it is given. `rule` gives the configuration of a rule's routes (places of callers),
    `access` that of all routes of a place that is called, or None if the filter is not used there. `extension` gives
    what its slot holds for an Access, None for what `listener` gives. An `optional` one stands only in chains that ask
    for it by name; an `enabled` one needs no route that enables it."""

    name: str
    places: tuple[Place, ...]
    listener: Callable[[], Message] | None
    rule: Callable[[Rule], Message | None] | None = None
    access: Callable[[Access], Message | None] | None = None
    extension: Callable[[Access], Extension | None] | None = None
    optional: bool = False
    enabled: bool = False


FILTERS = (
    # Who is not trusted any more gets nothing else of the chain to answer him.
    Filter(distrust.NAME, (Place.INBOUND,), distrust.listener_config),
    # A stranger on the same host gets nothing else of the chain to answer him.
    Filter(proxy_auth.NAME, (Place.OUTBOUND,), None, enabled=True),
    # A request in a circle does nothing else here, and its answer is nobody's fault.
    Filter(cdn_loop.NAME, CALLING, None, enabled=True),
    # Preflight requests carry no credentials and are not the application's business: answered before anything else.
    Filter(cors.NAME, CALLING, cors.listener_config, rule=cors.route_config),
    # People log in before their tokens are looked at, which the login brings.
    Filter(guard.LOGIN, (Place.GATEWAY,), composite.listener_config, rule=guard.login_config),
    # Who the caller is stands before everything that may be said about that: access policies, routes by claims.
    Filter(tokens.NAME, CALLED, tokens.listener_config, access=tokens.access_config, extension=tokens.extension),
    # Clients of a gateway show their keys, and routes ask whom they name, before policies say anything.
    Filter(guard.NAME, CALLING, composite.listener_config, rule=guard.rule_config),
    # Who calls is settled before anything is done for the call. What is noted is noted also of calls that are refused;
    # who is asked is asked before policies decide themselves; who is denied is denied whatever allows.
    Filter(rbac.AUDIT, CALLED, lambda: rbac.listener_config("audit"), access=rbac.audit_config),
    Filter(custom.FIRST, CALLED, composite.listener_config, access=custom.first_config),
    Filter(custom.SECOND, CALLED, composite.listener_config, access=custom.second_config),
    Filter(rbac.DENY, CALLED, lambda: rbac.listener_config("deny"), access=rbac.deny_config),
    Filter(rbac.ALLOW, CALLED, lambda: rbac.listener_config("allow"), access=rbac.allow_config),
    # Who is refused uses up nothing of what others may still ask. What an answer says of limits is said last of all.
    Filter(limits.HEADERS, CALLED, limits.headers_config, optional=True, enabled=True),
    Filter(limits.LOCAL, CALLED, limits.local_config, extension=limits.local, optional=True, enabled=True),
    Filter(limits.DRY, CALLED, limits.local_config, extension=limits.dry, optional=True, enabled=True),
    Filter(limits.OPEN, CALLED, limits.shared_config, extension=limits.fails_open, optional=True, enabled=True),
    Filter(limits.CLOSED, CALLED, limits.shared_config, extension=limits.fails_closed, optional=True, enabled=True),
    # What may come is counted before it is let in: first what fails too often, then what would be too much at once.
    Filter(overload.ADMISSION, (Place.INBOUND,), None, enabled=True),
    Filter(overload.CONCURRENCY, (Place.INBOUND,), None, enabled=True),
    # Faults stand for what the callee does, so they come after everything that is the caller's side.
    Filter(fault.NAME, CALLING, fault.listener_config, rule=fault.route_config),
    # Looks up the host, which may take long: after all that may answer without it.
    Filter(
        forward_proxy.NAME,
        (Place.OUTBOUND,),
        forward_proxy.listener_config,
        rule=forward_proxy.route_config,
        optional=True,
    ),
    # Waits until the control plane has sent the cluster: last before the router, which needs it.
    Filter(on_demand.NAME, (Place.OUTBOUND,), on_demand.listener_config, optional=True, enabled=True),
    Filter(router.NAME, EVERYWHERE, router.listener_config, enabled=True),
)


def http_filters(
    place: Place, *wanted: str, given: Mapping[str, Message] = _NOTHING, routes: str = ""
) -> list[HttpFilter]:
    """The chain of a place, with those of its optional filters that are `wanted`, and those whose configuration is
    `given`. Slots are those of the route configuration `routes`."""
    chain: list[HttpFilter] = []
    for each in FILTERS:
        if place not in each.places or (each.optional and each.name not in wanted):
            continue
        if each.listener is None:
            if (config := given.get(each.name)) is not None:
                chain.append(HttpFilter(name=each.name, disabled=not each.enabled, typed_config=packed(config)))
            continue
        entry = HttpFilter()
        entry.CopyFrom(_standing(each))
        entry.name = filter_name(each, routes)
        chain.append(entry)
    return chain


@functools.cache
def _standing(each: Filter) -> HttpFilter:
    """A filter whose configuration is the same everywhere: made once, of which every listener has a copy."""
    config = packed(each.listener()) if each.listener else AnyMessage()
    if each.extension is None:
        return HttpFilter(disabled=not each.enabled, typed_config=config)
    return HttpFilter(disabled=not each.enabled, config_discovery=slot(config))


def slot(default: AnyMessage) -> ExtensionConfigSource:
    """Where the configuration of a filter comes from. Until it is there, and where there is none, `default` holds: the
    listener does not wait."""
    return ExtensionConfigSource(
        config_source=ads_source(),
        default_config=default,
        apply_default_config_without_warming=True,
        type_urls=[default.type_url],
    )


def filter_name(each: Filter, routes: str) -> str:
    """The name under which a filter stands in the chain before the route configuration `routes`."""
    return each.name if each.extension is None else f"{each.name}|{routes}"


def access_filters(place: Place, access: Access, routes: str) -> dict[str, AnyMessage]:
    """The filters that all routes of `routes` enable, with their configuration."""
    return _enabled(
        {filter_name(each, routes): each.access(access) for each in FILTERS if each.access and place in each.places}
    )


def access_extensions(place: Place, access: Access, routes: str) -> Iterator[Resource]:
    """What the slots before the route configuration `routes` hold."""
    for each in FILTERS:
        if each.extension is not None and place in each.places and (found := each.extension(access)) is not None:
            name = filter_name(each, routes)
            by = [each.origin for each in access.tokens] + [each.origin for each in access.policies]
            by += [each.origin for each in access.limits]
            origins = tuple(dict.fromkeys(by))
            message = TypedExtensionConfig(name=name, typed_config=packed(found.config))
            yield encode_resource(message, name, origins, found.requires)


def required_slots(place: Place, routes: str, *wanted: str) -> list[tuple[str, str]]:
    """The slots of a chain, as a listener refers to them, with those of its optional filters that are `wanted`. They
    need not be filled, so nothing waits for them."""
    return [
        (EXTENSION, filter_name(each, routes))
        for each in FILTERS
        if each.extension and place in each.places and (not each.optional or each.name in wanted)
    ]


def enabled_slots(filters: Mapping[str, AnyMessage]) -> list[tuple[str, str]]:
    """The slots among the `filters` that routes enable, as the routes refer to them."""
    heads = {each.name for each in FILTERS if each.extension}
    return [(EXTENSION, name) for name in filters if "|" in name and name.partition("|")[0] in heads]


def rule_filters(place: Place, rule: Rule) -> dict[str, AnyMessage]:
    """The filters that the routes of a rule enable, with their configuration."""
    return _enabled({each.name: each.rule(rule) for each in FILTERS if each.rule and place in each.places})


def enable_forward_proxy() -> dict[str, AnyMessage]:
    """What routes of CONNECT, and the catch-all route, say to have hosts resolved."""
    return {forward_proxy.NAME: packed(forward_proxy.enabled())}


def _enabled(configs: dict[str, Message | None]) -> dict[str, AnyMessage]:
    return {name: packed(config) for name, config in configs.items() if config is not None}
