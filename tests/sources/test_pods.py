"""Which Pods a snapshot has."""

from __future__ import annotations

from weft.model.distrust import Distrust, Ended
from weft.model.workload import Workload
from weft.sources.pods import admitted

HOST = Workload("reviews-1", "shop", "web")
POD = Workload("reviews-1", "shop", "web", pod="5f0d")
OTHER = Workload("reviews-0", "shop", "web", pod="5f0e")


def end(whose: str, name: str, ended: Ended) -> Distrust:
    return Distrust(whose, "shop", name, ended, 1)  # type: ignore[arg-type]


def test_sources_are_put_together_in_order() -> None:
    host = Workload("reviews-2", "shop", "web")
    found = admitted([(host,), (OTHER, POD)], ())
    assert found.workloads == (OTHER, POD, host)
    assert found.left_out == {}
    assert found.problems == ()
    only = (OTHER, POD)
    assert admitted([only], ()).workloads is only
    assert admitted([], ()).workloads == ()


def test_a_name_that_an_agent_holds_stays_its_own() -> None:
    for groups in ([(HOST,), (OTHER, POD)], [(OTHER, POD), (HOST,)]):
        found = admitted(groups, ())
        assert found.workloads == (OTHER, HOST)
        assert found.left_out == {POD.proxy: POD}
        assert [problem.code for problem in found.problems] == ["pod-name-taken"]


def test_a_pod_in_which_trust_has_ended_is_left_out() -> None:
    for whose, name in (("workload", "reviews-1"), ("service-account", "web")):
        for ended in Ended:
            found = admitted([(POD,)], (end(whose, name, ended),))
            out = ended is not Ended.RESTORED
            assert (found.workloads, found.left_out) == (((), {POD.proxy: POD}) if out else ((POD,), {}))
            assert admitted([(HOST,)], (end(whose, name, ended),)).workloads == (HOST,), "whose registration is deleted"
