"""What a link makes of a remote half that answers, that fails, and that is none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable, RemoteError
from ringrift_cli.fleet import bundle
from ringrift_cli.fleet.link import Link
from tests.fleet.servers import ProcessWay, local_link


class Script:
    """A way on which a text comes in small pieces; then it ends, breaks or stays silent."""

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

    def last_words(self) -> str | None:
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


def link_of(way: Script) -> Link:
    return Link(way, host="desk", address="10.0.0.1:22")


OK = {"end": "ok", "value": 1}
HAVE = {"have": bundle.sha()}


# ---- replies -------------------------------------------------------------------------------------


def test_asking() -> None:
    way = Script(frames(OK))
    assert link_of(way).ask("facts", deadline_s=1.5) == OK
    assert way.written == b'J31\n{"op":"facts","deadline_s":1.5}'
    assert not way.closed


def test_a_stream_ends_with_its_last_frame() -> None:
    link = link_of(Script(frames({"a": 1}, b"\0\n\xff", OK, {"end": "ok", "of": "another"})))
    assert list(link.stream("log")) == [{"a": 1}, b"\0\n\xff", OK]
    assert link.ask("jobs") == {"end": "ok", "of": "another"}


def test_a_refusal_leaves_the_link_as_it_was() -> None:
    no = {"end": "error", "kind": "disk", "sentence": "The disk is full.\x1b[2J"}
    link = link_of(Script(frames(no, {"a": 1}, no, OK)))
    with pytest.raises(RemoteError) as caught:
        link.ask("put")
    assert caught.value.message == "desk: The disk is full. [2J"
    assert caught.value.kind == "disk"
    stream = link.stream("log")
    assert next(stream) == {"a": 1}
    with pytest.raises(RemoteError, match="The disk is full"):
        next(stream)
    assert link.ask("facts") == OK


def test_replies_of_several_requests_come_in_order() -> None:
    link = link_of(Script(frames({"size": 1}, b"x", OK, {"size": 2}, b"yy", OK)))
    link.begin("send", path="a", offset=0)
    link.begin("send", path="b", offset=0)
    found = [link.receive() for _ in range(6)]
    assert found == [{"size": 1}, b"x", OK, {"size": 2}, b"yy", OK]


def test_a_stream_that_is_left_closes_the_link() -> None:
    way = Script(frames({"a": 1}, {"a": 2}, OK))
    link = link_of(way)
    for _ in link.stream("log"):
        break
    assert way.closed
    with pytest.raises(HostUnreachable, match=r"^desk \(10.0.0.1:22\): the link to it is closed"):
        link.ask("facts")


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "error", "expected"),
    [
        (Script(b""), HostUnreachable, "its reply to 'facts' did not come: nothing for 60 s."),
        (Script(b"", "deaf"), HostUnreachable, "its reply to 'facts' did not come: nothing for"),
        (
            Script(b"", "cut"),
            HostUnreachable,
            "the link broke before its reply to 'facts' came: it",
        ),
        (Script(b"", "end"), HostUnreachable, "the link broke before its reply to 'facts' came."),
        (
            Script(frames(OK)[:-3], "end"),
            HostUnreachable,
            "the link broke before its reply to 'facts' came.",
        ),
        (
            Script(b"", "end", "exit code 1, MemoryError"),
            RemoteError,
            "ended before its reply to 'facts' came: exit code 1, MemoryError.",
        ),
        (
            Script(b"Segmentation fault\n"),
            BadOutput,
            "instead of its reply to 'facts' came no message: 'Segmentatio",
        ),
        (Script(b"B1048577\n"), BadOutput, "a frame of 1048577 bytes: at most 1048576"),
        (Script(b"J16777217\n"), BadOutput, "a frame of 16777217 bytes"),
        (Script(b"J2\n[]"), BadOutput, "is no object"),
        (Script(frames({"a": 1})), BadOutput, "sent more than one reply to 'facts'"),
        (Script(frames(b"x")), BadOutput, "sent more than one reply to 'facts'"),
    ],
)
def test_what_is_said_when_it_goes_wrong(way: Script, error: type, expected: str) -> None:
    link = link_of(way)
    link._opened = True  # noqa: SLF001 - as after its greeting
    with pytest.raises(error) as caught:
        link.ask("facts")
    assert str(caught.value).startswith("desk (10.0.0.1:22)")
    assert expected in str(caught.value)
    assert way.closed
    with pytest.raises(HostUnreachable, match="is closed"):
        link.ask("facts")


def test_a_limit_holds_for_everything_together() -> None:
    way = Script(frames(*[{"n": n} for n in range(1000)]))
    link = link_of(way)
    link.limit(0.05)
    link.begin("log")
    start = time.monotonic()

    def read_slowly() -> None:
        while True:
            link.receive()
            time.sleep(0.01)

    with pytest.raises(HostUnreachable, match=r"its reply to 'log' did not come within 0\.1 s"):
        read_slowly()
    assert time.monotonic() - start < 1


def test_a_limit_can_be_lifted() -> None:
    link = link_of(Script(frames(OK)))
    link.limit(0.001)
    time.sleep(0.002)
    link.limit(None)
    assert link.ask("facts") == OK


def test_running_a_command_beside() -> None:
    link = link_of(Script(b""))
    assert link.run("true", b"in", timeout_s=7) == (3, b"in", b"7")
    link.limit(5)
    assert link.run("true", timeout_s=7)[2] == b"5"
    with pytest.raises(HostUnreachable, match=r"did not end a command within 5\.0 s; it may"):
        link.run("sleep", timeout_s=7)


def test_a_context_closes() -> None:
    way = Script(b"")
    with pytest.raises(KeyError), link_of(way):
        raise KeyError
    assert way.closed


# ---- the start -----------------------------------------------------------------------------------


def test_noise_before_the_greeting_is_passed_over() -> None:
    noise = b"Welcome!\r\nJ3\n{}\nB\n" * 1000 + "Grüße\n".encode()
    link = link_of(Script(noise + b"RINGRIFT 1\n" + frames(HAVE, OK)))
    link.open()
    assert link.ask("facts") == OK


def test_the_remote_half_is_sent_where_it_is_missing() -> None:
    way = Script(b"RINGRIFT 1\n" + frames({"need": bundle.sha()}, HAVE))
    link_of(way).open()
    assert way.written == frames(bundle.zipped())


@pytest.mark.parametrize(
    ("way", "error", "expected", "hint"),
    [
        (Script(b""), HostUnreachable, "the greeting of the remote half did not come", None),
        (Script(b"SSH\n", "cut"), HostUnreachable, "the link broke before the greeting of", None),
        (Script(b"spam " * 20000), BadOutput, "'spam spam", None),
        (
            Script(b"", "end", "exit code 127, sh: python9: not found"),
            RemoteError,
            "the remote half did not start: exit code 127, sh: python9: not found; it said",
            "`python:` of desk in hosts.yaml: a Python of 3.8 or later",
        ),
        (
            Script(b"Go away.\n", "end", "exit code 0"),
            RemoteError,
            "did not start: exit code 0; it said 'Go away.' and no greeting.",
            "`python:` of desk in hosts.yaml: a Python of 3.8 or later",
        ),
        (
            Script(
                b"RINGRIFT 1\n"
                + frames({"end": "error", "kind": "work", "sentence": "W cannot be used."})
            ),
            RemoteError,
            "desk (10.0.0.1:22): W cannot be used.",
            "`work:` of desk in hosts.yaml: a folder that its user may write to",
        ),
        (Script(b"RINGRIFT 1\n" + frames(OK)), BadOutput, "where its version was expected", None),
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
def link(tmp_path: Path) -> Iterator[Link]:
    """A link to a remote half of this machine."""
    with local_link(tmp_path / "work") as made:
        yield made


def test_a_real_remote_half(link: Link, tmp_path: Path) -> None:
    assert link.ask("jobs", ids=None)["jobs"] == []
    with pytest.raises(RemoteError, match=r"^local: ") as caught:
        link.ask("fly")
    assert caught.value.kind == "usage"
    *_, last = link.stream("files", root="models", hash=True)
    assert isinstance(last, dict)
    assert last["end"] == "ok"
    assert link.run("cat; echo oh >&2; exit 3", b"yes") == (3, b"yes", b"oh\n")
    assert (tmp_path / "work").is_dir()


def test_a_remote_half_that_is_killed(link: Link) -> None:
    way = link._way  # noqa: SLF001
    assert isinstance(way, ProcessWay)
    way.process.kill()
    with pytest.raises(RemoteError, match="the remote half ended before its reply to 'jobs' came"):
        link.ask("jobs", ids=None)
