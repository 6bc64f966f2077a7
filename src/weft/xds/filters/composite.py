"""The composite filter: stands in the chain disabled, and does what a route says: whole filters, one after another.

So a route says all that a filter needs, also where the filter's own per-route configuration does not, and a change
never changes a listener. https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/composite_filter
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher, ExtensionWithMatcherPerRoute
from envoy.extensions.filters.common.matcher.action.v3.skip_action_pb2 import SkipFilter
from envoy.extensions.filters.http.composite.v3.composite_pb2 import (
    Composite,
    ExecuteFilterAction,
    FilterChainConfiguration,
)
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig as XdsExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from weft.xds.messages import packed

NAME = "envoy.filters.http.composite"
Steps = Sequence[tuple[str, Message]]
"""Filters by name, in the order in which a request meets them."""


def listener_config() -> ExtensionWithMatcher:
    """Does nothing of its own."""
    return ExtensionWithMatcher(
        extension_config=TypedExtensionConfig(name=NAME, typed_config=packed(Composite())),
        xds_matcher=_always("skip", SkipFilter()),
    )


def route_config(steps: Steps) -> ExtensionWithMatcherPerRoute | None:
    """What the requests of a route meet; None if nothing."""
    if not steps:
        return None
    chain = [TypedExtensionConfig(name=name, typed_config=packed(config)) for name, config in steps]
    action = ExecuteFilterAction(filter_chain=FilterChainConfiguration(typed_config=chain))
    return ExtensionWithMatcherPerRoute(xds_matcher=_always("steps", action))


def _always(name: str, action: Message) -> Matcher:
    return Matcher(on_no_match=Matcher.OnMatch(action=XdsExtensionConfig(name=name, typed_config=packed(action))))
