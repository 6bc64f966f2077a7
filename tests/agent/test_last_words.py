"""What is told of an Envoy that ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.envoy import envoy_binary
from weft.agent.last_words import advice, last_words

BOOTSTRAP = """
node: {id: one, cluster: one}
dynamic_resources: {cds_config: {path_config_source: {path: clusters.yaml}}}
"""


def test_an_envoy_without_inotify_instances_says_what_to_raise(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.yaml").write_text(BOOTSTRAP)
    (tmp_path / "clusters.yaml").write_text("resources: []")
    none_left = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'
    command = [str(envoy_binary()), "-c", "bootstrap.yaml", "--disable-hot-restart"]
    log = tmp_path / "envoy.log"
    with log.open("wb") as said:
        ended = subprocess.run(
            ["unshare", "--user", "--map-root-user", "sh", "-c", none_left, "sh", *command],
            check=False, cwd=tmp_path, stdout=said, stderr=said, timeout=30,
        )  # fmt: skip
    assert ended.returncode != 0
    words = last_words(log)
    assert "inotify" in words, "the reason, though some forty lines of a trace come after it"
    assert "[backtrace]" not in words
    assert "sudo sysctl fs.inotify.max_user_instances" in advice(words)


def test_other_words_need_no_advice(tmp_path: Path) -> None:
    log = tmp_path / "envoy.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert last_words(log).splitlines() == [f"line {number}" for number in range(85, 100)]
    assert advice(last_words(log)) == ""
    assert last_words(tmp_path / "none") == ""
