"""`weft validate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import command, home_option, missing_references_option, namespace_option, output_option
from weft.cli.output import print_problems, print_value
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.client import Source
    from weft.local.meshcheck import CheckedMesh
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
    there is an error, for use in CI.

    A weft.yaml is checked with the documents it names: its labels, ports, uses, upstreams and gateways against their
    Services and Gateways, its programs and paths against this machine.
    """
    from weft.cli.changes import allow_missing_references, missing_references, read_all

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
    from weft.local.client import AdminClient
    from weft.model.problem import problem_mapping

    meshes, documents = _with_named(sources)
    problems = [problem_mapping(problem) for mesh in meshes for problem in mesh.problems]
    answer = AdminClient(home).validate(*documents, namespace=namespace)
    return answer["documents"], _in_order((*problems, *answer["problems"]))


def _alone(sources: Sequence[Source], namespace: str) -> tuple[int, list[dict[str, Any]]]:
    """How many documents there are, and every problem once."""
    from weft.local.meshcheck import with_groups
    from weft.model.problem import distinct, problem_mapping
    from weft.schema.decode import decode_texts

    meshes, texts = _with_named(sources)
    decoded = decode_texts([(one.name, one.text) for one in texts], default_namespace=namespace)
    meshes = [with_groups(mesh, decoded.documents) for mesh in meshes]
    problems = [*decoded.problems, *(problem for mesh in meshes for problem in mesh.problems)]
    problems += _together(decoded, meshes)
    return len(decoded.documents), _in_order(problem_mapping(problem) for problem in distinct(problems))


def _with_named(sources: Sequence[Source]) -> tuple[list[CheckedMesh], list[Source]]:
    """The meshes among `sources`, and their documents with those that the meshes name."""
    from weft.cli.changes import read_all
    from weft.local.mesh_documents import is_mesh_file
    from weft.local.meshcheck import check_meshfile

    meshes = [
        check_meshfile(one.text, one.name, Path(one.name).parent)
        for one in sources
        if is_mesh_file(Path(one.name).name)
    ]
    given = {Path(one.name).resolve() for one in sources}
    named = tuple(str(path) for mesh in meshes for path in mesh.documents)
    more = [one for one in (read_all(named) if named else ()) if Path(one.name).resolve() not in given]
    return meshes, [one for one in (*sources, *more) if not is_mesh_file(Path(one.name).name)]


def _in_order(problems: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By file and line."""
    return sorted(problems, key=lambda one: (one["source"], one["line"], one["path"]))


def _together(decoded: Decoded, meshes: Sequence[CheckedMesh]) -> tuple[Problem, ...]:
    """What is wrong between documents, and with the workloads of `meshes`: dangling references, conflicting hosts, and
    parameters of Gateways.
    Without a trust domain that of the documents' MeshConfig is taken for granted."""
    from weft.mesh.build import build_mesh
    from weft.mesh.memo import Memo
    from weft.model.snapshot import ConfigSnapshot, MeshSettings, workload_order
    from weft.provision.parameters import parameters_problems

    documents = tuple(sorted(decoded.documents, key=lambda document: document.key))
    settings = MeshSettings(trust_domain=next((mesh.trust_domain for mesh in meshes), ""))
    workloads = tuple(sorted((one for mesh in meshes for one in mesh.workloads), key=workload_order))
    mesh = build_mesh(ConfigSnapshot(1, documents, workloads, decoded.problems, settings), Memo())
    found: Iterable[Problem] = (*mesh.problems, *mesh.idle) if workloads else mesh.problems
    for one in meshes:
        found = one.placed(found)
    return (*found, *parameters_problems(documents))
