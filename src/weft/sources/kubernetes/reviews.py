"""TokenReviews: the API server is asked whose a token is. Few at once, for a short time, and nothing is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.pod_tokens import BoundPod, PodTokenError, review_of, reviewed_pod

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
AT_ONCE = 16
WAITING = 256
PATIENCE = 4.0
"""Seconds, waiting for a turn included. An agent waits 10 s for all of its answer."""
_FORBIDDEN = 403


class ReviewUnavailableError(Exception):
    """The API server cannot be asked now; the token is as good as before. `busy`: too many want to know."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


@dataclass(frozen=True, slots=True)
class _Question:
    token: str = field(repr=False)
    answer: asyncio.Future[BoundPod]


class TokenReviews:
    """Asks the server that people call `name`, while `run` runs. `refused` is called with a text when the server
    forbids the question, once until it allows it again. Answers are not kept: the server itself takes a token for up
    to ten seconds after its Pod has gone."""

    def __init__(self, name: str, credentials: Credentials, refused: Callable[[str], None]) -> None:
        self._name = name
        self._credentials = credentials
        self._refused = refused
        self._questions: asyncio.Queue[_Question] = asyncio.Queue(WAITING)
        self._forbidden = ""

    async def run(self) -> None:
        """Answer questions, for ever."""
        async with ApiClient(self._credentials) as client, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._answer(client))

    def problems(self) -> tuple[Problem, ...]:
        """That the server forbids it, if it does."""
        if not self._forbidden:
            return ()
        text = f"{self._forbidden}; no proxy of a Pod can join"
        expected = "a ClusterRole that allows create of tokenreviews.authentication.k8s.io"
        origin = Origin(f"{PREFIX}{self._name}")
        return (Problem(Severity.ERROR, "kubernetes-refused", text, origin, expected=expected),)

    async def pod_of(self, token: str) -> BoundPod:
        """The Pod that `token` is bound to, as the API server says now. PodTokenError, ReviewUnavailableError."""
        question = _Question(token, asyncio.get_running_loop().create_future())
        try:
            self._questions.put_nowait(question)
            async with asyncio.timeout(PATIENCE):
                return await question.answer
        except asyncio.QueueFull as error:
            raise ReviewUnavailableError("too many proxies join at once", busy=True) from error
        except TimeoutError as error:
            raise _late() from error

    async def _answer(self, client: ApiClient) -> None:
        """One question after the other, but those that nobody waits for any more."""
        while True:
            question = await self._questions.get()
            if question.answer.done():
                continue
            try:
                async with asyncio.timeout(PATIENCE):
                    pod = await self._ask(client, question.token)
            except TimeoutError:
                _settle(question, _late())
            except (PodTokenError, ReviewUnavailableError) as error:
                _settle(question, error)
            else:
                if not question.answer.done():
                    question.answer.set_result(pod)

    async def _ask(self, client: ApiClient, token: str) -> BoundPod:
        try:
            answer = await client.send("POST", PATH, review_of(token))
            self._forbidden = ""
            return reviewed_pod(answer)
        except ApiError as error:
            self._note(error)
            raise ReviewUnavailableError(f"the API server cannot be asked about tokens: {error}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ReviewUnavailableError("the API server's answer is no TokenReview") from error

    def _note(self, error: ApiError) -> None:
        if error.status != _FORBIDDEN:
            return
        text = f"tokens cannot be reviewed: {error}"
        if not self._forbidden:
            self._refused(text)
        self._forbidden = text


def _settle(question: _Question, error: Exception) -> None:
    if not question.answer.done():
        question.answer.set_exception(error)


def _late() -> ReviewUnavailableError:
    return ReviewUnavailableError(f"the API server did not answer within {PATIENCE:g} s")
