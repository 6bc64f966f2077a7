"""Which Secrets and ConfigMaps are read where more are referred to than that: every namespace gets its share."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from weft.mesh.uses import Referred
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines
from weft.sources.kubernetes.budget import within_budget

SETTINGS = Referred(ObjectKey("", "ConfigMap", "istio-system", "istio"), None)


def naming(namespace: str, created: float) -> Document[object]:
    key = ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, f"at-{created:g}")
    return Document(key, "v1", object(), "", FieldLines("test", {}), created=created)


def secret(name: str, *documents: Document[object]) -> Referred:
    """One that is called NAMESPACE/NAME."""
    namespace, _, own = name.partition("/")
    return Referred(ObjectKey("", "Secret", namespace, own), None, tuple((each, ("spec",)) for each in documents))


def many(namespace: str, created: float, count: int) -> list[Referred]:
    document = naming(namespace, created)
    return [secret(f"{namespace}/{number}", document) for number in range(count)]


def names(found: Iterable[Referred]) -> list[str]:
    return [f"{each.key.namespace}/{each.key.name}" for each in found]


def test_all_are_read_where_there_is_room() -> None:
    found = (SETTINGS, *many("a", 1, 2))
    assert within_budget(found, 3) == (found, ())


@pytest.mark.parametrize(
    ("wishes", "shares"),
    [
        ({"a": 600, "b": 1}, {"a": 9, "b": 1}),
        ({"a": 600, "b": 600}, {"a": 5, "b": 5}),
        ({"a": 600, "b": 2, "c": 600}, {"a": 4, "b": 2, "c": 4}),
        ({"a": 600, "b": 600, "c": 600}, {"a": 4, "b": 3, "c": 3}),
        ({"c": 7, "b": 1, "a": 7}, {"c": 5, "b": 1, "a": 4}),
    ],
)
def test_nobody_takes_the_share_of_another(wishes: dict[str, int], shares: dict[str, int]) -> None:
    """Namespaces in the order of the ages of their documents: the oldest has what cannot be divided."""
    found = [one for age, (name, count) in enumerate(wishes.items()) for one in many(name, age, count)]
    read, beyond = within_budget(found, 10)
    assert {name: sum(one.key.namespace == name for one in read) for name in wishes} == shares
    assert names(read) == [name for name in names(found) if name in names(read)], "in the order that was given"
    assert names(beyond) == [name for name in names(found) if name not in names(read)]


def test_more_namespaces_than_room() -> None:
    read, beyond = within_budget([one for age, name in enumerate("zyx") for one in many(name, age, 1)], 2)
    assert (names(read), names(beyond)) == (["z/0", "y/0"], ["x/0"])


def test_of_a_namespace_those_of_its_oldest_documents() -> None:
    """Also where a document of another namespace, which is older still, names one of them."""
    old, young, other = naming("a", 2), naming("a", 3), naming("b", 1)
    found = [secret("a/shared", other, young), secret("a/old", old), secret("b/own", other), secret("a/young", young)]
    assert names(within_budget(found, 3)[0]) == ["a/shared", "a/old", "b/own"]
    assert names(within_budget(found[1:], 2)[0]) == ["a/old", "b/own"]


def test_what_several_name_counts_once() -> None:
    one, other = naming("a", 1), naming("b", 2)
    found = [secret("certs/wildcard", one, other), *many("a", 1, 3), *many("b", 2, 3)]
    assert names(within_budget(found, 3)[0]) == ["certs/wildcard", "a/0", "b/0"]


def test_what_nobody_has_to_name_comes_first() -> None:
    assert names(within_budget([*many("a", 1, 3), SETTINGS], 2)[0]) == ["a/0", "istio-system/istio"]
