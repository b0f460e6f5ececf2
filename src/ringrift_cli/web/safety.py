"""What a request must fulfil before anything is done with it, and who sent it.

Browsers send requests of foreign pages too, even to loopback addresses. So a request names a host
of this server (against DNS rebinding), comes from a page of this server if it comes from a page
(against forged requests), and carries the token where the server is reachable from elsewhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1 << 20  # bytes of a request
BODY_TIMEOUT_S = 10.0
MAX_CLIENTS, MAX_CLIENTS_OF_ADDRESS = 1024, 256
TOKEN, CLIENT = "ringrift_token", "ringrift_client"  # cookies
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COMMON_HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Whom the server answers.

    `hosts` are accepted in the Host header, and every IP address if `any_address`, which no DNS
    name can stand for. `origins` are other websites that may call `/api/`.
    """

    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    token: str | None = None
    origins: frozenset[str] = frozenset()

    def knows_host(self, header: str) -> bool:
        name = header.rsplit(":", 1)[0] if header.rpartition(":")[2].isdigit() else header
        name = name.removeprefix("[").removesuffix("]").lower()
        if name in self.hosts:
            return True
        try:
            return self.any_address and bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def knows_origin(self, origin: str, host: str, path: str) -> bool:
        own = origin in (f"http://{host}", f"https://{host}")
        return own or (path.startswith("/api/") and origin in self.origins)


class Guard:
    """ASGI middleware that refuses requests; see the module."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in COMMON_HEADERS.items():
                    found.setdefault(name, value)
                if origin is not None and origin in self._access.origins:
                    found["access-control-allow-origin"] = origin
                    found["access-control-allow-headers"] = "authorization, content-type"
            await send(message)

        answer = self._refusal(scope, headers)
        body = b""
        if answer is None and scope["method"] == "POST":
            try:
                body = await asyncio.wait_for(_body(headers, receive), BODY_TIMEOUT_S)
            except (TimeoutError, ValueError) as error:
                answer = refused(413 if isinstance(error, ValueError) else 408, str(error))
        if answer is not None:
            await answer(scope, receive, send_with_headers)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent or scope["method"] != "POST":
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that goes no further; None for one that may."""
        access, host, origin = self._access, headers.get("host", ""), headers.get("origin")
        path, method = scope["path"], scope["method"]
        if not access.knows_host(host):
            return refused(421, "This server does not go by that name: see --allow-host.")
        foreign = headers.get("sec-fetch-site") == "cross-site"
        if origin is not None:
            if not access.knows_origin(origin, host, path):
                return refused(403, "Requests of other websites are refused: see --allow-origin.")
        elif foreign and headers.get("sec-fetch-mode") != "navigate":
            return refused(403, "Requests of other websites are refused: see --allow-origin.")
        if method == "OPTIONS":
            return Response(status_code=204)
        if method not in ("GET", "HEAD", "POST"):
            return refused(405, f"Method {method} is not used here.")
        return None if access.token is None else self._token_refusal(scope, headers)

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """As `_refusal`; a token in the address becomes a cookie."""
        expected = (self._access.token or "").encode()
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        for value in (value for name, value in query if name == "token"):
            if secrets.compare_digest(value.encode(), expected):
                rest = urlencode([pair for pair in query if pair[0] != "token"])
                path = "/" + scope["path"].lstrip("/\\")
                answer = RedirectResponse(path + f"?{rest}" * bool(rest), 303)
                answer.set_cookie(TOKEN, value, httponly=True, samesite="lax")
                return answer
        given = headers.get("authorization", "").removeprefix("Bearer ")
        for value in (given, cookies(headers).get(TOKEN, "")):
            if secrets.compare_digest(value.encode(), expected):
                return None
        return refused(401, "The token is missing or wrong: use the address that the server wrote.")


async def _body(headers: Headers, receive: Receive) -> bytes:
    """The body of a request; `ValueError` if it is too long."""
    length, body = headers.get("content-length", "0"), bytearray()
    while length.isdecimal() and int(length[:9]) <= MAX_BODY >= len(body):
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            if len(body) <= MAX_BODY:
                return bytes(body)
            break
    raise ValueError(f"A request has at most {MAX_BODY >> 10} kB.")


def refused(status: int, sentence: str, hint: str | None = None) -> JSONResponse:
    """The answer to a request that cannot be fulfilled."""
    return JSONResponse({"error": sentence or "Timed out.", "hint": hint}, status)


def cookies(headers: Headers) -> dict[str, str]:
    """Cookies of a request; none if they are malformed."""
    try:
        found = SimpleCookie(headers.get("cookie", "")[:4096])
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in found.items()}


class Clients:
    """Browsers that were given a cookie; everyone else is known by address.

    Limits count by client, so that one does not use up what is there for all. An address has a
    limited number of cookies: the oldest are forgotten.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()  # address by cookie

    def key(self, headers: Headers, address: str) -> str:
        """The key of the sender of a request."""
        cookie = cookies(headers).get(CLIENT, "")
        if self._known.get(cookie) != address:
            return f"address {address}"
        self._known.move_to_end(cookie)
        return cookie

    def welcome(self, headers: Headers, address: str, answer: Response) -> None:
        """Gives a cookie to a sender without one."""
        if self._known.get(cookies(headers).get(CLIENT, "")) == address:
            return
        same = [key for key, known in self._known.items() if known == address]  # oldest first
        for key in same[: len(same) + 1 - MAX_CLIENTS_OF_ADDRESS]:
            del self._known[key]
        while len(self._known) >= MAX_CLIENTS:
            self._known.popitem(last=False)
        cookie = secrets.token_urlsafe(16)
        self._known[cookie] = address
        answer.set_cookie(CLIENT, cookie, httponly=True, samesite="lax")
