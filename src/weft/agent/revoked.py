"""The revocation list beside the workload's certificate, kept as the control plane tells it."""

from __future__ import annotations

import logging

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient
from weft.agent.errors import AgentError

_LOG = logging.getLogger(__name__)


class RevokedList:
    """Envoy asks it at each hand-shake, of callers and of servers. While the control plane is away it stays."""

    def __init__(self, client: ControlPlaneClient, files: CertificateFiles) -> None:
        self._client = client
        self._files = files
        self._version: str | None = None

    async def follow(self, version: str) -> None:
        """Fetch the list if it is another than the one in place. What fails is done at the next word of it."""
        if version == self._version:
            return
        try:
            answer = await self._client.revoked()
            if self._version is not None or answer.version or self._files.revoked.stat().st_size:
                self._files.refuse(answer.revoked)
        except (AgentError, OSError) as error:
            _LOG.warning("cannot fetch which certificates are revoked, trying again: %s", error)
            return
        self._version = answer.version
