"""Which way of capture is taken, and that it is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import CaptureParameters
from weft.agent.seccomp import mode
from weft.agent.seccomp.mode import capture_entry, capture_secret, captured_by, remove_secret
from weft.agent.state import CapturedBy, State

BEST, SECCOMP, RULES = CaptureParameters(), CaptureParameters(how="seccomp"), CaptureParameters(how="rules")
COMMAND = ("./shop",)


@pytest.mark.parametrize(
    ("asked", "command", "why_not", "taken"),
    [
        (None, COMMAND, "", CapturedBy.NOTHING),
        (BEST, COMMAND, "", CapturedBy.SECCOMP),
        (BEST, COMMAND, "no such call", CapturedBy.RULES),
        (BEST, (), "", CapturedBy.RULES),
        (SECCOMP, COMMAND, "", CapturedBy.SECCOMP),
        (RULES, COMMAND, "", CapturedBy.RULES),
    ],
)
def test_the_best_that_works_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: CaptureParameters | None,
    command: tuple[str, ...],
    why_not: str,
    taken: CapturedBy,
) -> None:
    monkeypatch.setattr(mode, "why_not_seccomp", lambda: why_not)
    with caplog.at_level(logging.INFO):
        assert captured_by(asked, command, None) is taken
    assert (not why_not) or why_not in caplog.text


def test_what_was_asked_for_and_cannot_be_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "why_not_seccomp", lambda: "no such call")
    with pytest.raises(AgentError, match="does not work here: no such call"):
        captured_by(SECCOMP, COMMAND, None)
    with pytest.raises(AgentError, match="needs a COMMAND") as raised:
        captured_by(SECCOMP, (), None)
    assert raised.value.exit_code == EXIT_USAGE


def test_what_runs_keeps_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "why_not_seccomp", lambda: "")
    running = State("a", "default", captured_by=CapturedBy.RULES)
    assert captured_by(BEST, COMMAND, running) is CapturedBy.RULES
    assert captured_by(SECCOMP, COMMAND, running) is CapturedBy.SECCOMP


def test_the_secret_stays_while_something_runs_and_is_the_owners(tmp_path: Path) -> None:
    state = State("a", "default", capture=1501, captured_by=CapturedBy.SECCOMP)
    listen, secret = capture_entry(tmp_path, state)
    assert listen[0].port == 1501
    assert len(secret) > 40
    assert capture_secret(tmp_path).stat().st_mode & 0o777 == 0o600
    assert capture_entry(tmp_path, state)[1] == secret
    remove_secret(tmp_path)
    assert not list(tmp_path.iterdir())
    assert capture_entry(tmp_path, State("a", "default", capture=15001, captured_by=CapturedBy.RULES)) == ((), "")
