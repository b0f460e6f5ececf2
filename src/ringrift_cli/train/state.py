"""State of a training run, saved so that a killed run resumes exactly.

    state.json               everything but tensors, with the name of the tensor file
    state-<hash>.safetensors weights, averaged weights, optimiser moments
    .lock                    held by the process that trains in the folder

The tensors are written first and `state.json` last, both atomically, so a kill at any time leaves a
complete state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.nn.features import FEATURES_VERSION
from ringrift_cli.store import locks
from ringrift_cli.store.files import write_json, write_whole
from ringrift_cli.store.hashes import sha256

FORMAT = 1
STATE = "state.json"
TENSORS = "state-{hash}.safetensors"


@dataclass
class State:
    """State of a run except for tensors. Steps count from the start of this run."""

    setting: dict[str, Any]
    architecture: dict[str, Any]
    parents: list[str]  # identities of the initial models
    window: dict[str, Any]  # window.py
    shards: list[str]  # SHA-256 of the shards of the window
    counted: list[str]  # SHA-256 of all shards used by this run or an earlier one
    positions: int  # to train on
    new_positions: int  # of these, in shards not counted by an earlier run
    games: int
    steps: int  # in total
    began: int  # steps of earlier runs
    fresh: bool  # whether the optimiser started without moments
    step: int = 0  # done
    averaged: int = 0  # steps of the averaged weights
    seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)  # losses of the first logged steps
    last: dict[str, float] = field(default_factory=dict)
    validations: list[dict[str, float]] = field(default_factory=list)
    worse: int = 0  # validations without improvement
    models: list[dict[str, Any]] = field(default_factory=list)  # kept models: identity, step, loss
    summary: dict[str, Any] | None = None  # of a finished run
    origins: dict[str, str] | None = None  # identities by option (init, continue); None: unknown
    precision: str | None = None  # None: unknown


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder for this process; `RingriftError` if another one holds it."""

    def busy() -> RingriftError:
        return RingriftError(
            f"Another process trains in {folder}.", hint="wait for it, or another --out"
        )

    with locks.locked(folder / ".lock", busy=busy):
        yield


def write_state(folder: Path, state: State, tensors: dict[str, Tensor]) -> None:
    """Replaces the state of a folder atomically."""
    data = safetensors.torch.save(tensors)
    digest = sha256(data)
    name = TENSORS.format(hash=digest[:16])  # unique: the tensors of the old state stay
    write_whole(folder / name, data)
    document = {
        "format": FORMAT,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "features": FEATURES_VERSION,
        "tensors": name,
        "sha256": digest,
        "state": asdict(state),
    }
    write_json(folder / STATE, document)
    for path in folder.glob(TENSORS.format(hash="*")):
        if path.name != name:
            path.unlink()


def has_state(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return (folder / STATE).exists()


def read_state(folder: Path) -> State:
    """The state in a folder without tensors; `RecordError` if missing or damaged.

    `RulesMismatch` for a run under other rules, actions or features.
    """
    return _read(folder)[0]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's state; `RecordError` if their hash differs."""
    _, document = _read(folder)
    path = folder / str(document.get("tensors"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    if sha256(data) != document.get("sha256"):
        raise RecordError(f"{path}: its bytes are not those that {STATE} names.")
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise RecordError(f"{path}: {error}.") from error


def _read(folder: Path) -> tuple[State, dict[str, Any]]:
    path = folder / STATE
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(
            f"{path}: {error.strerror}.", hint="the folder of a training run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{path} is not the state of a training run in format {FORMAT}.")
    own = {"rules": rules_hash(), "codec": codec_hash(), "features": FEATURES_VERSION}
    for key, value in own.items():
        if document.get(key) != value:
            raise RulesMismatch(
                f"{path} was made under {key} {document.get(key)}, but these are {value}.",
                hint="another --out",
            )
    known = document.get("state")
    names = {f.name for f in fields(State)}
    if not isinstance(known, dict) or not names - {"origins", "precision"} <= set(known) <= names:
        raise RecordError(f"{path} does not have the fields of a state.")
    return State(**known), document
