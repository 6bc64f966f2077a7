"""The vitals of a control plane: lateness, room on the disk, and the ends of its certificates."""

from __future__ import annotations

import os
import time
from pathlib import Path

from weft.admin.vitals import Vitals
from weft.aio.lateness import Lateness
from weft.ca.authority import Authority
from weft.controlplane.certificate import ServerCertificates


class ControlPlaneVitals:
    """Tells them when it is called."""

    def __init__(
        self, lateness: Lateness, directory: Path, authority: Authority, certificates: ServerCertificates
    ) -> None:
        self._lateness = lateness
        self._directory = directory
        self._authority = authority
        self._certificates = certificates
        self._started = time.time()

    def __call__(self) -> Vitals:
        """As they are now."""
        ends = self._authority.expiries()
        server = self._certificates.current.value.not_after
        own = self._authority.own_root
        times = (self._started, ends["root"], ends["intermediate"], server)
        return Vitals(self._lateness.longest, *self._disk(), *times, own)

    def _disk(self) -> tuple[int | None, int | None]:
        """Bytes that are free, and that there are."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return None, None
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
