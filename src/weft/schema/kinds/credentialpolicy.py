"""weft: CredentialPolicy, API keys and passwords that clients of a gateway show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from weft.schema.kinds.edge import EdgeTarget, SecretName
from weft.schema.scalars import CookieName, HeaderName, Length, OneOf

QueryName = Annotated[str, Length(1, 256)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySources:
    """Where a key is looked for: headers first (``authorization`` without its ``Bearer``), then parameters of the
    query, then cookies."""

    headers: Annotated[tuple[HeaderName, ...], Length(0, 16)] = ()
    params: Annotated[tuple[QueryName, ...], Length(0, 16)] = ()
    cookies: Annotated[tuple[CookieName, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """Keys from Secrets, whose entries are clients: the name of each is the client's, its value is the key. With
    `sanitize` the application does not see the key; `forwardClientIDHeader` tells it which client this is."""

    from_: KeySources = field(metadata={"json": "from"})
    secret_refs: Annotated[tuple[SecretName, ...], Length(1, 32)]
    forward_client_id_header: HeaderName = field(default="", metadata={"json": "forwardClientIDHeader"})
    sanitize: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """Users and hashes of passwords from a Secret, at its key ``.htpasswd``: lines of ``htpasswd -s`` (SHA)."""

    users: SecretName
    forward_username_header: HeaderName = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialPolicySpec:
    """Clients show an API key, or a user and password, before anything else of the gateway looks at their requests.

    A policy of an HTTPRoute takes the place of its Gateway's. What cannot be understood, or names a Secret that is not
    there, lets nobody in.
    """

    one_of: ClassVar = OneOf(("api_key", "basic_auth"))
    target_refs: Annotated[tuple[EdgeTarget, ...], Length(1, 16)]
    api_key: ApiKey | None = None
    basic_auth: BasicAuth | None = None
