"""`weft validate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import command, namespace_option, output_option

if TYPE_CHECKING:
    from weft.local.meshcheck import CheckedMesh
    from weft.model.document import Document
    from weft.model.problem import Problem


@command(
    "validate", "weft validate routes.yaml mesh/", "kustomize build . | weft validate -", "weft validate -o json mesh/"
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@namespace_option
@click.option("--strict", is_flag=True, help="Warnings are errors, too.")
@output_option
def validate(*, paths: tuple[str, ...], namespace: str, strict: bool, output: str) -> int:
    """Check documents without a control plane.

    PATHs are files, directories or - (stdin). Together they are one mesh: syntax, fields, references and conflicting
    hosts are checked. Exit code 1 when there is an error, for use in CI.

    A weft.yaml is checked with the documents it names: its labels, ports, uses, upstreams and gateways against their
    Services and Gateways, its programs and paths against this machine.
    """
    from weft.cli.output import print_problems, print_value  # noqa: PLC0415
    from weft.model.problem import Severity, problem_mapping  # noqa: PLC0415

    count, found = _check(paths, namespace)
    errors = sum(problem.severity is Severity.ERROR for problem in found)
    warnings = len(found) - errors
    mappings: list[dict[str, Any]] = [problem_mapping(problem) for problem in found]
    if output != "table":
        print_value({"documents": count, "errors": errors, "warnings": warnings, "problems": mappings}, output)
    else:
        print_problems(mappings)
        counts = ((count, "document"), (errors, "error"), (warnings, "warning"))
        summary = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)
        click.echo(summary, err=bool(errors))
    return 1 if errors or (strict and warnings) else 0


def _check(paths: tuple[str, ...], namespace: str) -> tuple[int, list[Problem]]:
    """How many documents there are, and every problem once, by file and line."""
    from weft.cli.changes import is_mesh_file, read_all  # noqa: PLC0415
    from weft.local.meshcheck import check_meshfile  # noqa: PLC0415
    from weft.model.origin import path_text  # noqa: PLC0415
    from weft.model.problem import distinct  # noqa: PLC0415
    from weft.schema.decode import decode_documents  # noqa: PLC0415

    documents: list[Document[object]] = []
    problems: list[Problem] = []
    meshes: list[CheckedMesh] = []
    sources = read_all(paths)
    for source in sources:
        path = Path(source.name)
        if is_mesh_file(path.name):
            meshes.append(check_meshfile(source.text, source.name, path.parent))
    given = {Path(source.name).resolve() for source in sources}
    named = [str(path) for mesh in meshes for path in mesh.documents]
    sources += [one for one in (read_all(tuple(named)) if named else ()) if Path(one.name).resolve() not in given]
    for source in sources:
        if is_mesh_file(Path(source.name).name):
            continue
        decoded = decode_documents(source.text, source.name, default_namespace=namespace)
        documents += decoded.documents
        problems += decoded.problems
    documents.sort(key=lambda document: document.key)
    problems += [problem for mesh in meshes for problem in mesh.problems]
    problems += _together(tuple(documents), tuple(problems), meshes)
    unique = distinct(problems)
    return len(documents), sorted(unique, key=lambda one: (one.origin.source, one.origin.line, path_text(one.path)))


def _together(
    documents: tuple[Document[object], ...], told: tuple[Problem, ...], meshes: Sequence[CheckedMesh]
) -> tuple[Problem, ...]:
    """What is wrong between documents, and with the workloads of `meshes`: repeated documents, dangling references,
    conflicting hosts. `told` is what is wrong with each alone. Without a trust domain that of the documents'
    MeshConfig is taken for granted."""
    from weft.mesh.build import build_mesh  # noqa: PLC0415
    from weft.mesh.memo import Memo  # noqa: PLC0415
    from weft.model.problem import Problem, Severity  # noqa: PLC0415
    from weft.model.snapshot import ConfigSnapshot, MeshSettings, workload_order  # noqa: PLC0415

    first: dict[object, Document[object]] = {}
    repeated = []
    for document in documents:
        other = first.setdefault(document.key, document)
        if other is not document:
            message = f"{document.key} is in {other.origin}, too"
            repeated.append(
                Problem(Severity.ERROR, "duplicate", message, document.origin, document.key, expected="one of them")
            )
    unique = tuple(first.values())
    settings = MeshSettings(trust_domain=next((mesh.trust_domain for mesh in meshes), ""))
    workloads = tuple(sorted((one for mesh in meshes for one in mesh.workloads), key=workload_order))
    mesh = build_mesh(ConfigSnapshot(1, unique, workloads, told, settings), Memo())
    found: Iterable[Problem] = (*mesh.problems, *mesh.idle) if workloads else mesh.problems
    for one in meshes:
        found = one.placed(found)
    return (*repeated, *found)
