"""Rights at an API server: those that rules give, and whether somebody has them.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.cluster.reading import all_of, member
from weft.findings.cluster.facts import RightFact
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.server_objects import decoded

_REVIEWS = "/apis/authorization.k8s.io/v1"
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb for one resource (``*``: all of the group; ``*/status``: their statuses), in one namespace (empty: in
    all), for the object `name` (empty: for all)."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f"/{self.name}" if self.name else ""
        return f"{self.verb} {resource}{named}" + (f" in {self.namespace}" if self.namespace else "")


def rights_of(rules: Iterable[Mapping[str, Any]], namespace: str = "") -> list[Right]:
    """Every right that the rules of a role give; in `namespace` if it is one's."""
    return [
        Right(group, resource, verb, namespace, name)
        for rule in rules
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule.get("verbs", ())
        for name in rule.get("resourceNames") or ("",)
    ]


async def granted(client: ApiClient, rights: Iterable[Right], account: str = "") -> tuple[RightFact, ...]:
    """Whether who asks, or a service account (``NAMESPACE/NAME``), has these rights. ApiError: whoever asks may not ask
    about others, or the server does not answer."""
    wanted = sorted(set(rights))
    answers = await all_of(*(_review(client, each, account) for each in wanted))
    return tuple(RightFact(str(right), answer) for right, answer in zip(wanted, answers, strict=True))


async def _review(client: ApiClient, right: Right, account: str) -> bool:
    resource, _, part = right.resource.partition("/")
    asked = {"group": right.group, "resource": resource, "verb": right.verb, "version": "*"}
    also = {"subresource": part, "namespace": right.namespace, "name": right.name}
    spec: dict[str, Any] = {"resourceAttributes": asked | {key: value for key, value in also.items() if value}}
    kind = "SelfSubjectAccessReview"
    if account:
        kind, (namespace, _, name) = "SubjectAccessReview", account.partition("/")
        spec["user"] = f"system:serviceaccount:{namespace}:{name}"
        groups = ("serviceaccounts", f"serviceaccounts:{namespace}", "authenticated")
        spec["groups"] = [f"system:{each}" for each in groups]
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = await client.send("POST", f"{_REVIEWS}/{kind.lower()}s", msgspec.json.encode(body))
    return member(decoded(answer), "status", "allowed") is True


async def granted_or_unknown(
    client: ApiClient, rights: Iterable[Right], account: str, unread: dict[str, None]
) -> tuple[RightFact, ...]:
    """As `granted`; where whoever asks may not ask, that is noted in `unread`."""
    try:
        return await granted(client, rights, account)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        unread["rights of the control plane's account"] = None
        return ()
