"""The command line itself: help, usage errors, validation, completion, how fast it starts."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from weft.agent.parameters import GatewayParameters, RunParameters
from weft.cli.examples import write_examples
from weft.cli.main import COMMANDS, run, weft
from weft.cli.options import Command
from weft.settings.home import Home

ROOT = Path(__file__).parents[2]
GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n"


def commands() -> list[tuple[str, click.Command]]:
    """Every command with its whole name."""
    context = click.Context(weft)
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        command = weft.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += [(f"{name} {inner}", one) for inner, one in command.commands.items()]
        else:
            found.append((name, command))
    return found


def test_the_list_of_commands_says_what_their_help_says() -> None:
    for name, (_, text) in COMMANDS.items():
        command = weft.get_command(click.Context(weft), name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == text


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_help_has_examples_of_that_command(
    name: str, command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(command, Command)
    assert command.examples
    assert any(f"weft {name}" in example for example in command.examples)
    assert run([*name.split(), "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out


def groups() -> list[str]:
    """The words of each group."""
    every = (weft.get_command(click.Context(weft), name) for name in COMMANDS)
    return [name for name, command in zip(COMMANDS, every, strict=True) if isinstance(command, click.Group)]


@pytest.mark.parametrize("name", [*groups(), ""])
def test_the_help_of_a_group_has_examples_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    assert f"  weft {name}".rstrip() in capsys.readouterr().out.rpartition("Examples:")[2]


@pytest.mark.parametrize("name", ["", *groups(), *(name for name, _ in commands())])
def test_no_help_is_wider_than_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_examples_are_folded_as_a_shell_takes_them() -> None:
    formatter = click.HelpFormatter(width=40)
    write_examples(
        formatter, ["weft run --name a \\", "   --header 'x-team: red one' --port 80 -- python a.py", "weft ps"]
    )
    assert formatter.getvalue() == (
        "\nExamples:\n"
        "  weft run --name a \\\n"
        "      --header 'x-team: red one' \\\n"
        "      --port 80 -- python a.py\n"
        "  weft ps\n"
    )


def test_the_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for text in ("3  no control plane", "4  timed out", "128 + N"):
        assert text in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["aply"], "Did you mean 'apply'?"),
        (["proxy", "statis"], "Did you mean 'status'?"),
        (["token", "lits"], "there is no command 'lits'. Did you mean 'list'?"),
        (["get"], "KIND"),
        (["apply"], "--file"),
        (["apply", "-f", "no-such-file.yaml"], "no such file"),
        (["run", "--name", "a", "--port", "x"], "9080:auto"),
        (["run", "--name", "a", "--upstream", "db"], "SERVICE:PORT"),
        (["run", "--name", "a", "--labels", "app"], "KEY=VALUE"),
        (["run", "--name", "a", "--control-plane", "h:1"], "--ca-fingerprint"),
        (["run", "--name", "a", "--token", "t"], "--control-plane"),
        (["run", "--name", "a", "--uses", "b", "--scope", "all"], "one of them"),
        (["gateway", "g", "--listen", "80"], "80=8080"),
        (["gateway", "g", "--listen", "80=1.1.1.1:1", "--listen", "81=2.2.2.2:1"], "one address"),
        (["completion", "tcsh"], "bash"),
        (
            ["run", "--name", "a", "--capture", "onn"],
            "--capture: found 'onn'; expected on, off, seccomp, strict, rules or a port",
        ),
        (["run", "--name", "a", "--capture", "onn"], "did you mean 'on'?"),
        (["run", "--name", "a", "--inbound-capture", "tprox"], "--inbound-capture: found 'tprox'"),
        (["run", "--name", "a", "--inbound-capture", "tprox"], "did you mean 'tproxy'?"),
        (["run", "--name", "a", "--dns", "of"], "--dns: found 'of'"),
        (["run", "--name", "a", "--health", "tpc"], "did you mean 'tcp'?"),
        (["run", "--name", "a", "--port", "x"], "--port: found 'x'"),
        (["host", "x.yaml", "--tokens", "no-such-directory"], "Directory 'no-such-directory' does not exist"),
        (["run", "--name", "a", "--outbound-port", "x"], "'x' is no port, which is 0 to 65535"),
        (["enable", "foo"], "There are: control-plane, gateway, host, workload."),
        (["serve", "--import", "dns=web.example.com"], "_service._proto.name"),
    ],
)
def test_usage_errors_have_code_2_and_say_what_is_right(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out = capsys.readouterr()
    assert told in out.err
    assert out.out == ""


def test_up_tells_every_mistake_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weft.yaml").write_text("workloads:\n  - {name: a, comand: x}\n")
    assert run(["up", "-f", str(tmp_path / "weft.yaml")]) == 1
    assert "weft.yaml:2" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_WEFT_COMPLETE" in capsys.readouterr().out


def completions(line: str, **environment: str) -> set[str]:
    """What bash offers at the end of `line`."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from weft.cli.main import main; main()"],
        env={
            **os.environ,
            **environment,
            "_WEFT_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return {text.partition(",")[2] for text in done.stdout.split()}


def test_completion_knows_commands_kinds_and_words(tmp_path: Path) -> None:
    assert completions("weft pro") == {"proxy", "problems"}
    assert completions("weft get v") == {"virtualservices"}
    assert completions("weft delete ht") == {"httproutes", "httproutegroups"}
    assert completions("weft get mesh") == {"meshconfigs"}
    assert "workloads" in completions("weft get ")
    assert completions("weft proxy config a r") == {"routes"}
    assert completions("weft run --capture s") == {"seccomp", "strict"}
    assert completions("weft get vs r", WEFT_HOME=str(tmp_path)) == set()
    assert completions("weft run --inbound-capture t") == {"tproxy"}
    assert completions("weft serve --import n") == {"nomad="}
    for namespace, name in (("default", "shop"), ("default", "cart"), ("prod", "shop")):
        directory = Home(tmp_path).workload(namespace, name)
        directory.mkdir(parents=True)
        (directory / "state.json").touch()
    here = {"WEFT_HOME": str(tmp_path)}
    assert completions("weft capture install --workload s", **here) == {"shop"}
    assert completions("weft dns list -n prod --workload ", **here) == {"shop"}
    assert completions("weft proxy restart ", **here) == {"cart", "shop", "shop.prod"}
    assert completions("weft get nonsense r", WEFT_HOME=str(tmp_path)) == set()


def test_the_help_imports_nothing_heavy() -> None:
    code = "import sys; from weft.cli.main import run; run(['--help']); run(['apply', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"grpc", "aiohttp", "cryptography", "google.protobuf", "yaml", "msgspec", "asyncio"}


WITH_SECRETS = {"http3.yaml"}
"""Examples whose key and certificate each user makes."""


def test_validate_accepts_the_demo_and_every_example(capsys: pytest.CaptureFixture[str]) -> None:
    documents = str(ROOT / "src/weft/bookinfo/documents")
    examples = sorted(path for path in (ROOT / "examples").glob("*.yaml") if path.name != "circuit-breaker.yaml")
    assert len(examples) > 10
    for example in examples:
        kept_apart = ["--allow-missing-references"] if example.name in WITH_SECRETS else []
        assert run(["validate", documents, str(example), *kept_apart]) == 0, capsys.readouterr().err
    assert run(["validate", str(ROOT / "examples/circuit-breaker.yaml"), f"{documents}/services.yaml"]) == 0
    assert run(["validate", str(ROOT / "examples/shop")]) == 0


def test_validate_knows_the_trust_domain_of_a_weft_yaml_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = "apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    (tmp_path / "mesh.yaml").write_text(settings + "spec: {trustDomain: example.org}\n")
    assert run(["validate", str(tmp_path)]) == 0
    (tmp_path / "weft.yaml").write_text("trustDomain: example.org\n")
    assert run(["validate", str(tmp_path)]) == 0
    (tmp_path / "weft.yaml").write_text("trustDomain: another.example\n")
    assert run(["validate", str(tmp_path)]) == 1
    assert "the mesh runs with the trust domain 'another.example'" in capsys.readouterr().err


def test_what_the_demo_tells_to_try_is_what_the_examples_show() -> None:
    tries = ROOT / "src/weft/bookinfo/try"
    examples = ROOT / "examples"
    assert (tries / "reviews-v3.yaml").read_text() == (examples / "shift-reviews-v3.yaml").read_text()
    assert (tries / "ratings-delay.yaml").read_text() == (examples / "ratings-delay.yaml").read_text()


def test_validate_tells_file_line_field_and_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("selector", "selektor"))
    assert run(["validate", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    for part in ("a.yaml:4", "spec.selektor", "'selector'", "1 error,"):
        assert part in told


def test_validate_looks_at_all_files_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    assert run(["validate", "-o", "json", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["documents"], found["errors"]) == (1, 1)
    assert found["problems"][0]["source"].endswith("b.yaml")


def test_validate_reads_a_meshfile_and_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weft.yaml").write_text("workloads: [{name: a}]\n")
    assert run(["validate", str(tmp_path)]) == 1
    assert "'command' is missing" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD))
    assert run(["validate", "-"]) == 0


def test_without_a_control_plane_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("WEFT_COMMAND", "./run weft")
    addresses = {"admin": "", "xds": "", "agent_api": "", "agent_socket": ""}
    for name, pid in (("weft-demo-a", os.getpid()), ("weft-demo-b", 0)):
        (tmp_path / name / "control-plane").mkdir(parents=True)
        (tmp_path / name / "control-plane" / "endpoints.json").write_text(json.dumps({**addresses, "pid": pid}))
    assert run(["get", "services", "--home", str(tmp_path / "a home")]) == 3
    told = capsys.readouterr().err
    assert f"./run weft serve --home '{tmp_path}/a home'" in told
    assert f"a demo runs in:     {tmp_path}/weft-demo-a" in told
    assert "weft-demo-b" not in told


def test_a_home_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weft.yaml").write_text("workloads: []\n")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    for home, told in (("weft.yaml/below", "Not a directory"), ("open", "chmod 700")):
        assert run(["up", "-f", str(tmp_path / "weft.yaml"), "--home", str(tmp_path / home)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert told in line
    assert run(["serve", "--home", str(tmp_path / "weft.yaml/below")]) == 1
    told = capsys.readouterr().err
    assert told.endswith("weft.yaml/below: Not a directory\n") and "Errno" not in told


def test_a_directory_without_documents_is_a_usage_error(tmp_path: Path) -> None:
    assert run(["validate", str(tmp_path)]) == 2


def test_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WEFT_HOME", str(tmp_path))
    assert run(["version", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["envoy"].startswith("1.")
    assert found["control_plane"] is None


def test_output_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    words = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "weft.cli.main", "completion", "bash"]
    with (tmp_path / "out").open("w") as full:
        done = subprocess.run(words, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: cannot write: File too large\n")


def test_the_hint_of_an_agent_that_waits_is_as_the_command_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[RunParameters | GatewayParameters] = []

    def take(parameters: RunParameters | GatewayParameters) -> int:
        found.append(parameters)
        return 0

    monkeypatch.setattr("weft.cli.agents.run_agent", take)
    monkeypatch.setenv("WEFT_COMMAND", "./run weft")
    assert run(["run", "--home", str(tmp_path), "--name", "web", "--", "true"]) == 0
    assert found[0].control_plane.hint == f"./run weft serve --home {tmp_path}"
    far = ["--control-plane", "control.example:15013", "--ca-fingerprint", "sha256:00"]
    assert run(["gateway", "public", *far]) == 0
    assert found[1].control_plane.hint == "", "that one is started on another host"
