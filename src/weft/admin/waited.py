"""The ``wait`` member of an answer: who has confirmed a change, and who has not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from weft.admin.context import ApiContext
from weft.admin.replicas.everywhere import Everywhere, confirmed_everywhere
from weft.admin.replicas.rows import Awaited
from weft.discovery.status import Nack
from weft.model.document import ObjectKey
from weft.model.origin import Origin


async def confirmation(
    context: ApiContext, store_revision: int, timeout: float, changed: Iterable[ObjectKey] = ()
) -> dict[str, object]:
    """That of what was written to the store at a revision, which is that of all replicas that share it. For `changed`
    see `weft.admin.confirmation.confirmed_here`."""
    end = asyncio.get_running_loop().time() + timeout
    return waited(await confirmed_everywhere(context, Awaited(store=store_revision), end, changed))


def waited(everywhere: Everywhere) -> dict[str, object]:
    """Who confirmed, who refused (with Envoy's words), who has not answered yet, and who has not answered anything for
    so long that nobody waits for it. ``untried`` are documents that were not tried on an Envoy in time; ``unknown``
    replicas of the control plane of whose proxies nothing is known, which are ``pending`` by that; ``at`` says where
    proxies are that are at another replica than the one that is asked, and have not confirmed."""
    found = everywhere.found
    pending = {name: at for at, one in found.items() for name in one.pending} | dict.fromkeys(everywhere.moving, "")
    stuck = {name: at for at, one in found.items() for name in one.stuck if name not in pending}
    nacked = [_refusal(nack, at) for at, one in found.items() for nack in one.nacked]
    others = {*pending, *stuck, *(str(nack["proxy"]) for nack in nacked)}
    confirmed = dict.fromkeys(name for one in found.values() for name in one.confirmed if name not in others)
    answer: dict[str, object] = {
        "confirmed": list(confirmed),
        "nacked": nacked,
        "pending": [*pending, *(f"replica {one.replica}" for one in everywhere.unknown)],
        "stuck": list(stuck),
    }
    if untried := _at_replicas({at: one.untried for at, one in found.items()}):
        answer["untried"] = untried
    if everywhere.unknown:
        answer["unknown"] = everywhere.unknown
    if at := {name: at for name, at in (stuck | pending).items() if at}:
        answer["at"] = at
    return answer


def unread(everywhere: Everywhere) -> list[str]:
    """The documents that a control plane has not read in time."""
    return _at_replicas({at: one.unread for at, one in everywhere.found.items()})


def _at_replicas(names: Mapping[str, Iterable[str]]) -> list[str]:
    return [f"{name} (replica {at})" if at else name for at, found in names.items() for name in found]


def _refusal(nack: Nack, at: str) -> dict[str, object]:
    return {
        "proxy": nack.proxy,
        "type": nack.type,
        "resource": nack.resource,
        "message": nack.message,
        "origins": [_origin(origin) for origin in nack.origins],
        "taken_by": nack.taken_by,
        "stands_alone": nack.stands_alone,
        **({"replica": at} if at else {}),
    }


def _origin(origin: Origin) -> dict[str, object]:
    return {"source": origin.source, "line": origin.line}
