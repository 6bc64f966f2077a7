"""The task that follows the roots of the mesh's other source of identities, the Workload API of SPIRE or another.

They are kept beside the authority's files, so that a restart without the source trusts whom it trusted before.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from cryptography import x509

from weft.agent.workload_api.client import SourceError
from weft.ca.authority import Authority, AuthorityError
from weft.ca.svid import SvidError, certificates_from_der, check_roots, pem_of
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.settings.private import write_atomically

_FIRST_RETRY = 0.5
_LONGEST_RETRY = 30.0
_log = logging.getLogger("weft.certificate")


class RootSource(Protocol):
    """Where the roots come from: `path` names it, `x509_bundles` follows them and raises SourceError."""

    path: str

    def x509_bundles(self) -> AsyncIterator[Mapping[str, bytes]]:
        """DER roots by the trust domain's SPIFFE ID, again at every change."""
        ...


class IdentityRoots:
    """See the module. `file` is where they are kept. Made before anything is issued, so that what is kept is in force
    from the first certificate on. AuthorityError if the file cannot be read."""

    def __init__(
        self,
        source: RootSource,
        authority: Authority,
        file: Path,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._authority = authority
        self._file = file
        self._clock = clock
        self._sleep = sleep
        self._problems: tuple[Problem, ...] = ()
        self.roots = _kept(file)
        if self.roots:
            authority.believe(self.roots)

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now."""
        return self._problems

    async def run(self) -> None:
        """Follow them for ever; after a failure again with back-off. What was known last stays in force."""
        retry = _FIRST_RETRY
        while True:
            try:
                async for bundles in self._source.x509_bundles():
                    self._take(bundles)
                    self._problems, retry = (), _FIRST_RETRY
            except (SourceError, SvidError, OSError) as error:
                self._tell(error)
            await self._sleep(retry * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load, is no secret
            retry = min(retry * 2, _LONGEST_RETRY)

    def _take(self, bundles: Mapping[str, bytes]) -> None:
        domain = self._authority.trust_domain
        found = bundles.get(f"spiffe://{domain}")
        if found is None:
            others = ", ".join(sorted(name[:100] for name in bundles)[:5]) or "none"
            raise SvidError(f"it has no bundle of the mesh's trust domain {domain}, only: {others}")
        roots = check_roots(certificates_from_der(found), self._clock())
        if roots == self.roots:
            return
        write_atomically(self._file, pem_of(roots), 0o600)
        self.roots = roots
        self._authority.believe(roots)
        _log.info("workloads are believed by %d root(s) of the Workload API at %s", len(roots), self._source.path)

    def _tell(self, error: Exception) -> None:
        known = "what it said last stays in force" if self.roots else "its workloads are not believed yet"
        text = f"the source of identities at {self._source.path}: {error}; {known}"
        if not self._problems or self._problems[0].message != text:
            _log.warning("%s; trying again", text)
        expected = "an answer: see whether its agent runs, and has an entry for the control plane"
        severity = Severity.WARNING if self.roots else Severity.ERROR
        self._problems = (Problem(severity, "identity-source-unavailable", text, Origin("weft"), expected=expected),)


def _kept(file: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(file.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise AuthorityError(f"cannot read {file}: {error}; remove it to ask the source of identities anew") from error
