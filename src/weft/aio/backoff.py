"""Back-off: how long to wait before the next try, longer each time and never the same for two who fail together."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Seconds: the first wait, and the longest. `chance` gives a number between 0 and 1."""

    first: float
    longest: float
    _failures: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def next(self, at_least: float = 0.0) -> float:
        """How long to wait after one more failure: between half of the wait and all of it."""
        wait = min(self.longest, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(at_least, wait * (0.5 + self.chance.random() / 2))

    def lasted(self, seconds: float) -> None:
        """What was begun ended after so long, without a fault: if it was longer than any wait, it went well."""
        if seconds > self.longest:
            self.reset()

    def reset(self) -> None:
        """It went well."""
        self._failures = 0
