"""What one proxy may ask for, and have remembered."""

from __future__ import annotations

import pytest

from weft.discovery.allowance import Allowance, cost_of, room_of
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.session import RefusedRequestError
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, XdsSnapshot

LIMITS = Limits(request_burst=10, request_rate=1, kept_bytes=10_000)
EMPTY = XdsSnapshot(1, ())


def names(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}-{number}" for number in range(count))


def test_what_was_too_much_is_owed() -> None:
    allowance = Allowance(LIMITS, 0.0)
    assert allowance.spend(10, 0.0)
    assert not allowance.has_some(0.0)
    assert not allowance.spend(5, 0.0)
    assert not allowance.has_some(4.9)
    assert allowance.has_some(5.1)
    assert not allowance.spend(1000, 6.0)
    assert allowance.has_some(16.5), "but never more than it may hold"


def test_bytes_and_names_cost_and_answers_cost_less() -> None:
    assert cost_of(100, 0, 0, answer=True) < 0.01
    assert cost_of(100, 0, 0, answer=False) == pytest.approx(1, abs=0.01)
    assert cost_of(4 << 20, 0, 0, answer=False) > 250
    assert cost_of(4 << 20, 0, 0, answer=True) > 60
    assert cost_of(100, 100_000, 0, answer=True) == 400
    assert cost_of(100, 1, 100_000, answer=False) > 40


def test_a_proxy_that_comes_back_to_ten_thousand_services_may() -> None:
    """Names of clusters, endpoints and routes, with versions, as Envoy says them on a new stream."""
    cost = sum(cost_of(10_000 * 110, 10_000, 0, answer=False) for _ in range(3))
    assert cost < Limits().request_burst / 2
    clusters = names("outbound|8080||service-name.some-namespace.svc.cluster.local", 10_000)
    assert 3 * room_of(clusters) < Limits().kept_bytes / 2


def test_delta_names_share_one_budget_over_all_types() -> None:
    allowance = Allowance(LIMITS, 0.0)
    session = DeltaSession(EMPTY, Shared(), LIMITS, frozenset(), allowance)
    session.receive(DeltaRequest(ENDPOINTS, names("e", 20)))
    session.receive(DeltaRequest(ENDPOINTS, names("e", 20)))  # the same once more takes nothing
    session.receive(DeltaRequest(ROUTES, names("r", 20)))
    with pytest.raises(RefusedRequestError, match="10000 bytes"):
        session.receive(DeltaRequest("another", names("a", 20)))
    session.receive(DeltaRequest(ROUTES, unsubscribe=names("r", 20)))
    session.receive(DeltaRequest(ROUTES, names("other", 20)))
    session.close()
    assert allowance.unused(100.0)


def test_versions_of_what_does_not_exist_count() -> None:
    session = DeltaSession(EMPTY, Shared(), LIMITS)
    with pytest.raises(RefusedRequestError, match="10000 bytes"):
        session.receive(DeltaRequest(CLUSTER, (), (), dict.fromkeys(names("gone", 60), "1")))


def test_state_of_the_world_names_share_it_too() -> None:
    allowance = Allowance(LIMITS, 0.0)
    first, second = (SotwSession(EMPTY, Shared(), LIMITS, frozenset(), allowance) for _ in range(2))
    first.receive(SotwRequest(ENDPOINTS, names("e", 20)))
    second.receive(SotwRequest(ROUTES, names("r", 20)))
    second.receive(SotwRequest(ROUTES, names("other", 20)))
    with pytest.raises(RefusedRequestError, match="10000 bytes"):
        second.receive(SotwRequest("another", names("a", 20)))
    first.close()
    second.close()
    assert allowance.unused(100.0)
