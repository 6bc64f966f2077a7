"""The files source against what editors, humans and file systems do."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from weft.model.unreadable import Unreadable
from weft.sources import files as files_module
from weft.sources.contents import Contents
from weft.sources.files import FilesSource
from weft.testing.polling import eventually

POLL = 0.02
REMOVAL = 0.3


def service(name: str, port: int = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports:\n  - port: {port}\n---\n"


class Followed:
    """A source that runs, and what it holds."""

    def __init__(self, source: FilesSource, looks: list[float]) -> None:
        self.source = source
        self.looks = looks
        """When it has looked at the files, by its own clock."""

    @property
    def contents(self) -> Contents:
        value = self.source.contents.value
        assert value is not None
        return value

    @property
    def names(self) -> list[str]:
        return [document.key.name for document in self.contents.documents]

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.contents.problems]

    def text(self, name: str) -> str:
        return next(document.text for document in self.contents.documents if document.key.name == name)

    async def looked(self, seconds: float = 0.0) -> None:
        """It has looked twice since, and again after `seconds`."""
        count, since = len(self.looks), self.looks[-1]
        await eventually("it looks", lambda: len(self.looks) > count + 2 and self.looks[-1] > since + seconds)

    async def until(self, what: Callable[[], bool], deadline: float = 60) -> None:
        try:
            async with asyncio.timeout(deadline):
                while not what():
                    await self.source.contents.changed(self.source.contents.version)
        except TimeoutError:
            raise AssertionError(f"never: {self.names} {self.contents.problems}") from None


@pytest.fixture
async def follow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., "asyncio.Future[Followed]"]]:
    tasks = []

    async def start(*roots: Path, removal: float = REMOVAL) -> Followed:
        source = FilesSource(roots, poll=POLL, removal=removal)
        looks: list[float] = []
        scan = source._scan

        def look(known: Mapping[Path, Any], now: float) -> Any:
            found = scan(known, now)
            looks.append(now)
            return found

        monkeypatch.setattr(source, "_scan", look)
        tasks.append(asyncio.create_task(source.run()))
        async with asyncio.timeout(60):
            await source.contents.changed(0)
        return Followed(source, looks)

    yield lambda *roots, **more: asyncio.ensure_future(start(*roots, **more))
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, asyncio.CancelledError), result


Follow = Callable[..., "asyncio.Future[Followed]"]


async def test_what_is_read_and_what_is_not(tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("a.yaml", "b.yml", "deep/er/c.json"):
        text = service(Path(name).stem)
        if name.endswith("json"):
            text = (
                '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": {"ports": [{"port": 1}]}}'
            )
        (tmp_path / name).write_text(text)
    wrong = (
        ".hidden.yaml",
        "x.yaml~",
        "#y.yaml#",
        ".#z.yaml",
        "readme.md",
        ".git/d.yaml",
        "a.yaml.swp",
        "deep/weft.yaml",
    )
    for name in wrong:
        (tmp_path / name).write_text(service("wrong"))
    os.mkfifo(tmp_path / "pipe.yaml")
    followed = await follow(tmp_path)
    assert followed.names == ["a", "b", "c"]
    assert followed.codes == []
    assert str(followed.contents.documents[0].origin) == f"{tmp_path}/a.yaml:1"


async def test_a_change_keeps_the_identity_of_the_rest(tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "a.yaml").write_text(service("a") + service("b"))
    (tmp_path / "c.yaml").write_text(service("c"))
    followed = await follow(tmp_path)
    a, _, c = followed.contents.documents
    (tmp_path / "a.yaml").write_text(service("a") + service("b", 81))
    await followed.until(lambda: "81" in followed.text("b"))
    assert followed.contents.documents[0] is a
    assert followed.contents.documents[2] is c


async def test_additions_and_deletions(tmp_path: Path, follow: Follow) -> None:
    followed = await follow(tmp_path)
    assert followed.names == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.yaml").write_text(service("a"))
    await followed.until(lambda: followed.names == ["a"])
    (tmp_path / "new" / "a.yaml").unlink()
    await followed.until(lambda: followed.names == [])


async def test_editors_that_rename_over_or_delete_first_cause_no_gap(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    followed = await follow(tmp_path, removal=5.0)
    seen: list[list[str]] = []

    async def watch() -> None:
        version = 0
        while True:
            version = await followed.source.contents.changed(version)
            seen.append(followed.names)

    watching = asyncio.create_task(watch())
    (tmp_path / "tmp").write_text(service("a", 81))
    (tmp_path / "tmp").rename(path)
    await followed.until(lambda: "81" in followed.text("a"))
    path.rename(tmp_path / "a.yaml~")
    await followed.looked()
    path.write_text(service("a", 82))
    await followed.until(lambda: "82" in followed.text("a"))
    path.write_text("")
    await followed.looked()
    path.write_text(service("a", 83))
    await followed.until(lambda: "83" in followed.text("a"))
    await followed.looked(5.5)  # what was to be removed is not removed later
    watching.cancel()
    assert [] not in seen


async def test_a_half_written_file_does_no_harm(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + service("b"))
    followed = await follow(tmp_path)
    path.write_text(service("a", 81) + "apiVersion: v1\nkind: Service\nmetadata: {name: b\n")
    await followed.until(lambda: followed.codes != [])
    assert followed.names == ["a", "b"]
    problem = followed.contents.problems[0]
    assert problem.origin.source == str(path)
    assert problem.origin.line >= 8
    path.write_text(service("a", 82) + service("b", 82))
    await followed.until(lambda: followed.codes == [] and "82" in followed.text("a") + followed.text("b"))


async def test_a_new_file_is_read_when_it_has_stopped_growing(
    tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, walk, seen = tmp_path / "a.yaml", files_module._walk, set[str]()
    parts = [service(f"s{number}") for number in range(8)]

    def growing(root: Path) -> Iterator[tuple[Path, files_module.Signature]]:
        if parts:
            with path.open("a") as file:
                file.write(parts.pop(0))
        yield from walk(root)

    followed = await follow(tmp_path)
    monkeypatch.setattr(files_module, "_walk", growing)

    def whole() -> bool:
        seen.add(" ".join(followed.names))
        return len(followed.names) == 8

    await followed.until(whole)
    assert seen <= {"", " ".join(f"s{number}" for number in range(8))}


async def test_one_bad_document_keeps_its_last_version_and_lets_the_others_through(
    tmp_path: Path, follow: Follow
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + service("b"))
    followed = await follow(tmp_path)
    before = followed.text("b")
    path.write_text(service("a", 81) + service("b").replace("port: 80", "prt: 80"))
    await followed.until(lambda: followed.codes != [])
    assert "81" in followed.text("a")
    assert followed.text("b") == before
    assert "prt" in str(followed.contents.problems[0])
    assert followed.contents.problems[0].nearest.endswith("port")


PEER = (
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: NAME}\nspec: {mtls: {mode: MODE}}\n"
)


async def test_of_a_security_document_the_last_good_version_stays_and_only_a_new_one_closes(
    tmp_path: Path, follow: Follow
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(PEER.replace("NAME", "old").replace("MODE", "PERMISSIVE"))
    followed = await follow(tmp_path)
    (good,) = followed.contents.documents
    wrong = PEER.replace("MODE", "STRIKT")
    path.write_text(wrong.replace("NAME", "old") + "---\n" + wrong.replace("NAME", "new"))
    await followed.until(lambda: followed.names == ["new", "old"])
    new, old = followed.contents.documents
    assert old is good
    assert isinstance(new.spec, Unreadable)
    assert followed.codes == ["bad-value", "bad-value"]
    path.write_text(wrong.replace("NAME", "old") + "---\n" + PEER.replace("NAME", "new").replace("MODE", "DISABLE"))
    await followed.until(lambda: not isinstance(followed.contents.documents[0].spec, Unreadable))


async def test_a_mistyped_kind_keeps_the_last_version_of_all_in_the_file(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    followed = await follow(tmp_path)
    path.write_text(service("a").replace("kind: Service", "kind: Servce") + service("b"))
    await followed.until(lambda: followed.names == ["a", "b"])
    assert followed.codes == ["unknown-kind"]


async def test_a_document_removed_from_a_file_goes(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + service("b"))
    followed = await follow(tmp_path)
    path.write_text(service("a"))
    await followed.until(lambda: followed.names == ["a"])


async def test_a_renamed_file_gives_no_duplicates(tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    followed = await follow(tmp_path)
    (tmp_path / "a.yaml").rename(tmp_path / "z.yaml")
    await followed.until(lambda: followed.contents.documents[0].origin.source.endswith("z.yaml"))
    assert followed.codes == []


async def test_two_files_with_one_key(tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "a.yaml").write_text(service("a", 1))
    (tmp_path / "b.yaml").write_text(service("a", 2))
    followed = await follow(tmp_path)
    assert followed.codes == ["duplicate-document"]
    problem = followed.contents.problems[0]
    assert problem.origin.source == str(tmp_path / "b.yaml")
    assert str(tmp_path / "a.yaml") in problem.message
    assert followed.contents.documents[0].origin.source == str(tmp_path / "a.yaml")


async def test_kubernetes_style_swaps_of_a_linked_directory(tmp_path: Path, follow: Follow) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "a.yaml").write_text(service("a", number))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    followed = await follow(tmp_path)
    assert '"port":1' in followed.text("a")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await followed.until(lambda: '"port":2' in followed.text("a"))
    assert followed.names == ["a"]


async def test_links_in_a_circle_end(tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    (tmp_path / "again").symlink_to(tmp_path)
    followed = await follow(tmp_path)
    assert followed.names == ["a"]
    assert followed.codes == []


async def test_a_root_that_vanishes_leaves_its_documents_in_force(tmp_path: Path, follow: Follow) -> None:
    root = tmp_path / "mesh"
    root.mkdir()
    (root / "a.yaml").write_text(service("a"))
    single = tmp_path / "single.yaml"
    single.write_text(service("s"))
    followed = await follow(root, single)
    root.rename(tmp_path / "elsewhere")
    single.unlink()
    await followed.until(lambda: followed.codes == ["root-unreadable", "root-unreadable"])
    await followed.looked(REMOVAL * 2)
    assert followed.names == ["a", "s"]
    (tmp_path / "elsewhere").rename(root)
    await followed.until(lambda: followed.codes == ["root-unreadable"])


async def test_what_cannot_be_read_is_told_and_kept(
    tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    followed = await follow(tmp_path)
    path.write_text("#" * 1001)
    await followed.until(lambda: followed.codes == ["file-too-large"])
    assert followed.names == ["a"]
    path.write_bytes(b"\xff\xfe\x00")
    await followed.until(lambda: followed.codes == ["not-utf8"])
    assert followed.names == ["a"]


async def test_a_decoder_that_trips_does_not_stop_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")

    def trip(text: str, source: str) -> None:
        raise RecursionError("too deep")

    source = FilesSource([tmp_path], poll=POLL, decode=trip)  # type: ignore[arg-type]
    running = asyncio.create_task(source.run())
    async with asyncio.timeout(60):
        await source.contents.changed(0)
    running.cancel()
    assert source.contents.value is not None
    assert [problem.code for problem in source.contents.value.problems] == ["internal-error"]


async def test_what_is_left_out_is_logged_once_and_is_no_problem(
    tmp_path: Path, follow: Callable[..., "asyncio.Future[Followed]"], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="weft.files")
    file = tmp_path / "tutorial.yaml"
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\n"
    file.write_text(service("a") + deployment)
    source = await follow(tmp_path)
    assert (source.names, source.codes) == (["a"], [])
    file.write_text(service("b") + service("a") + deployment)
    await source.until(lambda: source.names == ["a", "b"])
    ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n"
    file.write_text(service("b") + service("a") + deployment + ingress)
    await source.until(lambda: source.codes == ["left-out"])
    (told,) = [record.getMessage() for record in caplog.records if record.name == "weft.files"]
    assert told.startswith(f"{file}:9: note: Deployment web is left out: ")
