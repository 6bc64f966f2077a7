"""The OpenAPI 3.1 description, generated from the route table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from weft import __version__
from weft.admin.people.access import roles_with
from weft.admin.people.permissions import needed
from weft.admin.routing import Route

_PLACEHOLDER = re.compile(r"{(\w+)}")
_ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong and what to do, for people"},
        "code": {"type": "string", "description": "a stable kebab-case word, for programs"},
        "problems": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
    },
}
_PROBLEM = {
    "type": "object",
    "properties": {
        "severity": {
            "enum": ["error", "warning", "note"],
            "description": "note: left aside, nothing is wrong",
        },
        "code": {"type": "string"},
        "message": {"type": "string"},
        "source": {"type": "string", "description": "file, or api"},
        "line": {"type": "integer", "description": "1-based, 0 when unknown"},
        "path": {"type": "string", "description": "the field"},
        "expected": {"type": "string"},
        "nearest": {"type": "string", "description": "the closest valid name"},
        "object": {"type": ["object", "null"], "description": "group, kind, namespace, name"},
    },
}
_CONDITION = {
    "type": "object",
    "description": "a condition of the Gateway API, without times",
    "properties": {
        "type": {"type": "string", "description": "Accepted, Conflicted, ResolvedRefs, PartiallyInvalid or Programmed"},
        "status": {"enum": ["True", "False"]},
        "reason": {"type": "string", "description": "the API's word, or HostConflict"},
        "message": {"type": "string", "description": "for people"},
    },
}
_CONDITIONS = {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}}
_DOCUMENT = {
    "type": "object",
    "properties": {
        "key": {"type": "object", "description": "group, kind, namespace, name"},
        "source": {"type": "string", "description": "file, or api"},
        "line": {"type": "integer"},
        "owner": {"enum": ["file", "api", "kubernetes"]},
        "created": {"type": "number", "description": "seconds since the epoch, 0 when unknown"},
        "generation": {"type": "integer"},
        "unreadable": {"type": "boolean", "description": "of a security kind, not understood: closes what it names"},
        "document": {"type": "object", "description": "the resource itself, secrets redacted"},
        "parents": {
            "type": "array",
            "description": "routes only: how each parent took it, as the Gateway API's status.parents",
            "items": {
                "type": "object",
                "properties": {
                    "parentRef": {
                        "type": "object",
                        "description": "a Gateway, Service, ServiceEntry, or kind Mesh",
                    },
                    "controllerName": {"type": "string"},
                    "conditions": _CONDITIONS,
                },
            },
        },
        "conditions": {
            **_CONDITIONS,
            "description": "Gateways of this mesh only: as the Gateway API's status.conditions",
        },
        "listeners": {
            "type": "array",
            "description": "Gateways of this mesh only: as the Gateway API's status.listeners",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "attachedRoutes": {"type": "integer"},
                    "conditions": _CONDITIONS,
                },
            },
        },
    },
}
_DOCUMENTS = {
    "type": "object",
    "properties": {"documents": {"type": "array", "items": {"$ref": "#/components/schemas/Document"}}},
}
_SCHEMAS = {
    "Error": _ERROR,
    "Problem": _PROBLEM,
    "Condition": _CONDITION,
    "Document": _DOCUMENT,
    "Documents": _DOCUMENTS,
}


def build_description(routes: Sequence[Route]) -> dict[str, Any]:
    """The description as JSON-ready mappings."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "weft admin API", "version": __version__},
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS", "description": "off loopback: of a principal"},
            },
            "schemas": _SCHEMAS,
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    in_path: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    others = [
        {"name": one.name, "in": one.place, "description": one.text, "schema": {"type": one.kind}}
        for one in route.parameters
    ]
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    answer = {"schema": {"$ref": f"#/components/schemas/{route.answer}"}} if route.answer else {}
    permission = needed(route.method, route.path)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "x-weft-permission": str(permission),
        "x-weft-roles": list(roles_with(permission)),
        "parameters": in_path + others,
        "responses": {
            "200": {"description": "done", "content": {"application/json": answer}},
            "default": {"description": "refused", **error},
        },
    }
    if route.body:
        operation["requestBody"] = {"description": route.body, "required": True, "content": {"*/*": {}}}
    if route.public:
        operation["security"] = []
    return operation
