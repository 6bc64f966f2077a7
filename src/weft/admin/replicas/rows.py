"""What replicas tell each other: rows of what stands at one of them, pages of rows, and answers. JSON on the wire.

Replicas of two releases understand each other while one takes over from the other: fields and rows that are not known
are passed over, so a meaning never changes under its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable

import msgspec

from weft.admin.written import Written
from weft.discovery.status import Lack, Nack, ProxyStatus
from weft.model.document import Document
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity


class Connected(msgspec.Struct, frozen=True, tag="proxy"):
    """A proxy has a stream."""

    proxy: str

    @property
    def id(self) -> str:
        """What names the row."""
        return f"proxy {self.proxy}"


class Standing(msgspec.Struct, frozen=True, tag="gateway"):
    """What a connected process of a Gateway holds of it: all that a document (`object`, `digest`) says, or what it
    `lacks`, which it may have `refused`."""

    object: str
    digest: str
    proxy: str
    lacks: str = ""
    refused: bool = False

    @property
    def id(self) -> str:
        """What names the row."""
        return standing_id(self.object, self.proxy)

    @property
    def lack(self) -> Lack | None:
        """The same as the hub says it."""
        return Lack(self.lacks, self.refused) if self.lacks else None


class Agent(msgspec.Struct, frozen=True, tag="agent"):
    """What an agent said last that its Envoy has in use; `key` is that of its registration, the rest as
    `weft.admin.heard.Said` has it."""

    key: str
    trust: str
    issuer: str
    version: str = ""

    @property
    def id(self) -> str:
        """What names the row."""
        return f"agent {self.key}"


class Trouble(msgspec.Struct, frozen=True, tag="problem"):
    """A Problem of a proxy that is connected there, or was refused."""

    severity: str
    code: str
    message: str
    source: str
    line: int = 0
    expected: str = ""
    nearest: str = ""

    @property
    def id(self) -> str:
        """What names the row."""
        return f"problem {self.source}:{self.line} {self.code} {self.message}"

    @property
    def problem(self) -> Problem:
        """The same as everybody else has it."""
        severity = Severity.WARNING if self.severity == Severity.WARNING else Severity.ERROR
        origin = Origin(self.source, self.line)
        return Problem(severity, self.code, self.message, origin, expected=self.expected, nearest=self.nearest)


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How many steps of a `change` the proxies there have done."""

    change: str
    taken: int

    @property
    def id(self) -> str:
        """What names the row."""
        return "step"


Row = Connected | Standing | Agent | Trouble | Step


class Page(msgspec.Struct, frozen=True):
    """Rows that are new or different since an earlier page, and the names of those that are `gone`.

    `boot` names the process. `number` is where the next page begins. A `whole` page has everything, and what was
    told before counts no more.
    """

    boot: str
    number: int
    rows: tuple[msgspec.Raw, ...] = ()
    gone: tuple[str, ...] = ()
    whole: bool = False


class Statuses(msgspec.Struct, frozen=True):
    """The streams of a replica."""

    boot: str
    proxies: tuple[ProxyStatus, ...]


class Question(msgspec.Struct, frozen=True):
    """Whether callers know that a workload takes no new requests: the proxy's name, its Pod (empty: none), and how many
    seconds to wait for them."""

    proxy: str
    pod: str
    wait: float


class Confirmed(msgspec.Struct, frozen=True):
    """The answer: whether the replica knows it itself, and which of its proxies have not confirmed it."""

    known: bool
    pending: tuple[str, ...] = ()
    nacked: tuple[Nack, ...] = ()


class InForce(msgspec.Struct, frozen=True):
    """The revision of the mesh that is in force in a process."""

    boot: str
    revision: int


class Sought(Written, frozen=True, forbid_unknown_fields=False):
    """The same as another replica says it, perhaps one of a later release."""


class Awaited(msgspec.Struct, frozen=True):
    """Whether these `documents`, or what the shared store had at its revision `store`, are in force, and who has
    confirmed it, which is waited for up to `wait` seconds.

    Revisions are those of the process `boot`; in another one they mean nothing. Concerned are the proxies that changed
    after `since` up to `revision` (-1: that in which all this came), without `since` those that this one changed, or
    `everybody`, as in a process that `since` is not of. So are those that have `moved` to the one that is asked: they
    may hold what another replica gave them.
    """

    documents: tuple[Sought, ...] = ()
    store: int = 0
    boot: str = ""
    since: int = -1
    revision: int = -1
    everybody: bool = False
    moved: tuple[str, ...] = ()
    wait: float = 0.0


class Found(msgspec.Struct, frozen=True):
    """The answer of the process `boot`: what is not in force there (`unread`, `untried`), and which proxies have
    confirmed its `revision`, have not, do not answer anything, or are gone. `known` is False if it is not in force."""

    boot: str
    known: bool = True
    revision: int = -1
    unread: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    nacked: tuple[Nack, ...] = ()
    pending: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def standing_id(document: str, proxy: str) -> str:
    """What names the row of a process of a Gateway."""
    return f"gateway {document} {proxy}"


def document_digest(document: Document[object]) -> str:
    """What a document says, in a few characters: the same wherever it was read from the same object. One that was
    deleted and made again is another, as is each generation."""
    text = f"{document.created} {document.generation} {document.text}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def trouble_of(problem: Problem) -> Trouble:
    """A Problem as a row."""
    origin = problem.origin
    at = (origin.source, origin.line)
    return Trouble(str(problem.severity), problem.code, problem.message, *at, problem.expected, problem.nearest)


def rows_of(page: Page) -> Iterable[Row]:
    """The rows that this release knows."""
    for raw in page.rows:
        with contextlib.suppress(msgspec.ValidationError):
            yield msgspec.json.decode(raw, type=Row)
