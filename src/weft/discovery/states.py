"""What a session knows of one resource at its client: a table of states. Pure.

=========  =======================================  ======  =====  ========  =======  ========  =======
state      the client                               news    sent   accepted  refused  returned  repeat
=========  =======================================  ======  =====  ========  =======  ========  =======
HELD       holds what it should                     rest    .      .         .        .         again
MISSING    holds nothing, or nobody knows what      rest    SENT   .         .        .         again
CHANGED    holds another version                    rest    SENT   .         .        .         again
REPEAT     should hold it, and is to be sent it     again   SENT   again     .        .         REPEAT
LEAVING    holds what is gone from the snapshot     rest    SENT   .         .        .         again
SENT       was just sent what it should hold        flight  .      HELD      REFUSED  again     REPEAT
OVERTAKEN  was just sent something else             flight  .      rest      rest     again     REPEAT
REFUSED    refuses what it should hold              rest    .      .         .        .         REFUSED
=========  =======================================  ======  =====  ========  =======  ========  =======

Events: *news*, the snapshot now says something else; *sent*, it was put into a response; that response was *accepted*,
*refused* because of this resource, or *returned* (refused because of others: the client may have applied this one, or
not); *repeat*, the client waits for it again, also if it is on the way (it asked for what it may hold already, or the
cluster that an endpoint set belongs to was sent again): when that response is accepted the client holds it, and is sent
it again all the same.

``rest`` is the state that follows from what the client holds and what it should hold (`at_rest`). ``again`` has to be
sent whatever the client holds: MISSING if it held nothing, LEAVING if the resource is gone, else REPEAT; but a REPEAT
that is on the way stays one, whatever the news. ``flight`` is SENT if what was sent is what the client should hold now,
else OVERTAKEN. ``.`` cannot happen. A HELD resource has no record: a session remembers nothing of what is as it should
be.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from weft.xds.snapshot import Resource

ABSENT = ""
"""As a version: the client is known to hold nothing by that name."""
UNKNOWN = "?"
"""As a version: nothing was said about that name on this stream yet."""
NEVER_HELD = (ABSENT, UNKNOWN)


class State(Enum):
    """See the module."""

    HELD = "held"
    MISSING = "missing"
    CHANGED = "changed"
    REPEAT = "repeat"
    LEAVING = "leaving"
    SENT = "sent"
    OVERTAKEN = "overtaken"
    REFUSED = "refused"


ON_THE_WAY = (State.SENT, State.OVERTAKEN)
DUE = (State.MISSING, State.CHANGED, State.REPEAT, State.LEAVING)


def at_rest(version: str, target: Resource | None) -> State:
    """The state of a resource that is not on the way: the client holds `version` and should hold `target`."""
    if target is None:
        if version == UNKNOWN:
            return State.MISSING
        return State.HELD if version == ABSENT else State.LEAVING
    if version == target.version:
        return State.HELD
    return State.MISSING if version in NEVER_HELD else State.CHANGED


def same(one: Resource | None, other: Resource | None) -> bool:
    """Whether two say the same about a name."""
    return one is other or (one is not None and other is not None and one.version == other.version)


@dataclass(slots=True)
class Record:
    """A resource that is not HELD.

    `version` is what the client holds, `content` that resource if it is known. `first` and `last` are the
    revisions of the oldest and the newest change that the client has not answered; `later` that of the oldest change
    since the response on the way was sent (0: none).
    """

    state: State
    version: str
    content: Resource | None
    first: int
    last: int
    later: int = 0

    @property
    def never_held(self) -> bool:
        """Whether no version was ever accepted."""
        return self.version in NEVER_HELD

    def news(self, target: Resource | None, carried: Resource | None, revision: int) -> None:
        """The snapshot says `target` now; `carried` is what the response on the way says, if it is in one."""
        self.last = revision
        if self.state in ON_THE_WAY:
            self.later = self.later or revision
            self.state = State.SENT if same(carried, target) else State.OVERTAKEN
            return
        if self.state is State.REFUSED:
            self.first = revision
        if self.state is not State.REPEAT:
            self.state = at_rest(self.version, target)
        elif carried is None:
            self.state = self._again(target)

    def sent(self) -> None:
        """It was put into a response."""
        self.state, self.later = State.SENT, 0

    def accepted(self, carried: Resource | None, target: Resource | None) -> None:
        """The client took what the response said of it."""
        self.version, self.content = (ABSENT, None) if carried is None else (carried.version, carried)
        if self.state is State.REPEAT:
            self.state = self._again(target)
        else:
            self._landed(at_rest(self.version, target))

    def refused(self, target: Resource | None) -> None:
        """The client refused the response because of it."""
        self._landed(State.REFUSED if self.state is State.SENT else at_rest(self.version, target))

    def returned(self, carried: Resource | None, target: Resource | None) -> None:
        """The client refused the response, but not because of it: it may have taken what the response said of it."""
        self.content = carried if self.never_held else None
        self.state, self.later = self._again(target), 0

    def repeat(self, target: Resource | None) -> None:
        """It must be sent once more, or said to be gone, also if it is on the way."""
        if self.state in ON_THE_WAY:
            self.state = State.REPEAT
        elif self.state is not State.REPEAT and (self.state is not State.REFUSED or target is None):
            self.state = self._again(target)

    def _again(self, target: Resource | None) -> State:
        if target is not None:
            return State.MISSING if self.never_held else State.REPEAT
        if self.version == ABSENT:
            self.version = UNKNOWN
        return at_rest(self.version, None)

    def _landed(self, state: State) -> None:
        if self.state is State.OVERTAKEN:
            self.first = self.later or self.first
        self.state, self.later = state, 0
