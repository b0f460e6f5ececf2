"""Start of a training run: its window, number of steps and initial weights."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ringrift_cli.data.shard import Shard
from ringrift_cli.data.window import Window, choose
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.network import Architecture, Network, architecture
from ringrift_cli.nn.transfer import transferred
from ringrift_cli.settings import NetworkSection
from ringrift_cli.text import counted
from ringrift_cli.train import state as train_state
from ringrift_cli.train.dataset import training_positions
from ringrift_cli.train.learner import Learner
from ringrift_cli.train.machine import advised
from ringrift_cli.train.settings import TrainSetting
from ringrift_cli.train.state import State

LONG = 10**6  # averaged steps that loaded weights count as


@dataclass(frozen=True)
class Sources:
    """Inputs of a training run."""

    data: Path  # folder of shards
    hashes: Sequence[str] | None = None  # exactly these shards instead of a window
    init: Path | None = None  # initial checkpoint
    previous: Path | None = None  # folder of a finished run to continue from
    among: Collection[str] | None = None  # shards from which the window is chosen; None: all


@dataclass(frozen=True)
class TrainingPlan:
    """The data and the number of steps of a training run."""

    window: Window
    shards: list[Shard]
    positions: int  # to train on
    new_positions: int  # of these, in shards not counted by an earlier run
    steps: int
    counted: list[str]  # shards that count as used after the run

    def document(self) -> dict[str, Any]:
        return {
            "window": self.window.document(),
            "shards": self.window.hashes,
            "positions": self.positions,
            "new_positions": self.new_positions,
            "steps": self.steps,
        }


def plan(setting: TrainSetting, sources: Sources, now: dt.datetime | None = None) -> TrainingPlan:
    """Selects and reads the window, and computes the number of steps.

    `RecordError` if there are no new positions to train on, or if the data are stale (window.py).
    """
    before = finished_run(sources.previous) if sources.previous else None
    known = set(before.counted) if before else set()
    window = choose(
        sources.data,
        setting.window_setting(),
        hashes=sources.hashes,
        among=sources.among,
        now=now,
    )
    shards = window.read()
    counts = [training_positions(shard, setting.train.validation_share) for shard in shards]
    if not sum(counts):
        raise RecordError(
            f"The window has {counted(window.games, 'game')}, all held out for validation: there is"
            " nothing to train on.",
            hint="more games, or a smaller --set train.validation_share=SHARE",
        )
    new = sum(n for n, shard in zip(counts, shards, strict=True) if shard.sha256 not in known)
    steps = setting.steps
    if steps is None:
        if not new:
            raise RecordError(
                f"The run in {sources.previous} counted all that the window has"
                f" ({counted(len(shards), 'shard')}): there is nothing new to train on.",
                hint="ringrift selfplay for more games, or --steps N",
            )
        steps = max(1, round(new * setting.train.samples_per_position / setting.train.batch))
    return TrainingPlan(window, shards, sum(counts), new, steps, sorted(known | set(window.hashes)))


def next_generation(sources: Sources, board: str, players: int) -> int | None:
    """Generation of the initial model plus 1; None without one. Other pools count as 0."""
    before = None
    if sources.init:
        document = checkpoint.read_about(sources.init)
        own = Architecture.from_json(document["architecture"])
        same = (own.board, own.players) == (board, players)
        before = document["about"].get("generation") if same else 0
    elif sources.previous:
        before = finished_run(sources.previous).setting.get("generation")
    return before + 1 if type(before) is int else None


def finished_run(folder: Path) -> State:
    """The state of a run to continue from; `RecordError` if it is not finished."""
    state = train_state.read_state(folder)
    if state.summary is None:
        raise RecordError(
            f"The run in {folder} is not done: step {state.step} of {state.steps}.",
            hint=f"--resume --out {folder} first",
        )
    return state


def result_of(run: State) -> dict[str, Any]:
    """Identity, step and loss of the resulting model of a finished run."""
    assert run.summary is not None
    return next(model for model in run.models if model["identity"] == run.summary["identity"])


def new_learner(
    setting: TrainSetting, sources: Sources, planned: TrainingPlan
) -> tuple[Learner, State]:
    """The initial learner and the state of a new run.

    Weights come from `init`, else from the previous run, else from the seed; moments from the
    previous run unless the setting carries over only weights. `UsageError` if the network does not
    match the setting.
    """
    before = finished_run(sources.previous) if sources.previous else None
    parents, total, averaged = [], 0, 0
    if sources.init:
        found = checkpoint.load(sources.init)
        network = transferred(found.network, setting.board, setting.players, setting.seed)
        steps = found.about.get("total_steps")
        parents, total, averaged = [found.identity], steps if type(steps) is int else 0, LONG
    elif before:
        result = result_of(before)
        network = Network(Architecture.from_json(before.architecture))
        total, averaged = before.began + result["step"], before.averaged
        parents = [result["identity"]]
    else:
        network = new_network(setting)
    _check_network(setting, network.architecture, sources)
    learner = Learner(network, setting, advised(setting, network.architecture).precision)
    moments = before is not None and setting.train.carried == "optimiser"
    if sources.previous and (moments or not sources.init):
        tensors = train_state.read_tensors(sources.previous)
        if sources.init:
            mine = learner.tensors()
            tensors = {k: v for k, v in tensors.items() if k.startswith("optimiser.")} | mine
        learner.load(tensors, moments=moments, scaler=before.scaler if before and moments else None)
    learner.averaged = averaged
    state = State(
        setting.document(),
        network.architecture.to_json(),
        parents,
        planned.window.document(),
        planned.window.hashes,
        planned.counted,
        planned.positions,
        planned.new_positions,
        planned.window.games,
        planned.steps,
        total,
        not moments,
        averaged=averaged,
        origins=_origins(sources),
        precision=learner.precision,
    )
    return learner, state


def _origins(sources: Sources) -> dict[str, str]:
    """Identities of the initial models, by option."""
    found = {}
    if sources.init:
        found["init"] = str(checkpoint.read_about(sources.init)["identity"])
    if sources.previous:
        found["continue"] = str(result_of(finished_run(sources.previous))["identity"])
    return found


def check_origins(sources: Sources, state: State, folder: Path) -> None:
    """`UsageError` if the given sources differ from those that the run in `folder` started with.

    Sources that are not given stay as they were.
    """
    for option, identity in _origins(sources).items():
        known = None if state.origins is None else state.origins.get(option)
        if state.origins is not None and known != identity:
            path = sources.init if option == "init" else sources.previous
            origin = f"with that of model {known}" if known else "without one"
            raise UsageError(
                f"--{option} {path} is of model {identity}, but the run in {folder} was started"
                f" {origin}.",
                hint=f"--resume without --{option}, or another --out",
            )
    if sources.hashes is not None and set(sources.hashes) != set(state.shards):
        raise UsageError(
            f"--shard names {_listed(sources.hashes)}, but the run in {folder} was started with"
            f" {_listed(state.shards)}.",
            hint="--resume without --shard, or another --out",
        )


def _listed(hashes: Sequence[str]) -> str:
    more = f" and {len(hashes) - 1} more" if len(hashes) > 1 else ""
    return f"{hashes[0][:16]}{more}"


def new_network(setting: TrainSetting) -> Network:
    """A network with random weights from the seed of the setting."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        size = setting.size or NetworkSection.size
        return Network(architecture(size, setting.board, setting.players))


def _check_network(setting: TrainSetting, found: Architecture, sources: Sources) -> None:
    if (found.board, found.players) != (setting.board, setting.players):
        raise UsageError(
            f"{sources.previous} trained a network for {found.board} with {found.players} players,"
            f" not for {setting.board} with {setting.players}."
        )
    if setting.size and architecture(setting.size, found.board, found.players) != found:
        raise UsageError(
            f"{sources.init or sources.previous} has a network of {found.blocks} blocks and"
            f" {found.channels} channels, which is not {setting.size}.",
            hint="no --size, or the previous network.size: a continued network keeps its size",
        )


def restored(folder: Path, setting: TrainSetting, state: State) -> Learner:
    """The learner of a resumed run, as it was when its state was written."""
    network = Network(Architecture.from_json(state.architecture))
    learner = Learner(network, setting, state.precision)
    moments = state.step > 0 or not state.fresh
    learner.load(train_state.read_tensors(folder), moments=moments, scaler=state.scaler)
    learner.averaged = state.averaged
    return learner
