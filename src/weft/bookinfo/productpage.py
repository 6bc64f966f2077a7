"""The product page: HTML for people, JSON below /api/v1/products. ``python -m weft.bookinfo.productpage``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from weft.bookinfo.client import Answer, ServiceClient, client_from_environment, forwarded
from weft.bookinfo.page import FAVICON, Found, index_page, product_page
from weft.bookinfo.server import Request, Response, json_response, not_found, number_after, run_service

PRODUCT: dict[str, object] = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": (
        "Two pairs of twins, parted by a shipwreck, meet again in a town where nobody can tell them apart. "
        "One of Shakespeare's <b>earliest and shortest</b> plays."
    ),
}
USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
"""Names that may sign in: they end up in the ``end-user`` header."""
_TIMEOUT = 3.0
_REVIEWS_ATTEMPTS = 2
"""As in the public application: 2 x 3 s is less than the 7 s delay of its fault-injection lesson."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services the page is made of."""

    details: ServiceClient
    reviews: ServiceClient
    ratings: ServiceClient


def services_from_environment() -> Services:
    """Clients for the services, at the names and ports of the environment."""
    return Services(*(client_from_environment(name) for name in ("details", "reviews", "ratings")))


def user_of(request: Request) -> str:
    """Who signed in, or an empty string."""
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get("user")
    except CookieError:
        return ""
    return morsel.value if morsel and USER.fullmatch(morsel.value) else ""


def _found(answer: Answer, service: str) -> Found:
    if answer.status == 200:
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return Found(200, value, (answer.headers or {}).get("x-reviews-version", ""))
    status = answer.status if answer.status not in (0, 200) else 500
    return Found(status, {"error": f"Sorry, product {service} are currently unavailable for this book."})


def _call(services: Services, service: str, number: int, headers: dict[str, str]) -> Found:
    client: ServiceClient = getattr(services, service)
    answer = Answer(0)
    for _ in range(_REVIEWS_ATTEMPTS if service == "reviews" else 1):
        answer = client.get(f"/{service}/{number}", headers, _TIMEOUT)
        if answer.status == 200:
            break
    return _found(answer, service)


def _api(services: Services, path: str, headers: dict[str, str]) -> Response:
    if path in ("/api/v1/products", "/api/v1/products/"):
        return json_response([PRODUCT])
    rest, _, part = path.removeprefix("/api/v1/products/").partition("/")
    number = number_after("", rest)
    if number is None or part not in ("", "reviews", "ratings"):
        return not_found(path)
    found = _call(services, part or "details", number, headers)
    return json_response(found.value, found.status)


def _login(request: Request) -> Response:
    form = parse_qs(request.body.decode("utf-8", "replace"))
    user = (form.get("username") or [""])[0].strip()
    if not USER.fullmatch(user):
        return Response(400, b"please sign in with a name of letters, digits and . _ @ -\n", "text/plain")
    return _to_page(("set-cookie", f"user={user}; Path=/; HttpOnly; SameSite=Lax"))


def _to_page(cookie: tuple[str, str]) -> Response:
    return Response(302, b"", "text/plain", (("location", "/productpage"), cookie))


def _page(services: Services, user: str, headers: dict[str, str]) -> Response:
    details = _call(services, "details", 0, headers)
    reviews = _call(services, "reviews", 0, headers)
    return _html(product_page(PRODUCT, details, reviews, user))


def _html(text: str) -> Response:
    return Response(200, text.encode(), "text/html; charset=utf-8")


def build_handle(services: Services) -> Callable[[Request], Response]:
    """The page, the API, and signing in and out."""
    fixed = {
        ("GET", "/logout"): _to_page(("set-cookie", "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")),
        ("GET", "/static/favicon.svg"): Response(200, FAVICON.encode(), "image/svg+xml"),
        ("GET", "/"): _html(index_page("")),
        ("GET", "/index.html"): _html(index_page("")),
    }

    def respond(request: Request) -> Response:
        user = user_of(request)
        headers = forwarded(request.headers)
        if user:
            headers["end-user"] = user
        path = request.path
        if path == "/productpage":
            return _page(services, user, headers)
        if path.startswith("/api/v1/products"):
            return _api(services, path, headers)
        if path == "/login" and request.method == "POST":
            return _login(request)
        return fixed.get((request.method, path)) or not_found(path)

    return respond


if __name__ == "__main__":
    run_service("productpage", build_handle(services_from_environment()))
