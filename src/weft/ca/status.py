"""Where an authority stands, for people and programs: of the one that runs, or of the files of one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from weft.ca.protocol import AuthorityError
from weft.ca.rotation import Phase, Rotation
from weft.ca.slots import Slots
from weft.model.instants import instant
from weft.settings.private import PermissionsError


@dataclass(frozen=True, slots=True)
class RootState:
    """The roots of one generation, and whether weft has the key; `ends` in epoch seconds."""

    certificate: x509.Certificate
    ends: float
    made_by_weft: bool


@dataclass(frozen=True, slots=True)
class AuthorityState:
    """All that is told. `fingerprint` is what agents pin, `server_ends` when the control plane's own certificate ends
    (0: there is none), `awaited` whose proxies a rotation waits for, and why."""

    rotation: Rotation
    roots: Mapping[int, RootState]
    issuer: x509.Certificate | None
    trust_domain: str
    fingerprint: str
    server_ends: float = 0.0
    awaited: Mapping[str, str] = field(default_factory=dict)


def told(state: AuthorityState) -> dict[str, object]:
    """All of it, as JSON."""
    rotation, issuer = state.rotation, state.issuer
    moving = rotation.phase is not Phase.STEADY
    overlapping = rotation.phase is Phase.ISSUING and rotation.overlap > 0
    found: dict[str, object] = {
        "phase": rotation.phase.value,
        "since": instant(rotation.since) if rotation.since else None,
        "returning": rotation.returning,
        "abortable": rotation.abortable,
        "both_trusted_until": instant(rotation.since + rotation.overlap) if overlapping else None,
        "waits_no_longer_than": instant(rotation.gives_up) if moving else None,
        "awaited": [{"workload": key, "reason": why} for key, why in sorted(state.awaited.items())],
        "trust_domain": state.trust_domain,
        "fingerprint": state.fingerprint,
        "roots": [_root(number, state.roots[number], rotation) for number in sorted(state.roots)],
        "intermediate": None,
        "control_plane": {"not_after": instant(state.server_ends) if state.server_ends else None},
    }
    if issuer is not None:
        found["intermediate"] = {
            "subject": issuer.subject.rfc4514_string(),
            "fingerprint": _fingerprint(issuer),
            "not_after": instant(issuer.not_valid_after_utc.timestamp()),
        }
    return found


def state_of_files(slots: Slots) -> AuthorityState:
    """What the files of an authority say while no control plane runs; nothing is changed. AuthorityError if there are
    none, or they cannot be used."""
    try:
        kept = slots.state()
        rotation = kept.rotation
        found = {number: slots.roots(number) for number in {rotation.source, rotation.target}}
        issuer = slots.issuer(rotation.signs)
        waiting = slots.request_key() is not None
    except (PermissionsError, OSError) as error:
        raise AuthorityError(f"cannot use the CA: {error}") from error
    roots = {
        number: RootState(one[0][0], min(each.not_valid_after_utc.timestamp() for each in one[0]), one[1] is not None)
        for number, one in found.items()
        if one is not None
    }
    if rotation.serves not in roots:
        why = "it waits for the answer to its request (weft ca install)" if waiting else "it is made at the first start"
        raise AuthorityError(f"there is no CA in {slots.directory} yet: {why}")
    top = roots[rotation.serves].certificate
    return AuthorityState(
        rotation,
        roots,
        issuer[0].certificate if issuer else None,
        _trust_domain(kept.trust_domain, top),
        _fingerprint(top),
    )


def _trust_domain(kept: str, root: x509.Certificate) -> str:
    """The one that was kept, else the one that the root of weft's names."""
    if kept:
        return kept
    try:
        names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if len(uris) == 1 else ""


def _root(number: int, root: RootState, rotation: Rotation) -> dict[str, object]:
    return {
        "generation": number,
        "subject": root.certificate.subject.rfc4514_string(),
        "fingerprint": _fingerprint(root.certificate),
        "not_after": instant(root.ends),
        "made_by_weft": root.made_by_weft,
        "trusted": number in rotation.trusted,
        "signs": number == rotation.signs,
    }


def _fingerprint(certificate: x509.Certificate) -> str:
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"
