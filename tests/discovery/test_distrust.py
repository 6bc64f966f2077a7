"""Streams whose trust has ended, and what a proxy without a registration is not told."""

from __future__ import annotations

import time

import pytest

from discovery.test_hub import IDENTITY, WORKLOADS, Client, Table, serving, table
from support.discovery import layer, resource
from weft.discovery.hub import Hub
from weft.discovery.peer import Peer
from weft.discovery.stream import StreamEndedError
from weft.testing.polling import eventually
from weft.xds.snapshot import LISTENER, SECRET, XdsSnapshot, with_secrets_of

FRONT = "web.shop"


def secrets(**versions: str) -> Table:
    found = [resource(SECRET, name, version) for name, version in versions.items()]
    return {FRONT: (layer(resource(LISTENER, "l", "1")), layer(*found))}


async def test_the_stream_of_a_peer_that_is_distrusted_ends_and_is_offered_nothing() -> None:
    distrusted: set[str] = set()
    async with serving(distrusts=lambda peer: "it is revoked" if peer.name in distrusted else "") as hub:
        client, other = Client(hub), Client(hub, "api.shop")
        await eventually("both are current", lambda: client.current and other.current)
        distrusted.add(FRONT)
        await hub.publish(table("2"), WORKLOADS, 2)
        assert await client.task == "PERMISSION_DENIED"
        assert set(client.held[next(iter(client.held))].values()) == {"1"}
        await eventually("the other goes on", lambda: other.current)
        with pytest.raises(StreamEndedError, match="it is revoked"):
            hub.attach(Peer(FRONT, IDENTITY, time.time() + 3600), WORKLOADS[FRONT], delta=True)


async def held_after(hub: Hub[Table], client: Client, mesh: Table, registered: bool, revision: int) -> dict[str, str]:
    """The secrets of a client once it has acknowledged `mesh`."""
    workloads = WORKLOADS if registered else {name: one for name, one in WORKLOADS.items() if name != FRONT}
    await hub.publish(mesh, workloads, revision)
    await eventually("it is current", lambda: client.current)
    return dict(client.held[SECRET])


async def test_a_proxy_whose_lease_has_ended_keeps_its_stream_and_gets_no_secret() -> None:
    async with serving() as hub:
        await hub.publish(secrets(shop="1"), WORKLOADS, 2)
        client = Client(hub)
        client.held[SECRET] = {}
        client.ask(SECRET, "shop", "blog")
        await eventually("it has the secret", lambda: client.held[SECRET] == {"shop": "1"})
        changed = secrets(shop="2", blog="1")
        assert await held_after(hub, client, changed, False, 3) == {"shop": "1"}, "neither changed nor new ones"
        assert await held_after(hub, client, secrets(shop="3", blog="1"), False, 4) == {"shop": "1"}
        assert await held_after(hub, client, secrets(), False, 5) == {}, "what is withdrawn goes"
        await hub.publish(secrets(shop="4", blog="1"), WORKLOADS, 6)
        await eventually("registered again it is told", lambda: client.held[SECRET] == {"shop": "4", "blog": "1"})


def test_secrets_of_before_are_the_very_same_snapshot_where_none_changed() -> None:
    same = secrets(shop="1")[FRONT]
    before, after = XdsSnapshot(1, same), XdsSnapshot(2, (layer(resource(LISTENER, "l", "2")), same[1]))
    assert with_secrets_of(before, after) is after
