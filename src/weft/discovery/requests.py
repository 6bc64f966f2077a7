"""Requests as they come from the wire, parsed into what the sessions take."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from weft.discovery.delta import DeltaRequest
from weft.discovery.session import RefusedRequestError
from weft.discovery.sotw import SotwRequest


def delta_request(raw: bytes) -> tuple[str, DeltaRequest]:
    """The node id (empty if the request has none) and the request."""
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise RefusedRequestError("bad-message", "not a DeltaDiscoveryRequest") from error
    node = message.node.id if message.HasField("node") else ""
    return node, DeltaRequest(
        message.type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def sotw_request(raw: bytes) -> tuple[str, SotwRequest]:
    """The node id (empty if the request has none) and the request."""
    try:
        message = discovery_pb2.DiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise RefusedRequestError("bad-message", "not a DiscoveryRequest") from error
    node = message.node.id if message.HasField("node") else ""
    return node, SotwRequest(
        message.type_url,
        tuple(message.resource_names),
        message.version_info,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )
