"""Training of a network on shards of searched games.

    train(setting, Sources(data), out) ──→ out/models/<identity>.json, .safetensors
                                           out/state.json, log.csv, tensorboard/

A folder holds one run. A run that was stopped or killed resumes from its last state with the same
shards, batches and random numbers; on one CPU thread it ends with identical weights.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ringrift_cli.data.shard import Shard
from ringrift_cli.data.window import WindowSetting, choose
from ringrift_cli.errors import TrainingError, UsageError
from ringrift_cli.game.playout import available_threads
from ringrift_cli.nn import checkpoint
from ringrift_cli.runtime.profiles import Choice, OnChoice, ignore_choice
from ringrift_cli.text import counted
from ringrift_cli.train import start as train_start
from ringrift_cli.train import state as train_state
from ringrift_cli.train.batches import (
    Batch,
    ahead,
    loader_threads,
    training_batch,
    validation_batches,
)
from ringrift_cli.train.dataset import TrainData, gather
from ringrift_cli.train.learner import Learner, learning_rate, names_of
from ringrift_cli.train.log import Log
from ringrift_cli.train.loss import PARTS, validate
from ringrift_cli.train.machine import advised, computing_in
from ringrift_cli.train.settings import TrainSetting
from ringrift_cli.train.start import Sources, TrainingPlan, plan
from ringrift_cli.train.state import State

__all__ = ["Sources", "TrainSetting", "TrainSummary", "TrainingPlan", "plan", "train"]

MODELS = "models"
OF_STATE = ("window", "shards", "positions", "new_positions", "parents")  # in the summary
LOG_EVERY = 25  # steps

OnStep = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainSummary:
    """Result of a training run."""

    checkpoint: str | None  # JSON file of the resulting model; None if the run was stopped
    identity: str | None
    steps: int  # of this run
    total_steps: int  # including earlier runs
    samples: int
    seconds: float
    samples_per_second: float
    train_first: dict[str, float]  # losses by part, first and last log row
    train_last: dict[str, float]
    validation_first: dict[str, float]  # loss.validate; empty without held-out games
    validation_last: dict[str, float]
    window: dict[str, Any]
    shards: list[str]
    positions: int
    new_positions: int
    parents: list[str]
    device: str
    precision: str
    early: bool  # stopped early: the result is the best model
    stopped: bool  # unfinished: can be resumed

    def document(self) -> dict[str, Any]:
        return asdict(self)


def train(
    setting: TrainSetting,
    sources: Sources,
    out: Path,
    *,
    resume: bool = False,
    now: dt.datetime | None = None,
    on_step: OnStep = lambda step, steps, numbers: None,
    on_choice: OnChoice = ignore_choice,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainSummary:
    """Trains a network in the folder `out`.

    `on_step` is called after each step with its number, the total, and the latest metrics: losses,
    samples_per_second, seconds_left, validation_loss. `on_choice` receives the number of threads
    and the precision, with the reason (machine.py). If `should_stop` returns true, the state is
    saved and the summary is `stopped`. With `resume` an existing run in `out` is resumed; for a
    finished one its summary is returned.

    Raises `UsageError` for an existing run without `resume`, or one with another setting, other
    shards or another model; `RecordError` and `RulesMismatch` for invalid data and models;
    `TrainingError` if a loss is not finite.
    """
    torch.set_num_threads(min(torch.get_num_threads(), available_threads()))
    with train_state.locked(out):
        if train_state.has_state(out):
            state = _to_resume(out, setting, sources, resume=resume)
            if state.summary is not None:
                return TrainSummary(**state.summary)
            data, learner = _brought_back(setting, sources, out, state)
        else:
            data, learner, state = _begun(setting, sources, out, now)
        run = _Run(out, setting, state, learner, data, on_step)
        advice = advised(setting, learner.network.architecture)
        with computing_in(advice.threads) as threads:
            how = f"{counted(threads, 'thread')} and {learner.precision}"
            on_choice(Choice(f"Training in {how}: {advice.text}.", advice.refused))
            run.go(should_stop)
        return run.summary()


def _begun(
    setting: TrainSetting, sources: Sources, out: Path, now: dt.datetime | None
) -> tuple[TrainData, Learner, State]:
    planned = plan(setting, sources, now)
    learner, state = train_start.new_learner(setting, sources, planned)
    train_state.write_state(out, state, learner.tensors())
    return _gathered(planned.shards, setting), learner, state


def _brought_back(
    setting: TrainSetting, sources: Sources, out: Path, state: State
) -> tuple[TrainData, Learner]:
    # a resumed run keeps its shards, whatever their age
    undated = WindowSetting(setting.board, setting.players, setting.pie_rule)
    shards = choose(sources.data, undated, hashes=state.shards).read()
    return _gathered(shards, setting), train_start.restored(out, setting, state)


def _gathered(shards: list[Shard], setting: TrainSetting) -> TrainData:
    return gather(shards, setting.train.validation_share, setting.train.surprise_weight)


def _to_resume(out: Path, setting: TrainSetting, sources: Sources, *, resume: bool) -> State:
    state = train_state.read_state(out)
    if not resume:
        done = "a finished run" if state.summary else f"a run at step {state.step} of {state.steps}"
        raise UsageError(
            f"{out} already holds {done}.",
            hint=f"another --out, with --continue {out}" if state.summary else "--resume",
        )
    setting.check_same(state.setting, out)
    train_start.check_origins(sources, state, out)
    return state


class _Run:
    """A training run in its folder."""

    def __init__(
        self,
        out: Path,
        setting: TrainSetting,
        state: State,
        learner: Learner,
        data: TrainData,
        on_step: OnStep,
    ) -> None:
        self._out, self._setting, self._state = out, setting, state
        self._learner, self._data, self._on_step = learner, data, on_step
        self._sums: Tensor | None = None  # [PARTS] losses since the last log row
        self._summed = 0  # steps
        self._numbers: dict[str, float] = {}  # latest metrics, for `on_step`
        self._clock = self._saved = time.monotonic()
        self._logged_at = state.seconds  # seconds at the last log row

    def go(self, should_stop: Callable[[], bool]) -> None:
        """Trains until the run is finished or stopped, and saves its state."""
        state, setting = self._state, self._setting
        if self._is_done():  # killed between the last step and the summary
            self._finish()
            return
        options = setting.train
        make = partial(training_batch, self._data, options.batch, options.value_mix, setting.seed)
        threads = loader_threads(self._learner.device)
        with (
            closing(Log(self._out, state.step, state.began)) as log,
            closing(ahead(make, state.step, state.steps, threads)) as batches,
        ):
            if not state.validations:
                self._validate()  # baseline
            for batch in batches:
                rate = learning_rate(setting.train, state.step, state.steps, state.fresh)
                self._learn(batch, rate)
                if state.step % setting.train.validate_every == 0 or self._is_done():
                    numbers = self._measure(rate)
                    log.add(state.step, numbers, self._validate())
                    self._keep_model()
                elif state.step % LOG_EVERY == 0:
                    log.add(state.step, self._measure(rate), None)
                self._on_step(state.step, state.steps, self._numbers)
                if self._is_done():
                    self._finish()
                    return
                if should_stop():
                    self._save()
                    return
                if time.monotonic() - self._saved > 60 * setting.train.checkpoint_minutes:
                    self._save()

    def _learn(self, batch: Batch, rate: float) -> None:
        found = self._learner.step(batch, rate)
        self._sums = found if self._sums is None else self._sums + found
        self._state.step += 1
        self._summed += 1

    @property
    def _early(self) -> bool:
        return 0 < self._setting.train.patience <= self._state.worse

    def _is_done(self) -> bool:
        return self._state.step >= self._state.steps or self._early

    def _spend(self) -> None:
        """Adds the time since the last call to the seconds of the run."""
        now = time.monotonic()
        self._state.seconds += now - self._clock
        self._clock = now

    def _means(self) -> dict[str, float]:
        """Mean losses since the last log row; `TrainingError` if one is not finite."""
        if self._sums is None:
            return {}
        means = names_of(self._sums / self._summed)
        if not all(math.isfinite(value) for value in means.values()):
            raise self._not_finite("loss", means)
        return means

    def _not_finite(self, what: str, found: dict[str, float]) -> TrainingError:
        losses = ", ".join(f"{name} {found[name]:.4g}" for name in PARTS if name in found)
        first = self._state.step - max(self._summed - 1, 0)
        rate = self._setting.train.learning_rate
        return TrainingError(
            f"A {what} is not finite between steps {first} and {self._state.step}: {losses}."
            f" {self._out} keeps the state before.",
            hint=f"--set train.learning_rate below {rate:g}, in another --out",
        )

    def _measure(self, rate: float) -> dict[str, float]:
        """A log row with the mean losses and the speed since the last one."""
        state = self._state
        means = self._means()
        self._spend()
        speed = (
            self._summed * self._setting.train.batch / max(state.seconds - self._logged_at, 1e-9)
        )
        self._logged_at = state.seconds
        state.first = state.first or means
        state.last = means
        self._sums, self._summed = None, 0
        left = (state.steps - state.step) * self._setting.train.batch / speed
        known = {**means, "samples_per_second": speed, "seconds_left": left}
        self._numbers = {**self._numbers, **known}
        row = {"samples": state.step * self._setting.train.batch, "seconds": state.seconds}
        return {**row, "learning_rate": rate, **means, "samples_per_second": speed}

    def _validate(self) -> dict[str, float] | None:
        """Validates the averaged network; None without held-out games."""
        data, setting, state = self._data, self._setting, self._state
        if not len(data.validation):
            return None
        batches = validation_batches(
            data, setting.train.batch, setting.train.value_mix, setting.train.validation_positions
        )
        found = validate(self._learner.average, batches, setting.train, self._learner.device)
        if not math.isfinite(found["loss"]):
            raise self._not_finite("loss", found)
        best = min((one["loss"] for one in state.validations), default=math.inf)
        state.worse = 0 if found["loss"] < best else state.worse + 1
        state.validations.append({"step": state.step, **found})
        self._numbers["validation_loss"] = found["loss"]
        self._spend()
        self._logged_at = self._state.seconds  # the speed excludes validation
        return found

    # ---- saving --------------------------------------------------------------------------------

    def _save(self) -> None:
        means, tensors = self._means(), self._learner.tensors()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise self._not_finite("weight", means or self._state.last)
        self._spend()
        self._state.averaged = self._learner.averaged
        self._state.scaler = self._learner.scaler()
        train_state.write_state(self._out, self._state, tensors)
        self._saved = time.monotonic()

    def _keep_model(self) -> None:
        """Saves the averaged network as a model; keeps only the latest few models and the best."""
        state, setting = self._state, self._setting
        validation = state.validations[-1] if state.validations else {}
        about = {
            "parents": state.parents,
            "data": state.shards,
            "window": state.window,
            "pie_rule": setting.pie_rule,
            "generation": setting.generation,
            "steps": state.step,
            "total_steps": state.began + state.step,
            "samples": state.step * setting.train.batch,
            "seconds": round(state.seconds, 3),
            "metrics": {"train": state.last, "validation": validation},
            "setting": setting.document(),
        }
        path = checkpoint.save(self._out / MODELS, self._learner.average, about)
        models = [m for m in state.models if m["identity"] != path.stem]
        loss = validation.get("loss")
        models.append({"identity": path.stem, "step": state.step, "loss": loss})
        keep = setting.train.keep
        kept = [m for m in models[:-keep] if m is _best(models)] + models[-keep:]
        state.models = kept
        self._save()
        for model in models:
            if model not in kept:
                for ending in (checkpoint.ABOUT, checkpoint.WEIGHTS):
                    (self._out / MODELS / f"{model['identity']}{ending}").unlink(missing_ok=True)

    def _finish(self) -> None:
        """Ends the run; after early stopping with the weights of the best model."""
        summary = self._summary(done=True)
        if summary.early:
            weights = checkpoint.load(Path(str(summary.checkpoint))).network.state_dict()
            self._learner.network.load_state_dict(weights)
            self._learner.average.load_state_dict(weights)
        self._state.summary = summary.document()
        self._save()

    def summary(self) -> TrainSummary:
        """Summary of the run so far."""
        known = self._state.summary
        return self._summary(done=False) if known is None else TrainSummary(**known)

    def _summary(self, *, done: bool) -> TrainSummary:
        state, setting = self._state, self._setting
        early = done and self._early
        model = (_best(state.models) if early else state.models[-1]) if done else None
        samples, measured = state.step * setting.train.batch, state.validations or [{}]
        path = self._out / MODELS / f"{model['identity']}{checkpoint.ABOUT}" if model else None
        return TrainSummary(
            checkpoint=str(path) if path else None,
            identity=model["identity"] if model else None,
            steps=state.step,
            total_steps=state.began + state.step,
            samples=samples,
            seconds=round(state.seconds, 3),
            samples_per_second=round(samples / max(state.seconds, 1e-9), 1),
            train_first=state.first,
            train_last=state.last,
            validation_first=measured[0],
            validation_last=measured[-1],
            device=str(self._learner.device),
            precision=self._learner.precision,
            early=early,
            stopped=not done,
            **{name: getattr(state, name) for name in OF_STATE},
        )


def _best(models: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The model with the lowest validation loss; None if none was validated."""
    measured = [model for model in models if model["loss"] is not None]
    return min(measured, key=lambda model: model["loss"], default=None)
