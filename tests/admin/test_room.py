"""Who makes room, by values."""

from __future__ import annotations

from dataclasses import dataclass

from weft.admin.room import of_address_to_go, one_to_go


@dataclass(frozen=True)
class One:
    since: float
    address: str
    authenticated: bool = False
    busy: bool = False


def test_of_one_address_the_oldest_stranger_goes_and_never_who_is_being_answered() -> None:
    known, busy, idle = One(1, "a", True, True), One(2, "a", False, True), One(3, "a", False)
    assert of_address_to_go([known, busy, idle, One(0, "b")], "a") is busy
    assert of_address_to_go([known, One(4, "a", True)], "a") == One(4, "a", True)
    assert of_address_to_go([known, One(0, "b")], "a") is None


def test_strangers_go_before_the_api_server() -> None:
    api = [One(index, "api", True, index % 2 == 0) for index in range(5)]
    strangers = [One(10 + index, f"pod-{index // 2}") for index in range(6)]
    assert one_to_go([*api, *strangers], 20) is strangers[0]
    assert one_to_go([], 20) is None


def test_who_has_most_goes_where_all_look_honest() -> None:
    fresh, kept = One(99, "api"), One(1, "api-2", True)
    many = [One(50 + index, "pod", True) for index in range(4)]
    assert one_to_go([fresh, kept, *many], 100) is many[0], "the API server's first question is not cut"
    assert one_to_go([fresh, kept, *many], 110) is fresh, "but has its time"
