"""Where this host is, as its cloud's instance metadata says: AWS' service, version 2 (a token first).

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html. Asked by the host,
which alone reaches it; the control plane never asks an address like that.
"""

from __future__ import annotations

import http.client
import logging
import os
import time
from urllib.parse import urlsplit

from weft.model.locality import NOWHERE, Locality, is_locality

AWS = "from:aws"
"""What `--locality` says for it."""
ENDPOINT = "http://169.254.169.254"
VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""Where AWS' own tools are told of another address."""
_LOG = logging.getLogger(__name__)
_SECONDS = 1.0
_TRIES = 3
_PAUSE = 0.5
_MOST_BYTES = 256
_LIFE = "60"


class MetadataError(Exception):
    """Nothing was learned; the message says why."""


def aws_locality(endpoint: str = "", pause: float = _PAUSE) -> Locality:
    """The region and zone of this instance; nowhere, with a warning, if nobody says: traffic does not wait for it.
    Blocks, some seconds at most."""
    error = ""
    for number in range(_TRIES):
        if number:
            time.sleep(pause)
        try:
            return _ask(endpoint or os.environ.get(VARIABLE, "") or ENDPOINT)
        except MetadataError as problem:
            error = str(problem)
    _LOG.warning("this host's region and zone are not known: %s; without them it is near to nobody", error)
    return NOWHERE


def _ask(endpoint: str) -> Locality:
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname:
        raise MetadataError(f"'{endpoint}' is no http URL")
    try:
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_SECONDS)
        try:
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": _LIFE}
            token = _text(connection, "PUT", "/latest/api/token", ttl)
            shown = {"X-aws-ec2-metadata-token": token}
            place = "/latest/meta-data/placement"
            region, zone = (
                _text(connection, "GET", f"{place}/{one}", shown) for one in ("region", "availability-zone")
            )
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MetadataError(f"{endpoint}: {error or type(error).__name__}") from error
    found = Locality(region, zone)
    if not region or not is_locality(found):
        raise MetadataError(f"{endpoint} says no region and zone")
    return found


def _text(connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> str:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read(_MOST_BYTES + 1)
    if answer.status != http.client.OK or len(body) > _MOST_BYTES:
        raise MetadataError(f"{path} answers {answer.status}")
    return body.decode("ascii").strip()
