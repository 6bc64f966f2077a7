"""What an OpenID provider says of itself, as far as gateways use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenIdEndpoints:
    """The endpoints of the provider `issuer` (its URL as a policy writes it)."""

    issuer: str
    authorization: str
    token: str
    end_session: str = ""
