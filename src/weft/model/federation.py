"""How it stands with each federated trust domain, as people and programs are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootState:
    """A root: ``sha256:HEX`` of it, and when it ends (epoch seconds)."""

    fingerprint: str
    not_after: float


@dataclass(frozen=True, slots=True)
class DomainState:
    """`state` is ``trusted``, ``stale`` (trusted, but what was fetched last cannot be fetched again), ``expired`` or
    ``missing``. `endpoint` is where the bundle comes from (empty: the document), `fetched` when it was fetched last
    (epoch seconds, None: never), `error` why the last try failed; `token_keys` are the ids of keys of tokens."""

    trust_domain: str
    state: str
    endpoint: str
    roots: tuple[RootState, ...]
    token_keys: tuple[str, ...]
    fetched: float | None
    error: str
    source: str
