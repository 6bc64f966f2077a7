"""What every source of documents does, whatever they lie in: files, the store, the API of Kubernetes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from support.imported import reached, running
from weft.model.document import Document
from weft.model.unreadable import Unreadable
from weft.sources.contents import Contents, Source

NAMESPACE = "conformance"
SERVICE = "v1", "Service"
POLICY = "security.istio.io/v1", "AuthorizationPolicy"
WEB = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
MISTAKEN = {**WEB, "sessionAffinity": "ClientIP"}
"""Right for Kubernetes, and not for weft."""


class SourceCase(Protocol):
    """A source, and who writes where it reads."""

    @property
    def source(self) -> Source:
        """What is tried."""

    async def put(self, kind: tuple[str, str], name: str, spec: Mapping[str, Any]) -> None:
        """Write an object of `NAMESPACE`."""

    async def remove(self, kind: tuple[str, str], name: str) -> None:
        """Remove one."""


def named(contents: Contents) -> dict[str, Document[object]]:
    """What was written to `NAMESPACE`: a cluster has a service account of its own there."""
    kinds = (SERVICE[1], POLICY[1])
    return {one.key.name: one for one in contents.documents if one.key.namespace == NAMESPACE and one.key.kind in kinds}


def has(*names: str) -> Callable[[Contents], bool]:
    """Whether there are these and no others, and nothing is wrong with them."""
    return lambda contents: set(named(contents)) == set(names) and not wrong(contents)


def wrong(contents: Contents) -> set[str]:
    """Of what in `NAMESPACE` something is said."""
    return {one.object.name for one in contents.problems if one.object and one.object.namespace == NAMESPACE}


async def check_life(case: SourceCase) -> None:
    """Documents come, change and go. AssertionError, or a failed wait, says what a source does not do."""
    source = case.source
    assert source.contents.value is None, "nothing is known before it was read"
    await case.put(SERVICE, "first", WEB)
    async with running(source):
        first = await reached(source, "what was there is there at once", has("first"))
        await case.put(SERVICE, "web", WEB)
        await case.put(SERVICE, "other", WEB)
        second = await reached(source, "it appears", has("first", "web", "other"))
        keys = [document.key for document in second.documents]
        assert keys == sorted(set(keys)), "sorted by key, each key once"
        assert named(second)["first"] is named(first)["first"], "what has not changed is the same object"
        await case.put(SERVICE, "web", {**WEB, "selector": {"app": "other"}})
        third = await reached(source, "it changes", lambda found: '"other"' in named(found)["web"].text)
        assert named(third)["other"] is named(second)["other"]
        await case.remove(SERVICE, "web")
        await reached(source, "it goes", has("first", "other"))
        await case.remove(SERVICE, "first")
        await case.remove(SERVICE, "other")
        last = await reached(source, "all go", has())
        assert not wrong(last)


async def check_mistakes(case: SourceCase) -> None:
    """What becomes of documents that cannot be understood, where their users write them themselves."""
    source = case.source
    await case.put(SERVICE, "web", WEB)
    async with running(source):
        before = await reached(source, "it is there", has("web"))
        await case.put(SERVICE, "web", MISTAKEN)
        bad = await reached(source, "a mistake is told", lambda found: wrong(found) == {"web"})
        assert named(bad)["web"] is named(before)["web"], "the last good one stays in force"
        assert all(one.origin.source for one in bad.problems)
        await case.put(SERVICE, "new", MISTAKEN)
        worse = await reached(source, "so is a new one", lambda found: wrong(found) == {"web", "new"})
        assert set(named(worse)) == {"web"}, "it has no effect"
        await case.remove(SERVICE, "new")
        await case.put(SERVICE, "web", {**WEB, "selector": {"app": "other"}})
        mended = await reached(source, "it is mended", has("web"))
        assert '"other"' in named(mended)["web"].text
        await case.put(POLICY, "closed", {"action": "DENY", "rules": [{"from": [{"sauce": {}}]}]})
        policy = await reached(source, "a policy that nobody understands is told", lambda one: wrong(one) == {"closed"})
        assert isinstance(named(policy)["closed"].spec, Unreadable), "it closes what it names"
        await case.remove(POLICY, "closed")
        await case.remove(SERVICE, "web")
        await reached(source, "all is gone", has())
