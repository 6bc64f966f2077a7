"""CredentialPolicy: the keys and passwords of clients, from Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from weft.mesh.access.guard import ApiKeys, Part, Passwords
from weft.mesh.access.policy import Closed
from weft.mesh.policies.vault import Vault
from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.credentialpolicy import ApiKey, BasicAuth, CredentialPolicySpec

HTPASSWD = ".htpasswd"
_SHA = "{SHA}"
_SHA_BYTES = 20


def compile_credentials(document: Document[CredentialPolicySpec], vault: Vault) -> tuple[Part, tuple[Problem, ...]]:
    """What clients show; nobody is let in where it cannot be known."""
    spec = document.spec
    part: ApiKeys | Passwords | None = None
    problems: list[Problem] = []
    if spec.api_key is not None:
        part, problems = _keys(document, spec.api_key, vault)
    elif spec.basic_auth is not None:
        part, problems = _passwords(document, spec.basic_auth, vault)
    return part or Closed(document.at(), "its credentials are not in order", document.key), tuple(problems)


def _keys(document: Document[CredentialPolicySpec], spec: ApiKey, vault: Vault) -> tuple[ApiKeys | None, list[Problem]]:
    clients: dict[str, str] = {}
    problems: list[Problem] = []
    for index, name in enumerate(spec.secret_refs):
        path: FieldPath = ("spec", "apiKey", "secretRefs", index)
        secret = vault.find(document, path, name)
        if isinstance(secret, Problem):
            problems.append(secret)
            continue
        for client, value in sorted(secret.spec.data.items()):
            key = _key(value)
            if not key or client in clients or key in clients.values():
                message = f"{_why(key, client in clients)} for client '{client}' in {secret.key}, so nobody is let in"
                expected = "one key for each client, of printable characters without spaces"
                problems.append(problem_at(document, path, "bad-credential", message, expected))
            else:
                clients[client] = key
    if not clients and not problems:
        path = ("spec", "apiKey", "secretRefs")
        message = "its Secrets have no entries, so nobody is let in"
        problems.append(problem_at(document, path, "bad-credential", message, "an entry for each client"))
    if problems:
        return None, problems
    places = spec.from_
    names = tuple(name.lower() for name in places.headers)
    found = ApiKeys(
        tuple(clients.items()), names, places.params, places.cookies, spec.forward_client_id_header, spec.sanitize
    )
    return found, []


def _passwords(
    document: Document[CredentialPolicySpec], spec: BasicAuth, vault: Vault
) -> tuple[Passwords | None, list[Problem]]:
    path: FieldPath = ("spec", "basicAuth", "users")
    secret = vault.find(document, path, spec.users)
    if isinstance(secret, Problem):
        return None, [secret]
    users = secret.spec.data.get(HTPASSWD, b"")
    wrong = next(_wrong_lines(users), "")
    if wrong or not users.strip():
        message = f"{secret.key} has {wrong or f'nothing at {HTPASSWD}'}, so nobody is let in"
        expected = f"{HTPASSWD} with lines as `htpasswd -s` writes them, such as user:{_SHA}…"
        return None, [problem_at(document, path, "bad-credential", message, expected)]
    return Passwords(users, spec.forward_username_header), []


def _key(value: bytes) -> str:
    """A key as it stands in a header; empty if it cannot."""
    text = value.decode("ascii", "replace").rstrip("\r\n")
    return text if text.isascii() and text.isprintable() and " " not in text else ""


def _why(key: str, twice: bool) -> str:
    if not key:
        return "there is no key that a header can hold"
    return "there are two keys" if twice else "the key of another client stands"


def _wrong_lines(users: bytes) -> Iterator[str]:
    """What Envoy would refuse: it takes names and SHA-1 in base64, each name once. Lines are told by number only."""
    seen: set[str] = set()
    for number, line in enumerate(users.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.partition(":")
        if not colon or not user or not hashed.startswith(_SHA) or not _is_sha(hashed.removeprefix(_SHA)):
            yield f"at {HTPASSWD} a line {number} that is no user with a SHA hash"
        if user in seen:
            yield f"at {HTPASSWD} a user twice (line {number})"
        seen.add(user)


def _is_sha(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _SHA_BYTES
    except (binascii.Error, ValueError):
        return False
