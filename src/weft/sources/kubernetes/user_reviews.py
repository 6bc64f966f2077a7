"""Reviews of users: the API server is asked who somebody is and what they may do. Answers are kept for seconds.

Who shows a certificate is known by the cluster's authority of clients, which is read as aggregated API servers read it:
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from weft.aio.cell import Cell
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.reviews import PATH as TOKEN_PATH
from weft.sources.kubernetes.reviews import ReviewUnavailableError
from weft.sources.kubernetes.users import (
    LONGEST_TOKEN,
    Right,
    User,
    UserTokenError,
    access_question,
    allowed_from,
    token_question,
    user_from_review,
)

ACCESS_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUTHORITY_PATH = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
AT_ONCE = 16
WAITING = 128
PATIENCE = 5.0
FRESH = 10.0
"""Seconds for which an answer is kept: so long somebody may go on whose rights were taken away."""
STANDING = 60.0
"""Seconds for which an answer counts for what began while it was fresh, and goes on."""
_KEPT = 1024
_LOOK_SECONDS = 30.0
_FORBIDDEN, _NOT_FOUND = 403, 404
KeyT = TypeVar("KeyT", bound=Hashable)
AnswerT = TypeVar("AnswerT")


class Recent(Generic[KeyT, AnswerT]):
    """The latest answers, at most so many, with when they were given."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._answers: OrderedDict[KeyT, tuple[float, AnswerT]] = OrderedDict()

    def put(self, key: KeyT, answer: AnswerT) -> None:
        """Keep one; the oldest makes room."""
        self._answers.pop(key, None)
        self._answers[key] = self._clock(), answer
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def get(self, key: KeyT, age: float) -> AnswerT | None:
        """An answer that is not older than so many seconds."""
        given, answer = self._answers.get(key, (float("-inf"), None))
        return answer if self._clock() - given <= age else None


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


def _always() -> bool:
    return True


class UserReviews:
    """Asks the server that people call `name`, while `run` runs. `authority` are the roots of its users' certificates
    (PEM), as they are now; `origin` is where problems are from."""

    def __init__(self, name: str, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self.origin = Origin(f"{PREFIX}{name}")
        self._client = ApiClient(credentials, AT_ONCE)
        self._users: Recent[str, User | UserTokenError] = Recent(_KEPT, clock)
        self._rights: Recent[tuple[User, Right], bool] = Recent(_KEPT, clock)
        self._waiting = 0
        self._running = False
        self._forbidden: dict[str, str] = {}
        self.authority: Cell[str] = Cell("")

    async def run(self) -> None:
        """Answer questions, and look for the roots again and again, for ever."""
        async with self._client:
            self._running = True
            try:
                while True:
                    await self._look()
                    await asyncio.sleep(_LOOK_SECONDS)
            finally:
                self._running = False

    async def user_of(self, token: str, may_ask: Callable[[], bool] = _always) -> User:
        """Whose `token` is; `may_ask` is asked before the server is. UserTokenError, ReviewUnavailableError."""
        if len(token) > LONGEST_TOKEN:
            raise UserTokenError(f"the token is longer than {LONGEST_TOKEN} bytes")
        key = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found = self._users.get(key, FRESH)
        if found is None:
            if not may_ask():
                raise ReviewUnavailableError("too many tokens are shown from where you are", busy=True)
            try:
                found = user_from_review(await self._asked("tokenreviews", TOKEN_PATH, token_question(token)))
            except UserTokenError as error:
                found = error
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ReviewUnavailableError("the API server's answer is no TokenReview") from error
            self._users.put(key, found)
        if isinstance(found, UserTokenError):
            raise UserTokenError(str(found))
        return found

    async def may(self, user: User, right: Right) -> bool:
        """Whether a user has a right. ReviewUnavailableError."""
        found = self._rights.get((user, right), FRESH)
        if found is None:
            question = access_question(user, right)
            try:
                found = allowed_from(await self._asked("subjectaccessreviews", ACCESS_PATH, question))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ReviewUnavailableError("the API server's answer is no SubjectAccessReview") from error
            self._rights.put((user, right), found)
        return found

    def stands(self, user: User, right: Right) -> bool:
        """Whether a user had a right when that was asked last, and it was asked lately."""
        return self._rights.get((user, right), STANDING) is True

    def problems(self) -> tuple[Problem, ...]:
        """What the server forbids."""
        return tuple(
            Problem(
                Severity.ERROR, "kubernetes-refused", f"{text}; {_LOST[what]}", self.origin, expected=_EXPECTED[what]
            )
            for what, text in sorted(self._forbidden.items())
        )

    async def _asked(self, what: str, path: str, question: bytes) -> bytes:
        if not self._running:
            raise ReviewUnavailableError("the control plane is only starting")
        if self._waiting >= WAITING:
            raise ReviewUnavailableError("too many ask at once", busy=True)
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._client.send("POST", path, question)
        except TimeoutError as error:
            raise ReviewUnavailableError(f"the API server did not answer within {PATIENCE:g} s") from error
        except ApiError as error:
            self._note(what, error)
            raise ReviewUnavailableError(f"the API server cannot be asked: {error}") from error
        finally:
            self._waiting -= 1
        self._forbidden.pop(what, None)
        return answer

    async def _look(self) -> None:
        """Read the roots; while they cannot be read the last ones count."""
        try:
            answer = await self._client.get(AUTHORITY_PATH)
            roots = msgspec.json.decode(answer.body, type=_ConfigMap).data.get("client-ca-file", "")
        except ApiError as error:
            self._note("configmaps", error)
            if error.status != _NOT_FOUND:
                return
            roots = ""
        except msgspec.MsgspecError:
            return
        self._forbidden.pop("configmaps", None)
        if roots != self.authority.value:
            self.authority.set(roots)

    def _note(self, what: str, error: ApiError) -> None:
        if error.status == _FORBIDDEN:
            self._forbidden[what] = f"{_ASKED[what]}: {error}"


_ASKED = {
    "tokenreviews": "tokens of users cannot be reviewed",
    "subjectaccessreviews": "it cannot be asked what users may do",
    "configmaps": "the authority of users' certificates cannot be read",
}
_LOST = {
    "tokenreviews": "nobody can call the admin API by a token of the cluster",
    "subjectaccessreviews": "no user of the cluster can call the admin API",
    "configmaps": "nobody can call the admin API by a certificate of the cluster",
}
_EXPECTED = {
    "tokenreviews": "a ClusterRole that allows create of tokenreviews.authentication.k8s.io",
    "subjectaccessreviews": "a ClusterRole that allows create of subjectaccessreviews.authorization.k8s.io",
    "configmaps": "a Role in kube-system that allows get of the ConfigMap extension-apiserver-authentication",
}
