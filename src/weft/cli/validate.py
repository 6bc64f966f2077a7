"""`weft validate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import command, home_option, missing_references_option, namespace_option, output_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.client import Source
    from weft.model.problem import Problem
    from weft.schema.decode import Decoded


@command(
    "validate",
    "weft validate routes.yaml mesh/",
    "weft validate --against-mesh routes.yaml",
    "kustomize build . | weft validate -",
    "weft validate -o json mesh/",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@namespace_option
@click.option(
    "--against-mesh",
    is_flag=True,
    help="Check together with what the running mesh holds, as `weft apply --dry-run` does. Documents of followed files "
    "may be among them.",
)
@home_option
@missing_references_option
@click.option("--strict", is_flag=True, help="Warnings are errors, too, except those that were allowed.")
@output_option
def validate(
    *,
    paths: tuple[str, ...],
    namespace: str,
    against_mesh: bool,
    home: Home,
    allow_missing: bool,
    strict: bool,
    output: str,
) -> int:
    """Check documents, alone or with a running mesh.

    PATHs are files, directories or - (stdin). Together they are one mesh, and no control plane is needed: syntax,
    fields, references and conflicting hosts are checked, with the same judgement as `weft apply`. Exit code 1 when
    there is an error, for use in CI. A weft.yaml is checked too.
    """
    from weft.cli.changes import allow_missing_references, missing_references, read_all  # noqa: PLC0415
    from weft.cli.output import print_problems, print_value  # noqa: PLC0415

    sources = read_all(paths)
    count, problems = _in_mesh(sources, namespace, home) if against_mesh else _alone(sources, namespace)
    missing = missing_references(problems, "error")
    if allow_missing:
        problems = allow_missing_references(problems)
    errors = sum(problem["severity"] == "error" for problem in problems)
    warnings = sum(problem["severity"] == "warning" for problem in problems)
    if output != "table":
        print_value({"documents": count, "errors": errors, "warnings": warnings, "problems": problems}, output)
    else:
        print_problems(problems)
        counts = ((count, "document"), (errors, "error"), (warnings, "warning"))
        summary = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)
        click.echo(summary, err=bool(errors))
        if missing and not allow_missing:
            click.echo(_elsewhere(missing, against_mesh=against_mesh), err=True)
    allowed = missing_references(problems, "warning") if allow_missing else 0
    return 1 if errors or (strict and warnings > allowed) else 0


def _elsewhere(missing: int, *, against_mesh: bool) -> str:
    """What to do where the documents are a part of a mesh."""
    ways = "" if against_mesh else "--against-mesh looks for them in the running mesh, "
    what = "1 error is" if missing == 1 else f"{missing} errors are"
    return f"{what} about documents that are not among these: {ways}--allow-missing-references makes it a warning"


def _in_mesh(sources: Sequence[Source], namespace: str, home: Home) -> tuple[int, list[dict[str, Any]]]:
    """How many documents there are, and what would be wrong if the running mesh had them."""
    from weft.cli.changes import is_mesh_file  # noqa: PLC0415
    from weft.local.client import AdminClient  # noqa: PLC0415
    from weft.model.problem import problem_mapping  # noqa: PLC0415

    problems: list[dict[str, Any]] = []
    documents = []
    for source in sources:
        if is_mesh_file(PurePath(source.name).name):
            problems += [problem_mapping(problem) for problem in _meshfile(source.text, source.name)[0]]
        else:
            documents.append(source)
    answer = AdminClient(home).validate(*documents, namespace=namespace)
    return answer["documents"], _in_order((*problems, *answer["problems"]))


def _alone(sources: Sequence[Source], namespace: str) -> tuple[int, list[dict[str, Any]]]:
    """How many documents there are, and every problem once."""
    from weft.cli.changes import is_mesh_file  # noqa: PLC0415
    from weft.model.problem import distinct, problem_mapping  # noqa: PLC0415
    from weft.schema.decode import decode_texts  # noqa: PLC0415

    problems: list[Problem] = []
    trust_domain = ""
    texts = []
    for source in sources:
        if is_mesh_file(PurePath(source.name).name):
            found, trust_domain = _meshfile(source.text, source.name)
            problems += found
        else:
            texts.append((source.name, source.text))
    decoded = decode_texts(texts, default_namespace=namespace)
    problems += decoded.problems
    problems += _together(decoded, trust_domain)
    return len(decoded.documents), _in_order(problem_mapping(problem) for problem in distinct(problems))


def _in_order(problems: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By file and line."""
    return sorted(problems, key=lambda one: (one["source"], one["line"], one["path"]))


def _meshfile(text: str, name: str) -> tuple[tuple[Problem, ...], str]:
    """What is wrong with a weft.yaml, and the trust domain it names."""
    from weft.local.meshfile import MeshFileError, decode_meshfile  # noqa: PLC0415

    try:
        return (), decode_meshfile(text, name).trust_domain
    except MeshFileError as error:
        return error.problems, ""


def _together(decoded: Decoded, trust_domain: str) -> tuple[Problem, ...]:
    """What is wrong between documents: dangling references, conflicting hosts. Without a trust domain that of the
    documents' MeshConfig is taken for granted."""
    from weft.mesh.build import build_mesh  # noqa: PLC0415
    from weft.mesh.memo import Memo  # noqa: PLC0415
    from weft.model.snapshot import ConfigSnapshot, MeshSettings  # noqa: PLC0415

    documents = tuple(sorted(decoded.documents, key=lambda document: document.key))
    settings = MeshSettings(trust_domain=trust_domain)
    return build_mesh(ConfigSnapshot(1, documents, problems=decoded.problems, settings=settings), Memo()).problems
