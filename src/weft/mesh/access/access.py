"""Access: everything that is asked of a caller before one port of an application, or at a gateway."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.access.guard import Authorizer
from weft.mesh.access.limits import LimitPolicy
from weft.mesh.access.policy import AccessPolicy, Action, Closed
from weft.mesh.access.tokens import TokenPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """What is asked at one place. Compared by identity; equal ones of many ports are one object.

    Order: `closed` refuses everything. Then CUSTOM, DENY and ALLOW `policies`: a call passes if every provider that is
    asked agrees, no DENY rule matches, and there is no ALLOW policy or one of their rules matches. AUDIT and dry-run
    policies decide nothing. Where a policy that decides looks at the host, calls whose host is not well formed are
    refused (`is_well_formed_host`). Of several rules that match, the first by `AccessPolicy.rule_id` is named.

    `port` is what conditions on the port are compared with, whatever port a proxy really listens on; namespaces and
    service accounts are those of `trust_domain`. `authorizers` are those that enforced CUSTOM policies name.

    Before all that, the request's tokens are checked by `tokens`, and what they say is known. `reroutes`: routes look
    at what tokens say, so they are chosen again then.

    After all that a request counts against `limits`; with `tagged` only against those that its route says (see
    `Rule.limited`).
    """

    policies: tuple[AccessPolicy, ...] = ()
    closed: tuple[Closed, ...] = ()
    port: int = 0
    trust_domain: str = ""
    tokens: tuple[TokenPolicy, ...] = ()
    reroutes: bool = False
    authorizers: tuple[Authorizer, ...] = ()
    limits: tuple[LimitPolicy, ...] = ()
    tagged: bool = False

    @property
    def refuses(self) -> bool:
        """Whether somebody may be refused."""
        decided = any(self.enforced(each) for each in (Action.DENY, Action.ALLOW, Action.CUSTOM))
        return bool(self.closed or decided)

    def enforced(self, action: Action) -> tuple[AccessPolicy, ...]:
        """The policies of one action that are no dry runs."""
        return tuple([policy for policy in self.policies if policy.action is action and not policy.dry_run])


OPEN = Access()
"""Nothing is asked but what mutual TLS asks."""
