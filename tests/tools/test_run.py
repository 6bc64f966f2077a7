"""`./run` works from anywhere and says in one sentence what is wrong with the machine it is on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "readlink", "dirname", "cat", "cksum", "mkdir", "rm", "mv", "grep", "sed", "tail", "sleep")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `./run` needs of a checkout, in a directory of its own with a space in its name."""
    place = tmp_path / "a checkout"
    place.mkdir()
    for name in ("run", "pyproject.toml"):
        shutil.copy2(ROOT / name, place / name)
    shutil.copytree(ROOT / "requirements", place / "requirements")
    return place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the standard tools and no Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    return directory


def make_python(directory: Path, version: tuple[int, int], *, venv: bool) -> None:
    """A python3 that answers the three questions `./run` asks it."""
    script = directory / "python3"
    script.write_text(
        f"""#!/bin/sh
case $2 in
    *ensurepip*) exit {0 if venv else 1} ;;
    *exit*) exit {int(version < (3, 11))} ;;
esac
echo /somewhere/python3 {version[0]}.{version[1]}
"""
    )
    script.chmod(0o755)


def run(
    checkout: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    return subprocess.run(
        [str(checkout / "run"), *arguments],
        cwd=cwd or checkout,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def test_an_old_python_is_named(checkout: Path, path: Path) -> None:
    make_python(path, (3, 9), venv=True)
    done = run(checkout, "demo", PATH=str(path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "run: Python 3.11 or newer is needed, but the newest here is 3.9; install a newer python3 and try again."
    ]
    assert not (checkout / ".venv.lock").exists()


def test_no_python_at_all(checkout: Path, path: Path) -> None:
    done = run(checkout, "demo", PATH=str(path))
    assert done.returncode == 1
    assert "there is no python3 on the PATH" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_python_without_venv(checkout: Path, path: Path) -> None:
    make_python(path, (3, 12), venv=False)
    done = run(checkout, "demo", PATH=str(path))
    assert done.returncode == 1
    assert "apt install python3.12-venv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_package_index_that_cannot_be_reached(checkout: Path) -> None:
    done = run(checkout, "weft", "version", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")
    assert done.returncode == 1
    assert "run: The package index cannot be reached: check the network" in done.stderr.splitlines()[-1]
    assert not (checkout / ".venv.lock").exists()


def test_a_directory_that_is_no_environment_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("data")
    done = run(checkout, "demo", WEFT_VENV=str(precious))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert [file.name for file in precious.iterdir()] == ["file"]


@pytest.mark.parametrize("left", [(), ("weft-place", "bin")])
def test_an_environment_that_was_never_finished_is_made_again(
    checkout: Path, tmp_path: Path, path: Path, left: tuple[str, ...]
) -> None:
    environment = tmp_path / "environment"
    environment.mkdir()
    for name in left:
        (environment / name).write_text("")
    make_python(path, (3, 9), venv=True)
    done = run(checkout, "demo", WEFT_VENV=str(environment), PATH=str(path))
    assert "Python 3.11 or newer is needed" in done.stderr.splitlines()[-1]


def installed(checkout: Path) -> Path:
    """An environment that `./run` takes for current, whose `weft` says where it was called and with what."""
    environment = checkout / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    weft = environment / "bin" / "weft"
    weft.write_text('#!/bin/sh\necho "$PWD"\nfor a; do echo "[$a]"; done\nexit 7\n')
    weft.chmod(0o755)
    interpreter = (environment / "bin" / "python").resolve()
    contents = (checkout / "requirements" / "run.txt").read_bytes() + (checkout / "pyproject.toml").read_bytes()
    sums = subprocess.run(["cksum"], input=contents, capture_output=True, check=True).stdout.decode().strip()
    (environment / "weft-run").write_text(f"run {interpreter} {checkout.resolve()} {environment.resolve()} {sums}\n")
    return environment


def test_a_current_environment_is_used_at_once_from_anywhere(checkout: Path, tmp_path: Path) -> None:
    installed(checkout)
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to("../second")
    (tmp_path / "second").symlink_to(checkout / "run")
    done = subprocess.run(
        [str(link), "weft", "get", "a b", ""], cwd=link.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == [str(link.parent), "[get]", "[a b]", "[]"]


@pytest.mark.parametrize(
    ("called", "told"), [("./run", "./run weft"), ("{}/run", "'{}/run' weft"), ("sub/../run", "sub/../run weft")]
)
def test_commands_that_weft_prints_begin_as_it_was_called(checkout: Path, called: str, told: str) -> None:
    environment = installed(checkout)
    (environment / "bin" / "weft").write_text('#!/bin/sh\necho "$WEFT_COMMAND"\n')
    (checkout / "sub").mkdir()
    done = subprocess.run([called.format(checkout), "weft"], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told.format(checkout)


def test_a_changed_lock_is_noticed(checkout: Path, path: Path) -> None:
    installed(checkout)
    with (checkout / "requirements" / "run.txt").open("a") as lock:
        lock.write("# changed\n")
    done = run(checkout, "weft", "version", PATH=str(path))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr


def test_an_unknown_recipe(checkout: Path) -> None:
    done = run(checkout, "tset")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "run: there is no recipe called 'tset'."
