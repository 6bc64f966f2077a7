"""One-time codes and what they are exchanged for."""

from weft.admin.dashboard.sessions import CODE_SECONDS, SESSION_SECONDS, Sessions, shows_key


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_code_opens_one_session_once() -> None:
    sessions = Sessions(Clock())
    opened = sessions.open(code := sessions.offer())
    assert opened is not None
    found = sessions.find(opened.cookie)
    assert found is not None
    assert shows_key(found, opened.key)
    assert not shows_key(found, opened.cookie)
    assert not shows_key(found, "")
    assert sessions.open(code) is None
    assert sessions.find(opened.key) is None
    assert sessions.find("") is None
    sessions.close(opened.cookie)
    assert sessions.find(opened.cookie) is None


def test_codes_and_sessions_end_by_time() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    late, opened = sessions.offer(), sessions.open(sessions.offer())
    assert opened is not None
    clock.now += CODE_SECONDS
    assert sessions.open(late) is None
    clock.now += SESSION_SECONDS
    assert sessions.find(opened.cookie) is None


def test_both_are_bounded_and_the_oldest_makes_room() -> None:
    sessions = Sessions(Clock())
    first, *others = [sessions.offer() for _ in range(33)]
    assert sessions.open(first) is None
    oldest = sessions.open(others[0])
    assert oldest is not None
    for _ in range(64):
        assert sessions.open(sessions.offer())
    assert sessions.find(oldest.cookie) is None


def test_what_is_kept_is_no_secret() -> None:
    sessions = Sessions(Clock())
    opened = sessions.open(sessions.offer())
    waiting = sessions.offer()
    assert opened is not None
    kept = repr(vars(sessions))
    assert opened.cookie not in kept
    assert waiting not in kept


def test_a_code_is_taken_back_with_what_it_has_opened() -> None:
    sessions = Sessions(Clock())
    unused, used, other = (sessions.offer() for _ in range(3))
    opened, kept = sessions.open(used), sessions.open(other)
    assert opened is not None
    assert kept is not None
    for code in (unused, used, "nothing"):
        sessions.withdraw(code)
    assert sessions.open(unused) is None
    assert sessions.find(opened.cookie) is None
    assert sessions.find(kept.cookie) is not None
