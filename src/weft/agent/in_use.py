"""Which certificate and trust bundle a workload's Envoy has in use, as Envoy itself says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weft.agent.certificates import CertificateFiles
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.keys import fingerprints, issuer_fingerprint
from weft.model.trust import trust_digest
from weft.xds.policies.tls import BUNDLE, CONTROL_PLACE, IDENTITY

_SECRETS = "/config_dump?resource=dynamic_active_secrets"
InUse = tuple[str, str]
"""The digest of the bundle, and the SHA-256 of the issuer's certificate (hex); empty if not known."""


class EnvoyInUse:
    """Asks Envoy once after each installation of a certificate, until it has that one in use. Where what `files` have
    is shown to the control plane only, `workload` has what is shown to others, and whom they trust."""

    def __init__(
        self,
        files: CertificateFiles,
        admin: EnvoyAdmin,
        running: Callable[[], bool],
        workload: CertificateFiles | None = None,
    ) -> None:
        self._files = files
        self._workload = workload or files
        self._identity = IDENTITY if workload is None else CONTROL_PLACE.identity
        self._admin = admin
        self._running = running
        self._known: tuple[Path, Path] | None = None
        self._told: InUse = ("", "")

    async def __call__(self) -> InUse:
        """What is in use now; what was, while Envoy does not say that it has changed."""
        current = self._files.chain.resolve(), self._workload.chain.resolve()
        if current == self._known:
            return self._told
        try:
            chain, bundle = self._files.chain.read_bytes(), self._workload.bundle.read_bytes()
            told = _in_use(chain, bundle)
        except (OSError, ValueError):
            return self._told
        if not self._running() or await self._has(chain, bundle):  # one that is started later reads what is there
            self._known, self._told = current, told
        return self._told

    async def _has(self, chain: bytes, bundle: bytes) -> bool:
        """Whether Envoy has read these files. It replaces both secrets in one turn, and all that use them."""
        try:
            dump: dict[str, Any] = json.loads(await self._admin.body(_SECRETS))
            secrets = {one["name"]: one["secret"] for one in dump.get("configs", ())}
            used = secrets[self._identity]["tls_certificate"]["certificate_chain"]["inline_bytes"]
            trusted = secrets[BUNDLE]["validation_context"]["trusted_ca"]["inline_bytes"]
        except (ValueError, KeyError, TypeError):
            return False
        return base64.b64decode(used) == chain and base64.b64decode(trusted) == bundle


def _in_use(chain: bytes, bundle: bytes) -> InUse:
    return trust_digest(fingerprints(bundle.decode())), issuer_fingerprint(chain.decode())
