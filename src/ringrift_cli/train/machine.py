"""What a training run takes from the profile of its device: torch's threads, and what `auto` is.

What was asked for wins: `precision` where it is not auto, and OMP_NUM_THREADS or RINGRIFT_THREADS.
A run keeps the precision that it began with (train_state.py), whatever a profile says later: in
another precision other weights would come out.
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
    """What to take, None where a profile says nothing or something was asked for; and why."""

    threads: int | None
    precision: str | None
    text: str
    refused: bool = False  # a profile is there that could not be used


def advised(setting: TrainSetting, architecture: Architecture) -> Advice:
    """What the profile of the setting's device says of such a network.

    `UsageError` if there is no such device, `RecordError` for a damaged profile.
    """
    asked_threads = any(os.environ.get(name) for name in THREADS_ASKED)
    asked_precision = setting.train.precision != "auto"
    if asked_threads and asked_precision:
        return Advice(None, None, "as asked for")
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
    """Until it ends, torch computes in so many threads, or fewer if it did before: how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads or before, before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
