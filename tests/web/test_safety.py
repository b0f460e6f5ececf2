"""What the server refuses, and that no client takes all of it."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from starlette.testclient import TestClient

from ringrift_cli.web.app import Site, build
from ringrift_cli.web.safety import MAX_BODY, Access
from ringrift_cli.web.searches import (
    AT_WORK_OF_CLIENT,
    WAITING_OF_CLIENT,
    BusyError,
    SearchQueue,
    StopCheck,
)
from tests.web.browser import served

ELSEWHERE = Access(
    frozenset({"play.example.org"}), True, "secret", frozenset({"https://club.example.org"})
)


def client(access: Access | None = None, host: str = "localhost") -> TestClient:
    return TestClient(
        build(Site(access or Access())), base_url=f"http://{host}", follow_redirects=False
    )


# ---- who is answered -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8642", "[::1]:8642", "LOCALHOST"])
def test_own_names_are_answered(host: str) -> None:
    assert client().get("/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "192.0.2.1", "[::1"]
)
def test_other_names_are_not(host: str) -> None:
    assert client().get("/info", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil", ""])
def test_pages_of_other_websites_are_refused(origin: str) -> None:
    found = client()
    assert found.post("/games", content="{}", headers={"origin": origin}).status_code == 403
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert found.get("/info", headers=foreign).status_code == 403
    assert found.get("/play", headers={**foreign, "sec-fetch-mode": "navigate"}).status_code == 200
    own = {"origin": "http://localhost"}
    assert found.post("/games", content="{}", headers=own).status_code == 200


def test_elsewhere_a_token_is_needed() -> None:
    found = client(ELSEWHERE, "play.example.org")
    assert found.get("/info").status_code == 401
    assert found.get("/info?token=wrong").status_code == 401
    assert found.get("/info", headers={"authorization": "Bearer secret"}).status_code == 200
    assert (
        found.get("/info", headers={b"authorization": b"Bearer s\xc3\xa9cret"}).status_code == 401
    )
    welcome = found.get("//evil.example?token=secret&run=1")
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/?run=1")
    assert "HttpOnly" in welcome.headers["set-cookie"]
    assert found.get("/info").status_code == 200  # by its cookie
    assert found.get("/info", headers={"host": "192.0.2.1:80"}).status_code == 200
    assert found.get("/info", headers={"host": "other.example"}).status_code == 421


def test_named_websites_may_call_the_interface_only() -> None:
    found = client(ELSEWHERE, "play.example.org")
    headers = {"origin": "https://club.example.org", "authorization": "Bearer secret"}
    answer = found.post("/api/legal", content="{}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://club.example.org"
    assert found.options("/api/legal", headers=headers).status_code == 204
    assert found.post("/games", content="{}", headers=headers).status_code == 403


def test_answers_carry_a_policy_for_browsers() -> None:
    headers = client().get("/play").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


# ---- what is served ------------------------------------------------------------------------------

PATHS = [
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/app.py",
    "/static//etc/passwd",
    "/etc/passwd",
    "/..%2f..%2f..%2fetc/passwd",
    "/boards/../info.py",
    "/boards/hex8%00",
    "/lessons.yaml",
    "/app",
    "/games/../../etc/passwd/file",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_reaches_a_file(path: str) -> None:
    answer = client().get(path)
    assert answer.status_code in (400, 404)
    assert b"root:" not in answer.content
    assert b"import" not in answer.content


@pytest.mark.parametrize("path", ["/games", "/games/x", "/analysis/load", "/api/legal", "/api/x"])
def test_strange_bodies_are_refused(path: str) -> None:
    found = client()
    deep = "[" * 100_000
    for body in ("", "nonsense", deep, '{"text":' + deep, "\x00", '{"players": 1e999}', "9" * 5000):
        assert found.post(path, content=body).status_code in (400, 404), body[:20]
    assert found.post(path, content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert found.request("PUT", path).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        {"simulations": 10**9},
        {"simulations": 0},
        {"evaluator": "/etc/passwd"},
        {"evaluator": "x.safetensors"},
        {"position": "x" * 200_000},
        {"moves": ["place 0,0 2"] * 30_000},
        {"board": "../hex8"},
        {"players": -1},
        {"position": {"format": "ringrift-position"}},
        [{}] * 17,
    ],
)
def test_requests_have_limits(body: Any) -> None:
    assert client().post("/api/analyse", content=json.dumps(body)).status_code == 400


# ---- turns ---------------------------------------------------------------------------------------


def busy(seconds: float = 30.0) -> Any:
    """A job that works until it is asked to end."""

    def job(should_stop: StopCheck) -> str:
        deadline = time.monotonic() + seconds
        while not should_stop() and time.monotonic() < deadline:
            time.sleep(0.005)
        return "ended"

    return job


def test_one_client_leaves_turns_to_others() -> None:
    async def run() -> None:
        queue = SearchQueue(slots=3)
        greedy = [asyncio.create_task(queue.run("greedy", busy(), 60)) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(queue.run("modest", lambda stop: "done", 60), 20) == "done"
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
        assert await queue.run("greedy", lambda stop: "done", 60) == "done"
        queue.close()

    asyncio.run(run())


def test_jobs_end_early_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringrift_cli.web.searches.TURN_S", 0.1)

    async def run() -> None:
        queue = SearchQueue(slots=1)
        long = asyncio.create_task(queue.run("a", busy(), 600))
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(queue.run("b", lambda stop: "done", 60), 20) == "done"
        assert await long == "ended"
        assert await queue.run("a", busy(), 0.1) == "ended"  # by its own deadline
        queue.close()

    asyncio.run(run())


def test_a_client_has_few_jobs_and_a_closed_stream_ends_its_job() -> None:
    async def run() -> None:
        queue = SearchQueue()
        most = AT_WORK_OF_CLIENT + WAITING_OF_CLIENT
        jobs = [asyncio.create_task(queue.run("a", busy(), 60)) for _ in range(most)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await queue.run("a", busy(), 60)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        ended = threading.Event()

        def endless(should_stop: StopCheck) -> Any:
            while not should_stop():
                yield 1
                time.sleep(0.005)
            ended.set()

        stream = queue.stream("a", endless, 60)
        assert [await anext(stream) for _ in range(2)] == [1, 1]
        await stream.aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(ended.wait, 20)
        queue.close()

    asyncio.run(run())


# ---- a server under attack -----------------------------------------------------------------------


def talk(address: tuple[str, int], sent: bytes) -> bytes:
    with socket.create_connection(address, 20) as connection:
        connection.sendall(sent)
        connection.settimeout(20)
        try:
            return connection.recv(4096)
        except OSError:
            return b""


@pytest.mark.parametrize("seconds", [3, pytest.param(120, marks=pytest.mark.long)])
def test_hostile_requests_leave_the_server_alive(seconds: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with served(Site()) as url:
        parts = urlsplit(url)
        address = (str(parts.hostname), int(parts.port or 0))
        host = f"Host: 127.0.0.1:{address[1]}\r\n".encode()
        attacks = [
            b"GET /../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
            b"POST /games HTTP/1.1\r\n" + host + b"Content-Length: 99999999999\r\n\r\n{",
            b"POST /games HTTP/1.1\r\n" + host + b"Content-Length: 20\r\n\r\n" + b"[" * 20,
            b"POST /api/move HTTP/1.1\r\n"
            + host
            + b'Content-Length: 20\r\n\r\n{"player":"exec:ls"}',
            b"\x16\x03\x01\x02\x00" * 50,
        ]
        idle = [socket.create_connection(address, 20) for _ in range(200)]
        for connection in idle[::2]:
            connection.sendall(b"GET /info HTTP/1.1\r\nX-Slow: ")
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline or number < len(attacks):
            answer = talk(address, attacks[number % len(attacks)])
            assert b"root:" not in answer
            assert not answer.startswith(b"HTTP/1.1 200"), answer
            assert b" 500 " not in answer[:20]
            number += 1
        with urlopen(f"{url}/info", timeout=60) as found:
            assert found.status == 200
        for connection in idle:
            connection.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000  # kB
