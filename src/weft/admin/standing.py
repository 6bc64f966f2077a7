"""The standing of a workload at the agent API: whether it may have certificates, and which of them prove anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.admin.replies import Refused, instant
from weft.model.distrust import Distrust, Ended, Trust, distrust_key, trust_after
from weft.model.workload import Workload
from weft.sources.distrust import DISTRUST_BUCKET, distrust_from_value
from weft.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """The ends of trust that concern a workload, as the store has them. `expect` holds as long as they are all."""

    ends: tuple[Distrust, ...] = ()
    expect: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def trust(self) -> Trust:
        """What a certificate that is issued now carries."""
        return trust_after(self.ends)

    @property
    def since(self) -> float:
        """When trust ended last: what was made before proves nothing (epoch seconds)."""
        return max((one.time for one in self.ends), default=0.0)

    def check(self, about: str) -> None:
        """Refused (403) if it may have no certificate at all."""
        for one in self.ends:
            if one.ended is Ended.REVOKED:
                why = f": {one.reason}" if one.reason else ""
                text = f"{one} is revoked since {instant(one.time)}{why}; weft identity restore lets it come back"
                raise Refused(403, "identity-revoked", text, about=about)

    def accepts(self, trust: Trust) -> bool:
        """Whether a certificate with these numbers still proves anything."""
        return not any(one.refuses(trust) for one in self.ends)

    def check_certificate(self, trust: Trust, about: str) -> None:
        """Refused (403) if a certificate with these numbers proves nothing any more."""
        self.check(about)
        if not self.accepts(trust):
            raise Refused(403, "trust-ended", self.ended_text(), about=about)

    def ended_text(self) -> str:
        """What to tell the holder of a certificate from before."""
        one = max(self.ends, key=lambda each: each.time)
        what = "was removed" if one.ended is Ended.REMOVED else "was revoked and restored"
        return (
            f"{one} {what} at {instant(one.time)}: certificates from before are refused; join anew with a token made "
            "since, weft token create"
        )

    @property
    def removed(self) -> bool:
        """Whether somebody removed the workload, and it has not registered anew since as far as this tells."""
        return any(one.ended is Ended.REMOVED for one in self.ends)


async def read_standing(store: Store, workload: Workload) -> Standing:
    """The standing of `workload` now."""
    return await read_standing_of(store, workload.namespace, workload.name, workload.service_account)


async def read_standing_of(store: Store, namespace: str, name: str, service_account: str) -> Standing:
    """The standing of a workload with these names; with no service account, of the workload alone."""
    keys = [distrust_key("workload", namespace, name)]
    if service_account:
        keys.append(distrust_key("service-account", namespace, service_account))
    _, entries = await store.read(DISTRUST_BUCKET, keys)
    found = {entry.key: entry for entry in entries}
    expect = {(DISTRUST_BUCKET, key): found[key].revision if key in found else 0 for key in keys}
    return Standing(tuple(distrust_from_value(entry.value) for entry in entries), expect)
