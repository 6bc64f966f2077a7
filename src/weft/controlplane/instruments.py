"""The control plane's instruments: what it counts and times of its own work while it does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from weft.aio.lateness import Lateness
from weft.discovery.status import short_type
from weft.telemetry.metrics import Family, Registry, gauge
from weft.telemetry.process import process_families
from weft.xds.snapshot import TYPES

_CONVERGENCE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Instruments:
    """Counters and histograms by what they count. It is the hub's meter (`weft.discovery.meter.Meter`)."""

    def __init__(self) -> None:
        registry = self.registry = Registry()
        self.pushes = registry.counter("weft_xds_pushes_total", "Responses sent to proxies, by resource type.", "type")
        self.push_bytes = registry.counter("weft_xds_push_bytes_total", "Bytes of these responses.", "type")
        self.nacks = registry.counter("weft_xds_nacks_total", "Resources that proxies refused, by type.", "type")
        for kind in map(short_type, TYPES):  # a first refusal must be seen as one more than none
            self.nacks.add(kind, amount=0)
        self.convergence = registry.histogram(
            "weft_xds_convergence_seconds",
            "Time from a publication until the last connected proxy that it concerns has answered all of it.",
            bounds=_CONVERGENCE,
        )
        self.unconverged = registry.counter(
            "weft_xds_unconverged_total", "Publications that some proxy did not answer within 60 s."
        )
        self.builds = registry.histogram("weft_build_seconds", "Time to compile a revision and offer it to proxies.")
        self.failed_builds = registry.counter("weft_build_failures_total", "Revisions that could not be compiled.")
        self.store = registry.histogram("weft_store_seconds", "Time of the store's operations.", "operation")
        lag = registry.histogram(
            "weft_event_loop_lag_seconds", "How late the event loop woke up; observed twice a second.", bounds=_LAG
        )
        self.lateness = Lateness(lag.observe)
        self.requests = registry.counter("weft_api_requests_total", "Answers of the APIs by status.", "api", "code")
        self.decisions = registry.counter(
            "weft_rate_limit_decisions_total",
            "Requests that shared rate limits allowed or limited, or whose counts could not be asked (failed).",
            "policy",
            "limit",
            "verdict",
            "mode",
        )
        registry.read(process_families)

    def answered(self, api: str) -> Callable[[int], None]:
        """What counts the answers of an API by status."""
        return lambda status: self.requests.add(api, str(status))

    def rate_limited(self, policy: str, limit: str, verdict: str, mode: str) -> None:
        """One decision about a shared rate limit."""
        self.decisions.add(policy, limit, verdict, mode)

    def stored(self, database: Path) -> None:
        """Tell the size of the store's files whenever somebody reads."""

        def size() -> Iterable[Family]:
            files = (database.with_name(database.name + end) for end in ("", "-wal"))
            total = sum(path.stat().st_size for path in files if path.exists())
            yield gauge("weft_store_size_bytes", "Size of the store's files.", total)

        self.registry.read(size)

    def certified(self, not_after: Callable[[], float]) -> None:
        """Tell when the control plane's own certificate ends whenever somebody reads."""
        text = "When the control plane's own certificate ends, in seconds since the epoch."
        self.registry.read(lambda: [gauge("weft_server_certificate_expiry_timestamp_seconds", text, not_after())])

    def sent(self, type_url: str, size: int) -> None:
        """See `Meter`."""
        kind = short_type(type_url)
        self.pushes.add(kind)
        self.push_bytes.add(kind, amount=size)

    def refused(self, type_url: str) -> None:
        """See `Meter`."""
        self.nacks.add(short_type(type_url))

    def converged(self, seconds: float) -> None:
        """See `Meter`."""
        self.convergence.observe(seconds)

    def given_up(self) -> None:
        """See `Meter`."""
        self.unconverged.add()
