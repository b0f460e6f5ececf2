"""What a client makes of an agent that answers, that fails, and of what is none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable, RemoteError, UsageError
from ringrift_cli.fleet import package
from ringrift_cli.fleet.client import Client, NotDeployed
from ringrift_cli.fleet.messages import (
    Done,
    Files,
    Jobs,
    JobStates,
    Remove,
    Send,
    SentBytes,
    Size,
    Stop,
)
from tests.fleet.servers import ProcessTransport, local_link


class Script:
    """A transport on which a text comes in small pieces; then it ends, breaks or stays silent."""

    def __init__(self, text: bytes, end: str = "silent", words: str | None = None) -> None:
        self.text = text
        self.end = end
        self.words = words
        self.written = b""
        self.closed = 0

    def read(self, most: int, within: float) -> bytes:
        assert within > 0
        data, self.text = self.text[: min(most, 7)], self.text[min(most, 7) :]
        if data or self.end == "end":
            return data
        if self.end == "silent":
            raise TimeoutError
        raise ConnectionResetError("it was cut")

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        assert within > 0
        if self.end == "deaf":
            raise TimeoutError
        self.written += data

    def exit_status(self) -> str | None:
        return self.words

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        if command == "sleep":
            raise TimeoutError
        return 3, stdin, f"{within:.0f}".encode()

    def close(self) -> None:
        self.closed += 1


def frames(*contents: Mapping[str, object] | bytes) -> bytes:
    """Frames, as they go over the wire."""
    text = b""
    for one in contents:
        data = one if isinstance(one, bytes) else json.dumps(one).encode()
        text += b"%s%d\n%s" % (b"B" if isinstance(one, bytes) else b"J", len(data), data)
    return text


def link_of(way: Script) -> Client:
    return Client(way, host="desk", address="10.0.0.1:22")


OK = {"end": "ok", "jobs": []}
DONE = JobStates(jobs=[])
HELLO = {"version": "0.1.0", "code": package.code_hash()}


# ---- replies -------------------------------------------------------------------------------------


def test_asking() -> None:
    way = Script(frames(OK))
    assert link_of(way).ask(Jobs()) == DONE
    assert way.written == b'J13\n{"op":"jobs"}'
    assert not way.closed


SIZE, SENT = {"size": 1}, {"end": "ok", "sent": 1}


def test_a_stream_ends_with_its_last_frame() -> None:
    client = link_of(Script(frames(SIZE, b"\0\n\xff", SENT, OK)))
    assert list(client.stream(Send(path="a"))) == [Size(size=1), b"\0\n\xff", SentBytes(sent=1)]
    assert client.ask(Jobs()) == DONE


def test_a_refusal_leaves_the_client_as_it_was() -> None:
    no = {"end": "error", "kind": "disk", "sentence": "The disk is full.\x1b[2J"}
    client = link_of(Script(frames(no, SIZE, no, OK)))
    with pytest.raises(RemoteError) as caught:
        client.ask(Jobs())
    assert caught.value.message == "desk: The disk is full. [2J"
    assert caught.value.kind == "disk"
    stream = client.stream(Send(path="a"))
    assert next(stream) == Size(size=1)
    with pytest.raises(RemoteError, match="The disk is full"):
        next(stream)
    assert client.ask(Jobs()) == DONE


def test_replies_of_several_requests_come_in_order() -> None:
    client = link_of(Script(frames(SIZE, b"x", SENT, OK, {"size": 2}, b"yy", {**SENT, "sent": 2})))
    client.begin(Send(path="a"))
    client.begin(Jobs())
    client.begin(Send(path="b"))
    found = [client.receive() for _ in range(7)]
    second = [Size(size=2), b"yy", SentBytes(sent=2)]
    assert found == [Size(size=1), b"x", SentBytes(sent=1), DONE, *second]


def test_a_stream_that_is_left_closes_the_client() -> None:
    way = Script(frames(SIZE, b"x", SENT))
    client = link_of(way)
    for _ in client.stream(Send(path="a")):
        break
    assert way.closed
    with pytest.raises(HostUnreachable, match=r"^desk \(10.0.0.1:22\): the link to it is closed"):
        client.ask(Jobs())


def test_what_is_no_text_is_not_sent() -> None:
    way = Script(b"")
    with pytest.raises(UsageError, match="no valid Unicode"):
        link_of(way).ask(Remove(paths=["\udcff"]))
    assert not way.written


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "error", "expected"),
    [
        (Script(b""), HostUnreachable, "its reply to 'jobs' did not come: nothing for 60 s."),
        (Script(b"", "deaf"), HostUnreachable, "its reply to 'jobs' did not come: nothing for"),
        (
            Script(b"", "cut"),
            HostUnreachable,
            "the link broke before its reply to 'jobs' came: it",
        ),
        (Script(b"", "end"), HostUnreachable, "the link broke before its reply to 'jobs' came."),
        (
            Script(frames(OK)[:-3], "end"),
            HostUnreachable,
            "the link broke before its reply to 'jobs' came.",
        ),
        (
            Script(b"", "end", "exit code 1, MemoryError"),
            RemoteError,
            "ended before its reply to 'jobs' came: exit code 1, MemoryError.",
        ),
        (
            Script(b"Segmentation fault\n"),
            BadOutput,
            "instead of its reply to 'jobs' came no message: 'Segmentatio",
        ),
        (Script(b"B1048577\n"), BadOutput, "a frame of 1048577 bytes: at most 1048576"),
        (Script(b"J16777217\n"), BadOutput, "a frame of 16777217 bytes"),
        (Script(b"J2\n[]"), BadOutput, "does not fit: Expected the end of the reply, in '[]'"),
        (Script(frames({"a": 1})), BadOutput, "does not fit"),
        (Script(frames({"end": "ok"})), BadOutput, "missing required field `jobs`"),
        (Script(frames({**OK, "more": 1})), BadOutput, "unknown field `more`"),
        (Script(frames({"end": "maybe"})), BadOutput, "Invalid value 'maybe' - at `$.end`"),
        (Script(b'J11\n{"end":NaN}'), BadOutput, "malformed"),
        (Script(b'J9\n{"end":"\xff'), BadOutput, "does not fit"),
        (Script(b"J100007\n" + b'{"end":' + b"[" * 100_000), BadOutput, "does not fit"),
        (Script(frames(b"x")), BadOutput, "sent more than its reply to 'jobs'"),
    ],
)
def test_what_is_said_when_it_goes_wrong(way: Script, error: type, expected: str) -> None:
    client = link_of(way)
    client._opened = True  # noqa: SLF001 - as after its greeting
    with pytest.raises(error) as caught:
        client.ask(Jobs())
    assert str(caught.value).startswith("desk (10.0.0.1:22)")
    assert expected in str(caught.value)
    assert way.closed
    with pytest.raises(HostUnreachable, match="is closed"):
        client.ask(Jobs())


def test_a_limit_holds_for_everything_together() -> None:
    way = Script(frames(*[SIZE for _ in range(1000)]))
    client = link_of(way)
    client.limit(0.05)
    client.begin(Send(path="a"))

    def read_slowly() -> None:
        while True:
            client.receive()
            time.sleep(0.01)

    with pytest.raises(HostUnreachable, match=r"its reply to 'send' did not come within 0\.1 s"):
        read_slowly()


def test_a_limit_can_be_lifted() -> None:
    client = link_of(Script(frames(OK)))
    client.limit(0.001)
    time.sleep(0.002)
    client.limit(None)
    assert client.ask(Jobs()) == DONE


def test_running_a_command_beside() -> None:
    client = link_of(Script(b""))
    assert client.run("true", b"in", timeout_s=7) == (3, b"in", b"7")
    client.limit(5)
    assert client.run("true", timeout_s=7)[2] == b"5"
    with pytest.raises(HostUnreachable, match=r"did not end a command within 5\.0 s; it may"):
        client.run("sleep", timeout_s=7)


def test_a_context_closes() -> None:
    way = Script(b"")
    with pytest.raises(KeyError), link_of(way):
        raise KeyError
    assert way.closed


# ---- the start -----------------------------------------------------------------------------------


def test_noise_before_the_greeting_is_passed_over() -> None:
    noise = b"Welcome!\r\nJ3\n{}\nB\n" * 1000 + "Grüße\n".encode()
    client = link_of(Script(noise + b"RINGRIFT 2\n" + frames(HELLO, OK)))
    client.open()
    assert client.ask(Jobs()) == DONE


FACTS = b"""\
hostname box
time 1790000000
uptime 99.5
cores 8
load 0.5 0.4 0.3
ram_total 16384
ram_available 8192
disk 1000 500
python 3.8.10
environment
gpu 0, NVIDIA H200, 97, 30720, 143360, 61, 512.25
"""


def bare(text: bytes) -> Script:
    return Script(b"Welcome!\nRINGRIFT BARE\n" + text, "end", "exit code 0")


def test_a_host_without_ringrift_is_reached_and_its_facts_are_read() -> None:
    with pytest.raises(NotDeployed) as caught:
        link_of(bare(FACTS)).open()
    assert caught.value.message == "desk (10.0.0.1:22): ringrift is not deployed there."
    assert caught.value.hint == "ringrift fleet deploy desk"
    facts = caught.value.facts
    assert (facts.hostname, facts.python, facts.version) == ("box", "3.8.10", None)
    assert (facts.cores, facts.ram_total, facts.disk_free) == (8, 16 << 20, 500 << 10)
    held = b"quota 200000 100000\nmemory_limit 1048576\nhost"
    with pytest.raises(NotDeployed) as caught:  # in a container
        link_of(bare(FACTS.replace(b"host", held, 1))).open()
    assert (caught.value.facts.cores, caught.value.facts.ram_total) == (2, 1 << 20)
    assert facts.gpus is not None
    assert facts.gpus[0].temperature_c == 61
    other = FACTS.replace(b"environment", b"environment .ringrift/code-0")
    with pytest.raises(NotDeployed, match="it has another ringrift"):
        link_of(bare(other)).open()
    with pytest.raises(NotDeployed) as caught:
        link_of(bare(FACTS.replace(b"0, NVIDIA H200, 97", b"Failed to initialize"))).open()
    assert caught.value.facts.gpus is None
    assert "Failed to init" in (caught.value.facts.gpus_error or "")


@pytest.mark.parametrize("line", [b"cores 8", b"disk 1000 500", b"load 0.5", b"hostname box"])
def test_a_shell_that_prints_something_else_is_not_believed(line: bytes) -> None:
    for text in (FACTS.replace(line, b""), FACTS.replace(line, line.split()[0] + b" -x")):
        if text != FACTS.replace(line, b"hostname -x"):
            with pytest.raises(BadOutput, match="what its shell printed does not fit"):
                link_of(bare(text)).open()


@pytest.mark.parametrize(
    ("way", "error", "expected", "hint"),
    [
        (Script(b""), HostUnreachable, "the greeting of the agent did not come", None),
        (Script(b"SSH\n", "cut"), HostUnreachable, "the link broke before the greeting of", None),
        (Script(b"spam " * 20000), BadOutput, "'spam spam", None),
        (
            Script(b"", "end", "exit code 1, No module named 'msgspec'"),
            RemoteError,
            "the agent did not start: exit code 1, No module named 'msgspec'; it printed nothing",
            "ringrift fleet deploy desk",
        ),
        (
            Script(b"Go away.\n", "end", "exit code 0"),
            RemoteError,
            "did not start: exit code 0; it printed 'Go away.' and no greeting.",
            "ringrift fleet deploy desk",
        ),
        (Script(b"RINGRIFT 2\n" + frames(OK)), BadOutput, "its greeting does not fit", None),
        (Script(b"RINGRIFT 2\n" + frames(b"x")), BadOutput, "its greeting does not fit", None),
        (
            Script(b"RINGRIFT 2\n" + frames({**HELLO, "code": "0" * 64})),
            RemoteError,
            "runs another ringrift (0.1.0, code 0000000000000000) than this one (code ",
            "ringrift fleet deploy desk",
        ),
    ],
)
def test_what_is_said_when_it_does_not_start(
    way: Script, error: type, expected: str, hint: str | None
) -> None:
    with pytest.raises(error) as caught:
        link_of(way).open()
    assert str(caught.value).startswith("desk (10.0.0.1:22)")
    assert expected in str(caught.value)
    assert caught.value.hint == hint  # type: ignore[attr-defined]
    assert way.closed


# ---- a real one, in a process here ---------------------------------------------------------------


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of an agent of this machine."""
    with local_link(tmp_path / "work") as made:
        yield made


def test_a_real_agent(client: Client) -> None:
    assert client.ask(Jobs()) == DONE
    with pytest.raises(RemoteError, match=r"^local: There is no job x") as caught:
        client.ask(Stop(id="x"))
    assert caught.value.kind == "unknown"
    assert [*client.stream(Files(root="models"))] == [Done()]
    assert client.run("cat; echo oh >&2; exit 3", b"yes") == (3, b"yes", b"oh\n")


def test_an_agent_that_is_killed(client: Client) -> None:
    way = client._transport  # noqa: SLF001
    assert isinstance(way, ProcessTransport)
    way.process.kill()
    with pytest.raises(RemoteError, match="the agent ended before its reply to 'jobs' came"):
        client.ask(Jobs())
