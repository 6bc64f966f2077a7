"""`weft validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.options import command, namespace_option, output_option

if TYPE_CHECKING:
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
    hosts are checked. Exit code 1 when there is an error, for use in CI. A weft.yaml is checked too.
    """
    from weft.cli.output import print_problems, print_value  # noqa: PLC0415
    from weft.model.problem import Severity, problem_mapping  # noqa: PLC0415

    count, found = _check(paths, namespace)
    errors = sum(problem.severity is Severity.ERROR for problem in found)
    warnings = sum(problem.severity is Severity.WARNING for problem in found)
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
    from pathlib import PurePath  # noqa: PLC0415

    from weft.cli.changes import is_mesh_file, read_all  # noqa: PLC0415
    from weft.model.origin import path_text  # noqa: PLC0415
    from weft.model.problem import distinct  # noqa: PLC0415
    from weft.schema.decode import decode_documents  # noqa: PLC0415

    documents: list[Document[object]] = []
    problems: list[Problem] = []
    trust_domain = ""
    for source in read_all(paths):
        if is_mesh_file(PurePath(source.name).name):
            found, trust_domain = _meshfile(source.text, source.name)
            problems += found
            continue
        decoded = decode_documents(source.text, source.name, default_namespace=namespace)
        documents += decoded.documents
        problems += decoded.problems
    documents.sort(key=lambda document: document.key)
    problems += _together(tuple(documents), tuple(problems), trust_domain)
    unique = distinct(problems)
    return len(documents), sorted(unique, key=lambda one: (one.origin.source, one.origin.line, path_text(one.path)))


def _meshfile(text: str, name: str) -> tuple[tuple[Problem, ...], str]:
    """What is wrong with a weft.yaml, and the trust domain it names."""
    from weft.local.meshfile import MeshFileError, decode_meshfile  # noqa: PLC0415

    try:
        return (), decode_meshfile(text, name).trust_domain
    except MeshFileError as error:
        return error.problems, ""


def _together(
    documents: tuple[Document[object], ...], told: tuple[Problem, ...], trust_domain: str
) -> tuple[Problem, ...]:
    """What is wrong between documents: repeated ones, dangling references, conflicting hosts. `told` is what is
    wrong with each alone. Without a trust domain that of the documents' MeshConfig is taken for granted."""
    from weft.mesh.build import build_mesh  # noqa: PLC0415
    from weft.mesh.memo import Memo  # noqa: PLC0415
    from weft.model.problem import Problem, Severity  # noqa: PLC0415
    from weft.model.snapshot import ConfigSnapshot, MeshSettings  # noqa: PLC0415

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
    settings = MeshSettings(trust_domain=trust_domain)
    mesh = build_mesh(ConfigSnapshot(1, unique, problems=told, settings=settings), Memo())
    return (*repeated, *mesh.problems)
