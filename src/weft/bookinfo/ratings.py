"""The ratings service: stars per reviewer, kept in memory. ``python -m weft.bookinfo.ratings``."""

from __future__ import annotations

import json
from collections.abc import Callable

from weft.bookinfo.server import Request, Response, json_response, not_found, number_after, run_service

_FIRST = {"Reviewer1": 5, "Reviewer2": 4}
_MAX_PRODUCTS = 1000


def _ratings_from_body(body: bytes) -> dict[str, int] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict) or not all(type(stars) is int and 0 <= stars <= 5 for stars in value.values()):
        return None
    return value


def build_handle() -> Callable[[Request], Response]:
    """``GET /ratings/<number>``, and POST with ``{"Reviewer1": 3}`` to change them, for one process's memory."""
    changed: dict[int, dict[str, int]] = {}

    def respond(request: Request) -> Response:
        number = number_after("/ratings/", request.path)
        if number is None:
            return not_found(request.path)
        if request.method == "POST":
            ratings = _ratings_from_body(request.body)
            if ratings is None or len(changed) >= _MAX_PRODUCTS:
                return json_response({"error": 'please send ratings as JSON: {"Reviewer1": 3}, 0 to 5 stars'}, 400)
            changed[number] = ratings
        return json_response({"id": number, "ratings": changed.get(number, _FIRST)})

    return respond


if __name__ == "__main__":
    run_service("ratings", build_handle())
