"""Thread count and precision of a training run, from the profile of its device.

Explicit values take precedence: a `precision` other than auto, OMP_NUM_THREADS or RINGRIFT_THREADS.
A resumed run keeps its precision (state.py), since another one would give other weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ringrift_cli.game.playout import THREADS_VARIABLE
from ringrift_cli.nn.network import Architecture
from ringrift_cli.runtime.machine import device_name
from ringrift_cli.runtime.profiles import Key, find, network_named
from ringrift_cli.train.learner import pick_device
from ringrift_cli.train.settings import TrainSetting

THREADS_ASKED = ("OMP_NUM_THREADS", THREADS_VARIABLE)


@dataclass(frozen=True)
class Advice:
    """Recommended values, None where there are none or the user gave one; and the reason."""

    threads: int | None
    precision: str | None
    text: str
    refused: bool = False  # a profile exists but could not be used


def advised(setting: TrainSetting, architecture: Architecture) -> Advice:
    """Recommendation of the device profile for this architecture.

    `UsageError` if the device does not exist, `RecordError` for a damaged profile.
    """
    asked_threads = any(os.environ.get(name) for name in THREADS_ASKED)
    asked_precision = setting.train.precision != "auto"
    if asked_threads and asked_precision:
        return Advice(None, None, "as requested")
    device = pick_device(setting.device)
    name = "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"
    network = network_named(architecture.to_json())
    found = find(device_name(name), Key("train", setting.board, setting.players, network))
    if found.entry is None:
        return Advice(None, None, found.text, found.refused)
    return Advice(
        None if asked_threads else found.entry.threads,
        None if asked_precision else found.entry.precision,
        found.text,
    )


@contextmanager
def computing_in(threads: int | None) -> Iterator[int]:
    """Limits torch to `threads` threads, never more than before; yields their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads or before, before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
