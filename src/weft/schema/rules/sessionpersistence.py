"""Rules of sessionPersistence, and what no proxy can keep of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, missing
from weft.schema.kinds.sessionpersistence import SessionPersistence


def session(spec: SessionPersistence) -> Iterator[Finding]:
    """A permanent cookie says for how long. Whatever else would end a session, the proxies had to keep note of it."""
    permanent = spec.cookie_config is not None and spec.cookie_config.lifetime_type == "Permanent"
    if spec.type == "Header" and spec.cookie_config is not None:
        yield conflicting(("cookieConfig",), "'cookieConfig' does not belong to type Header", "type: Cookie")
    elif permanent and not spec.absolute_timeout:
        yield missing((), "a permanent cookie is kept for some time", "absoluteTimeout")
    elif not permanent and spec.absolute_timeout is not None:
        yield Finding(
            ("absoluteTimeout",),
            "a session without a permanent cookie is not supported by weft with an end: nobody keeps note of it",
            "cookieConfig: {lifetimeType: Permanent}, or no absoluteTimeout",
            code="unsupported-value",
        )


RULES: Mapping[type, tuple[Rule, ...]] = {SessionPersistence: (session,)}
