"""The rotation of roots, as a state machine: what signs, what is trusted, and when the next step is due."""

from __future__ import annotations

import pytest

from weft.ca.rotation import PATIENCE, Phase, Rotation, RotationError, Wanted, abort, advance, begin

STEADY = Rotation(since=10.0)


def test_a_whole_rotation_step_by_step() -> None:
    state = begin(STEADY, 2, 100.0)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.TRUSTING, 1, 1, (1, 2))
    assert advance(state, 101.0, confirmed=False) is state
    state = advance(state, 110.0, confirmed=True)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.ISSUING, 2, 1, (2, 1))
    assert state.wants_issuer
    state = advance(state, 120.0, confirmed=True)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.DROPPING, 2, 2, (2,))
    state = advance(state, 130.0, confirmed=True)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.STEADY, 2, 2, (2,))
    assert (state.source, state.target, state.since, state.epoch) == (2, 2, 130.0, 1)
    assert advance(state, 1e12, confirmed=True) is state


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_nobody_who_does_not_answer_is_waited_for_longer_than_certificates_live(steps: int) -> None:
    state = begin(STEADY, 2, 0.0)
    for _ in range(steps):
        state = advance(state, state.since, confirmed=True)
    assert advance(state, state.since + PATIENCE - 1, confirmed=False) is state
    assert advance(state, state.since + PATIENCE, confirmed=False).phase is not state.phase


def test_both_roots_are_trusted_for_as_long_as_was_asked_for() -> None:
    state = advance(begin(STEADY, 2, 0.0, overlap=3600.0), 5.0, confirmed=True)
    assert advance(state, 3604.0, confirmed=True) is state
    assert advance(state, 3605.0, confirmed=True).phase is Phase.DROPPING
    longer = advance(begin(STEADY, 2, 0.0, overlap=2 * PATIENCE), 0.0, confirmed=True)
    assert advance(longer, 2 * PATIENCE - 1, confirmed=False) is longer


def test_before_the_new_root_has_signed_anything_it_is_simply_dropped() -> None:
    state = abort(begin(STEADY, 2, 0.0), 1.0)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.DROPPING, 1, 1, (1,))
    state = advance(state, 2.0, confirmed=True)
    assert (state.phase, state.source, state.target, state.epoch) == (Phase.STEADY, 1, 1, 1)


def test_afterwards_certificates_go_back_to_the_old_root_first() -> None:
    state = abort(advance(begin(STEADY, 2, 0.0, overlap=99.0), 1.0, confirmed=True), 2.0)
    assert (state.phase, state.signs, state.serves, state.trusted) == (Phase.ISSUING, 1, 1, (1, 2))
    assert state.returning
    state = advance(state, 3.0, confirmed=True)
    assert (state.phase, state.trusted, state.serves) == (Phase.DROPPING, (1,), 1)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(RotationError, match="no rotation is under way"):
        abort(STEADY, 0.0)
    state = begin(STEADY, 2, 0.0)
    with pytest.raises(RotationError, match="under way \\(trusting\\)"):
        begin(state, 3, 0.0)
    issuing = advance(state, 0.0, confirmed=True)
    dropping = advance(issuing, 0.0, confirmed=True)
    with pytest.raises(RotationError, match="dropped already"):
        abort(dropping, 0.0)
    with pytest.raises(RotationError, match="taken back already"):
        abort(abort(issuing, 0.0), 0.0)
    assert [one.abortable for one in (STEADY, state, issuing, dropping)] == [False, True, True, False]


def test_what_is_wanted_of_a_proxy() -> None:
    assert Wanted("b").met("b", "whatever")
    assert not Wanted("b").met("", "")
    assert Wanted("b", "i").met("b", "i")
    assert not Wanted("b", "i").met("b", "other")
