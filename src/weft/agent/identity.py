"""Which identity an agent shows to a control plane on another host: its certificate, or a join token. Pure.

A given fingerprint wins over files of another root, and an expired certificate is no certificate. In these states a
join token is shown instead; without one the agent cannot go on, and says which state it is in and what to do.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave: the fingerprint of the root (``sha256:HEX``, or empty), and whether there is a join token."""

    fingerprint: str = ""
    token: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The certificate on disk: SHA-256 of the roots beside it (hex), and its own times in epoch seconds."""

    roots: frozenset[str]
    not_before: float
    not_after: float


class CertificateState(enum.Enum):
    """What the certificate on disk is worth now."""

    NONE = "there is no certificate yet"
    OTHER_ROOT = "its certificate is of another authority than the given fingerprint"
    EXPIRED = "its certificate has expired"
    EARLY = "its certificate is not valid yet by this host's clock"
    REFUSED = "its certificate is no longer accepted"
    GOOD = ""


class Means(enum.Enum):
    """By what the agent proves who it is."""

    CERTIFICATE = enum.auto()
    TOKEN = enum.auto()
    NOTHING = enum.auto()


@dataclass(frozen=True, slots=True)
class Choice:
    """The means, and why it is not the certificate (empty if it is)."""

    means: Means
    why: str = ""


def certificate_state(given: Given, held: Held | None, now: float, *, refused: bool = False) -> CertificateState:
    """The state of `held` at `now` (epoch seconds); `refused`: the control plane did not accept it."""
    if held is None:
        return CertificateState.NONE
    if given.fingerprint and normal_fingerprint(given.fingerprint) not in held.roots:
        return CertificateState.OTHER_ROOT
    if now >= held.not_after:
        return CertificateState.EXPIRED
    if now < held.not_before:
        return CertificateState.EARLY
    return CertificateState.REFUSED if refused else CertificateState.GOOD


def choose_identity(given: Given, held: Held | None, now: float, *, refused: bool = False) -> Choice:
    """The means to show now. With a good certificate a token is not shown: it may have been used for just that one."""
    state = certificate_state(given, held, now, refused=refused)
    if state is CertificateState.GOOD:
        return Choice(Means.CERTIFICATE)
    return Choice(Means.TOKEN if given.token else Means.NOTHING, _reason(state, held))


def normal_fingerprint(text: str) -> str:
    """``sha256:AB:CD...`` and the like as lower-case hex."""
    return text.lower().removeprefix("sha256:").replace(":", "")


def _reason(state: CertificateState, held: Held | None) -> str:
    text = str(state.value)
    if held is not None and state is CertificateState.EXPIRED:
        return f"{text} at {_time(held.not_after)}"
    if held is not None and state is CertificateState.EARLY:
        return f"{text} (it begins at {_time(held.not_before)}: is the clock right?)"
    return text


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
