"""Counters in Redis or Valkey, for several control planes: one script on the server, so that nothing comes between.

https://redis.io/docs/latest/develop/interact/programmability/eval-intro/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from weft.counters.counters import CountersAwayError, Taken, Wanted

TIMEOUT = 0.08
"""Seconds that an answer may take: a proxy waits a tenth."""
REST = 0.5
"""Seconds in which a server that did not answer is not asked again, so that nobody queues for it."""
_CONNECTIONS = 16
_PREFIX = "weft:limit:"
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local begins, all = {}, true
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local full = tonumber(redis.call('GET', key) or '0')
  begins[i] = math.max(full, now)
  if burst * interval - (begins[i] - now) < interval * (1 - 1e-9) then all = false end
end
local found = {}
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local room = burst * interval - (begins[i] - now)
  local allowed = room >= interval * (1 - 1e-9)
  if all then
    begins[i] = begins[i] + interval
    room = room - interval
    redis.call('SET', key, string.format('%.6f', begins[i]), 'PX', math.ceil((begins[i] - now) * 1000) + 1000)
  end
  local reset = allowed and begins[i] - now or interval - room
  found[i] = {allowed and 1 or 0, math.max(math.floor(room / interval + 1e-6), 0), string.format('%.6f', reset)}
end
return found
"""


class RedisCounters:
    """See `Counters`. `url` is ``redis://`` or ``rediss://`` (TLS), perhaps with a password; an answer
    may take `timeout` seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic, timeout: float = TIMEOUT) -> None:
        self._clock = clock
        self._rests_until = 0.0
        pool = BlockingConnectionPool.from_url(
            url, max_connections=_CONNECTIONS, timeout=timeout, socket_timeout=timeout, socket_connect_timeout=timeout
        )
        self._redis = Redis(connection_pool=pool)
        self._take = self._redis.register_script(_SCRIPT)

    async def take(self, wanted: Sequence[Wanted]) -> list[Taken]:
        """One of each, if each has one left, otherwise none. Raises CountersAwayError."""
        if self._clock() < self._rests_until:
            raise CountersAwayError("the store of counts did not answer a moment ago")
        keys = [_PREFIX + each.key for each in wanted]
        arguments = [number for each in wanted for number in (f"{each.interval:.9f}", each.burst)]
        try:
            found = await self._take(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = self._clock() + REST
            raise CountersAwayError(f"the store of counts does not answer: {type(error).__name__}") from error
        return [Taken(bool(allowed), int(remaining), float(reset)) for allowed, remaining, reset in found]

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
