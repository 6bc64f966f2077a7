"""Small pieces that several encoders need: durations, Any, addresses, string matchers, provenance metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.address_pb2 import SocketAddress as EnvoySocketAddress
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from weft.model.origin import Origin
from weft.model.workload import SocketAddress

if TYPE_CHECKING:
    from weft.mesh.routes.rules import TextMatch

_MILLION = 1_000_000
_NANOSECONDS = 1_000_000_000


def duration(seconds: float) -> Duration:
    """`seconds` as a protobuf duration, to the nanosecond."""
    whole, nanos = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    return Duration(seconds=whole, nanos=nanos)


def packed(message: Message) -> AnyMessage:
    """`message` in an Any, serialised in one order."""
    any_message = AnyMessage()
    any_message.Pack(message, deterministic=True)
    return any_message


def tcp_address(where: SocketAddress) -> Address:
    """An IP address and port."""
    return Address(socket_address=EnvoySocketAddress(address=where.host, port_value=where.port))


def share(percent: float) -> FractionalPercent:
    """`percent` (0 to 100) in millionths, the finest Envoy has."""
    parts = min(max(round(percent * _MILLION / 100), 0), _MILLION)
    return FractionalPercent(numerator=parts, denominator=FractionalPercent.MILLION)


def regex(pattern: str, *, ignore_case: bool = False) -> RegexMatcher:
    """An RE2 pattern that must match the whole text."""
    return RegexMatcher(regex=f"(?i){pattern}" if ignore_case else pattern)


def string_matcher(match: TextMatch) -> StringMatcher:
    """`match` as a string matcher. Envoy refuses empty patterns and prefixes, so these are said in other words."""
    if match.kind == "present" or (match.kind not in ("exact", "regex") and not match.value):
        return StringMatcher(safe_regex=regex(".*"))
    if match.kind == "regex" and match.value:
        return StringMatcher(safe_regex=regex(match.value, ignore_case=match.ignore_case))
    if match.kind in ("exact", "regex"):
        return StringMatcher(exact=match.value, ignore_case=match.ignore_case)
    return StringMatcher(prefix=match.value, ignore_case=match.ignore_case)


PROVENANCE = "weft"
"""Under which name things carry metadata of ours."""


def service_metadata(host: str, port: int, *, tcp: bool = False) -> Metadata:
    """Metadata that says which service a virtual host or a cluster of the proxy's own is for, where metrics could not
    tell otherwise: ``HOST|PORT``, with ``|tcp`` behind it where CONNECT carries bytes."""
    metadata = Metadata()
    metadata.filter_metadata[PROVENANCE].fields["service"].string_value = f"{host}|{port}" + ("|tcp" if tcp else "")
    return metadata


def provenance(subject: str, place: Origin | None = None, **words: str) -> Metadata:
    """Metadata that says which object made a thing: ``%METADATA(ROUTE:weft:object)%`` prints it in an access log.

    Only routes may say the `place` too: what Envoy replaces when its bytes change (clusters and listeners, with their
    connections) must stay the same when lines move. `words` (those that are not empty) are what loggers and samplers
    look up there.
    """
    metadata = Metadata()
    fields = metadata.filter_metadata[PROVENANCE].fields
    if place is not None:
        fields["src"].string_value = str(place)
    if subject:
        fields["object"].string_value = subject
    for name, value in words.items():
        if value:
            fields[name].string_value = value
    return metadata
