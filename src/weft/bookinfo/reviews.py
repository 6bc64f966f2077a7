"""The reviews service: v1 shows no stars, v2 black, v3 red. ``python -m weft.bookinfo.reviews --version v2``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from weft.bookinfo.client import ServiceClient, client_from_environment, forwarded
from weft.bookinfo.server import (
    Request,
    Response,
    argument_parser,
    json_response,
    not_found,
    number_after,
    run_service,
)

COLORS = {"v1": "", "v2": "black", "v3": "red"}
_TEXTS = {
    "Reviewer1": "A lovely muddle from the first page to the last: two pairs of twins and not one dull scene.",
    "Reviewer2": "Great fun, though it has less depth than the later plays. Read it aloud, it is worth it.",
}
_TIMEOUT = {"black": 10.0, "red": 2.5}
"""The public application's timeouts: its fault-injection lessons depend on them."""


def _rating(stars: dict[str, int] | None, reviewer: str, color: str) -> dict[str, object]:
    if stars is None:
        return {"error": "Ratings service is currently unavailable"}
    return {"stars": stars.get(reviewer, 0), "color": color}


def _stars(ratings: ServiceClient, number: int, headers: dict[str, str], timeout: float) -> dict[str, int] | None:
    answer = ratings.get(f"/ratings/{number}", headers, timeout)
    if answer.status != 200:
        return None
    try:
        found = json.loads(answer.body)["ratings"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def build_handle(version: str, ratings: ServiceClient) -> Callable[[Request], Response]:
    """``GET /reviews/<number>`` as `version` answers it."""
    color = COLORS.get(version, "red")
    pod = os.environ.get("POD_NAME") or f"reviews-{version}"
    cluster = os.environ.get("CLUSTER_NAME") or "null"

    def respond(request: Request) -> Response:
        number = number_after("/reviews/", request.path)
        if number is None:
            return not_found(request.path)
        reviews: list[dict[str, object]] = [{"reviewer": name, "text": text} for name, text in _TEXTS.items()]
        if color:
            stars = _stars(ratings, number, forwarded(request.headers), _TIMEOUT[color])
            for review in reviews:
                review["rating"] = _rating(stars, str(review["reviewer"]), color)
        answer = {"id": str(number), "podname": pod, "clustername": cluster, "reviews": reviews}
        return json_response(answer, headers=(("x-reviews-version", version),))

    return respond


def main() -> None:
    """Run the version named by ``--version`` or SERVICE_VERSION."""
    parser = argument_parser("the reviews service")
    parser.add_argument(
        "--version", choices=tuple(COLORS), default=os.environ.get("SERVICE_VERSION") or "v1", help="%(default)s"
    )
    arguments = parser.parse_args()
    run_service("reviews", build_handle(arguments.version, client_from_environment("ratings")), arguments)


if __name__ == "__main__":
    main()
