"""Frames: what is said arrives, and nothing else is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ringrift_cli.fleet.wire import BARE, GREETING, MOST_BYTES, MOST_NOISE, Wire, WireError


def reader(data: bytes, step: int = 1 << 20) -> Callable[[int], bytes]:
    """Gives the bytes in pieces of at most `step`."""
    left = memoryview(data)

    def read(most: int) -> bytes:
        nonlocal left
        piece, left = left[: min(most, step)], left[min(most, step) :]
        return bytes(piece)

    return read


def nothing(_data: object) -> None:
    raise AssertionError("nothing is to be written")


def receiver(data: bytes, step: int = 1 << 20) -> Wire:
    return Wire(reader(data, step), nothing)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_is_sent_is_received(step: int) -> None:
    said: list[bytes] = []
    wire = Wire(reader(b""), lambda data: said.append(bytes(data)))
    frames: list[dict[str, Any] | bytes] = [
        {"op": "x", "text": "Ω \n \"'"},
        b"",
        b"J3\n{}",
        bytes(range(256)) * 1000,
        {"number": -1.5, "none": None},
    ]
    for frame in frames:
        wire.alive()
        if isinstance(frame, bytes):
            wire.send_bytes(memoryview(frame))
        else:
            wire.send(frame)
    wire.alive()
    other = receiver(b"".join(said), step)
    received = [other.receive() for _ in frames]
    assert [json.loads(bytes(f)) if isinstance(f, msgspec.Raw) else f for f in received] == frames
    assert other.receive() is None


@pytest.mark.parametrize(
    "data",
    [
        b"X3\nabc",
        b"J\n",
        b"J-1\n",
        b"J+1\n{",
        b"J 2\n{}",
        b"J1_0\n0123456789",
        b"J123456789012345\n",
        b"J99999999\n{}",
        b"B1048577\n",
        b"B3\nab",
        b"B3",
        b"<html>\r\n",
        "J²\n{}".encode(),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_anything_else_is_an_error(data: bytes, step: int) -> None:
    with pytest.raises(WireError):
        receiver(data, step).receive()


def test_what_cannot_be_sent_is_refused_before_anything_is() -> None:
    wire = Wire(reader(b""), nothing)
    with pytest.raises(ValueError, match="at most"):
        wire.send({"a": "x" * (17 << 20)})
    with pytest.raises(ValueError, match="at most"):
        wire.send_bytes(bytes(MOST_BYTES + 1))


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize("noise", [b"", b"Welcome!\n", b"RINGRIFT 1\nno newline"])
def test_the_greeting_is_found_behind_noise(noise: bytes, step: int) -> None:
    wire = receiver(noise + GREETING + b'J7\n{"a":1}', step)
    assert wire.expect_greeting()
    assert bytes(wire.receive() or b"") == b'{"a":1}'
    bare = receiver(noise + BARE + b"hostname x\n", step)
    assert not bare.expect_greeting()
    assert bare.rest() == b"hostname x\n"


def test_a_missing_greeting_is_quoted() -> None:
    with pytest.raises(WireError, match="printed nothing"):
        receiver(b"").expect_greeting()
    with pytest.raises(WireError, match=r"'\[31mThis account is disabled'"):
        receiver(b"\x1b[31mThis account\nis disabled\r\n").expect_greeting()
    endless = Wire(lambda most: b"y\n" * (most // 2), nothing)
    with pytest.raises(WireError) as caught:
        endless.expect_greeting()
    assert len(str(caught.value)) < 150
    most = receiver(b"x" * (MOST_NOISE - 1) + GREETING)
    most.expect_greeting()


def test_small_frames_are_quick() -> None:
    text = json.dumps({"size": 12345}).encode()
    data = (b"J%d\n%s" % (len(text), text)) * 200_000
    wire = receiver(data)
    assert sum(1 for _ in iter(wire.receive, None)) == 200_000  # a second or two; not minutes
