"""Where a training run stands, as its folder keeps it: a killed run goes on exactly there.

    state.json               all that is no tensor, and which file holds the tensors
    state-<hash>.safetensors weights, their average, moments of the optimiser
    .lock                    held by the process that works on the folder

The tensors are written first and `state.json` last, both whole: whenever the run is killed, one of
the states is there with its tensors.
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
    """Everything of a run that is no tensor. Steps count from the beginning of this run."""

    setting: dict[str, Any]
    architecture: dict[str, Any]
    parents: list[str]  # identities of the models whose weights it began with
    window: dict[str, Any]  # window.py
    shards: list[str]  # SHA-256 of the shards of the window
    counted: list[str]  # SHA-256 of all shards whose positions were new to this run or one before
    positions: int  # that are trained on
    new_positions: int  # of these, in shards that no run before counted
    games: int
    steps: int  # to do
    began: int  # steps of the runs before this one
    fresh: bool  # whether the optimiser began without moments
    step: int = 0  # done
    averaged: int = 0  # steps of the averaged weights
    seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)  # training losses of the first steps
    last: dict[str, float] = field(default_factory=dict)
    validations: list[dict[str, float]] = field(default_factory=list)
    worse: int = 0  # validations since the best one
    models: list[dict[str, Any]] = field(default_factory=list)  # kept: identity, step, loss
    summary: dict[str, Any] | None = None  # when the run is done
    origins: dict[str, str] | None = None  # identities by option: init, continue; None: not known
    precision: str | None = None  # that it trains in; None: not known


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Reserves the folder for this process; `RingriftError` if another one works on it."""

    def busy() -> RingriftError:
        return RingriftError(
            f"Another process trains in {folder}.", hint="wait for it, or another --out"
        )

    with locks.locked(folder / ".lock", busy=busy):
        yield


def write_state(folder: Path, state: State, tensors: dict[str, Tensor]) -> None:
    """Replaces the state of a folder. Either the old one or the new one is there at any time."""
    data = safetensors.torch.save(tensors)
    digest = sha256(data)
    name = TENSORS.format(hash=digest[:16])  # so no state's tensors are ever overwritten by others
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
    """Whether a run was begun in the folder."""
    return (folder / STATE).exists()


def read_state(folder: Path) -> State:
    """The state of a folder without its tensors; `RecordError` if it has none or is damaged.

    `RulesMismatch` for a run of other rules, actions or features.
    """
    return _read(folder)[0]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's state; `RecordError` if they are not those it was written with."""
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
        raise RecordError(f"{path} is no JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{path} is no state of a training run of format {FORMAT}.")
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
