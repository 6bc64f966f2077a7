"""Which of the objects that documents refer to are read: no namespace's documents take the share of another's. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from weft.mesh.uses import Referred
from weft.model.document import ObjectKey


def within_budget(found: Sequence[Referred], most: int) -> tuple[tuple[Referred, ...], tuple[Referred, ...]]:
    """What is read of `found`, `most` objects in all, and what is not, both in the order of `found`.

    What no document has to name is read first. The others are dealt out one by one to the namespaces of the documents
    that name them, in turn until nobody wants more: that with the oldest document begins, and each takes what its
    oldest documents name. An object that several name counts for the first that takes it.
    """
    if len(found) <= most:
        return tuple(found), ()
    read = {each.key for each in found if not each.places}
    waiting = deque(_wishes(found))
    while waiting and len(read) < most:
        wishes = waiting.popleft()
        key = next((each for each in wishes if each not in read), None)
        if key is not None:
            read.add(key)
            waiting.append(wishes)
    return tuple(each for each in found if each.key in read), tuple(each for each in found if each.key not in read)


def _wishes(found: Sequence[Referred]) -> Iterator[Iterator[ObjectKey]]:
    """What the documents of each namespace name, the oldest first; that with the oldest document comes first."""
    ages: dict[str, dict[ObjectKey, tuple[float, str]]] = {}
    for each in found:
        for document, _ in each.places:
            own = ages.setdefault(document.key.namespace, {})
            own[each.key] = min(own.get(each.key, document.precedence), document.precedence)
    for own in sorted(ages.values(), key=lambda own: min(own.values())):
        yield iter(sorted(own, key=own.__getitem__))
