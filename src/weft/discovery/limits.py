"""Limits of the xDS server: what one peer, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `response_bytes` is the size at which a delta response is cut into several; one response per type is in flight,
    so it also bounds what a stuck proxy can pile up. `flight_bytes` bounds what is being written to all proxies
    together; responses of up to `small_response` neither wait for their turn nor count, others count for `turn` at
    most. `batch` is the number of resources from which on a first load is sent as a whole, as one value that all
    streams share. `request_burst` and `request_rate` count requests that are not the ACK of the response in flight,
    names, and bytes, `kept_bytes` the names that it has us remember, for one proxy over all its streams.
    A connection is pinged every `keepalive` seconds in a small mesh, up to `longest_keepalive` in a large one, and is
    closed if there is no answer for `keepalive_timeout`, which is long: an Envoy that is busy is not gone.
    `connection_age` must stay well below the life of client certificates: Envoy uses a renewed certificate only for
    a new connection. `connections` counts also those that have not proven anything yet, and is the most: there are
    twice as many as proxies are registered, and half of `fewest_connections` for strangers, in powers of two from
    `fewest_connections` on. A proxy that left is counted on for `reconnect`; one that was registered before this
    process began, for `restart`, which must be longer than Envoy's longest pause between attempts to connect.
    """

    connections: int = 12_000
    fewest_connections: int = 1024
    streams: int = 10_000
    streams_per_proxy: int = 8
    types: int = 16
    names: int = 100_000
    name_bytes: int = 1024
    kept_bytes: int = 32 << 20
    message_bytes: int = 4 << 20
    response_bytes: int = 1 << 20
    flight_bytes: int = 64 << 20
    small_response: int = 64 << 10
    batch: int = 32
    request_burst: int = 500
    request_rate: float = 100.0
    first_request: float = 30.0
    turn: float = 2.0
    write: float = 60.0
    patience: float = 10.0
    acknowledge: float = 90.0
    keepalive: float = 5.0
    longest_keepalive: float = 30.0
    keepalive_timeout: float = 10.0
    connection_age: float = 1800.0
    connection_idle: float = 60.0
    connection_grace: float = 5.0
    handshake: float = 10.0
    streams_per_connection: int = 16
    not_entitled: float = 5.0
    reconnect: float = 1.0
    restart: float = 6.0
    problems: int = 1000

    def room_for(self, proxies: int) -> int:
        """How many connections there are for so many registered proxies. It grows in steps: each is a new listener."""
        room = self.fewest_connections
        while room < 2 * proxies + self.fewest_connections // 2:
            room *= 2
        return min(room, self.connections)

    def listening(self, proxies: int) -> Limits:
        """What a listener for so many registered proxies is made with: the more there are, the rarer are pings."""
        room = self.room_for(proxies)
        keepalive = min(self.keepalive * room / self.fewest_connections, self.longest_keepalive)
        return replace(self, connections=room, keepalive=keepalive)
