"""Experiment trackers: MLflow, Weights & Biases, TensorBoard.

A tracker receives a whole run and adds what it lacks, so that reporting a run again changes
nothing, and an old run is reported whole.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.observe.runs import MetricPoint, ObservedRun
from ringrift_cli.text import abridged

TARGETS = "mlflow:URI, wandb:PROJECT or tensorboard:DIR"
EXPERIMENT = "ringrift"
RUN_TAG, MODEL_TAG = "ringrift.run", "ringrift.identity"
BATCH = 100  # parameters of one request; ten times as many metrics
# A server that does not answer fails within seconds, not after minutes of retries.
MLFLOW_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Tracker(Protocol):
    """A place for runs; `RingriftError` if it cannot be written."""

    def report(self, run: ObservedRun) -> int:
        """Adds what the tracker lacks of a run; returns the number of new values."""


def check_target(target: str) -> tuple[Callable[[str], Tracker], str]:
    """The class and argument of `mlflow:URI`, `wandb:PROJECT` or `tensorboard:DIR`.

    `UsageError` for another text, or if its package is not installed.
    """
    kind, _, where = target.partition(":")
    if kind not in KINDS or not where:
        raise UsageError(f"{target!r} is no experiment tracker: expected {TARGETS}.")
    if importlib.util.find_spec(kind) is None:
        raise UsageError(
            f"{target} needs {kind}, which is not installed.",
            hint=f"pip install 'ringrift[{kind}]'",
        )
    return KINDS[kind], where


def tracker_of(target: str) -> Tracker:
    """Opens a tracker; errors as `check_target`."""
    kind, where = check_target(target)
    return kind(where)


class KnownPoints:
    """Finds the points that are new; `known` are values by name and step."""

    def __init__(self, known: Mapping[tuple[str, int], float] | None = None) -> None:
        self._known = dict(known or {})

    def new(self, run: ObservedRun) -> list[MetricPoint]:
        """The points that are missing, or have another value by now."""
        return [point for point in run.points if not self._has(point)]

    def add(self, points: list[MetricPoint]) -> None:
        self._known.update({(point.name, point.step): point.value for point in points})

    def _has(self, point: MetricPoint) -> bool:
        known = self._known.get((point.name, point.step))
        return known is not None and math.isclose(known, point.value, rel_tol=1e-6, abs_tol=1e-9)


# ---- TensorBoard --------------------------------------------------------------------------------


class TensorBoard:
    """Event files, in a folder for each run."""

    def __init__(self, where: str) -> None:
        self._folder = Path(where).expanduser()
        self._missing: dict[str, KnownPoints] = {}

    def report(self, run: ObservedRun) -> int:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / f"{run.name.replace('/', '-')}-{run.identity}"
        missing = self._missing.setdefault(run.identity, KnownPoints(_events(folder)))
        new = missing.new(run)
        if new:
            try:
                with SummaryWriter(str(folder)) as writer:
                    for point in new:
                        writer.add_scalar(point.name, point.value, point.step, point.time)
            except OSError as error:
                raise RingriftError(f"Cannot write to {folder}: {error.strerror}.") from error
            missing.add(new)
        return len(new)


def _events(folder: Path) -> dict[tuple[str, int], float]:
    """The scalars of the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.exists():
        return {}
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    names = found.Tags()["scalars"]
    return {(name, event.step): event.value for name in names for event in found.Scalars(name)}


# ---- MLflow -------------------------------------------------------------------------------------


class MlflowTracker:
    """An MLflow server or folder: a run of the experiment `ringrift`, and registered models."""

    def __init__(self, uri: str) -> None:
        for name, value in MLFLOW_LIMITS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._uri = uri
        self._client = MlflowClient(uri, uri)
        self._runs: dict[str, tuple[str, KnownPoints]] = {}

    def report(self, run: ObservedRun) -> int:
        from mlflow.exceptions import MlflowException

        with _failures(f"mlflow:{self._uri}", MlflowException, OSError):
            if run.identity not in self._runs:
                self._runs[run.identity] = self._open(run)
            name, missing = self._runs[run.identity]
            new = missing.new(run)
            self._log(name, new)
            missing.add(new)
            return len(new) + self._upload(name, run) + self._register(name, run)

    def _open(self, run: ObservedRun) -> tuple[str, KnownPoints]:
        """The run of the tracker, made if missing, with its parameters; and its points."""
        from mlflow.entities import Param

        client = self._client
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        found = client.search_runs([number], f"tags.`{RUN_TAG}` = '{run.identity}'")
        tags = {RUN_TAG: run.identity, "mlflow.runName": run.name, "ringrift.kind": run.kind}
        opened = found[0] if found else client.create_run(number, tags=tags)
        name = opened.info.run_id
        new = [Param(k, v) for k, v in run.parameters.items() if k not in opened.data.params]
        for start in range(0, len(new), BATCH):
            client.log_batch(name, params=new[start : start + BATCH])
        known = {
            (one.key, one.step): one.value
            for key in opened.data.metrics
            for one in sorted(client.get_metric_history(name, key), key=lambda one: one.timestamp)
        }
        return name, KnownPoints(known)

    def _log(self, name: str, points: list[MetricPoint]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(p.name, p.value, round(1000 * p.time), p.step) for p in points]
        for start in range(0, len(metrics), 10 * BATCH):
            self._client.log_batch(name, metrics=metrics[start : start + 10 * BATCH])

    def _upload(self, name: str, run: ObservedRun) -> int:
        """Adds the files that are missing or have another size."""
        sizes: dict[str, dict[str, int | None]] = {}
        for folder in {folder for _, folder in run.files}:
            listed = self._client.list_artifacts(name, folder or None)
            sizes[folder] = {one.path.rpartition("/")[2]: one.file_size for one in listed}
        new = [(p, f) for p, f in run.files if sizes[f].get(p.name) != p.stat().st_size]
        for path, folder in new:
            self._client.log_artifact(name, str(path), folder or None)
        return len(new)

    def _register(self, name: str, run: ObservedRun) -> int:
        """Adds missing versions of the pool's model; the alias `champion` follows the last."""
        client, count = self._client, 0
        if not run.models:
            return 0
        model = f"{EXPERIMENT}-{run.models[0].pool}"
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        versions = client.search_model_versions(f"name = '{model}'")
        known = {version.tags.get(MODEL_TAG) for version in versions}
        root = client.get_run(name).info.artifact_uri
        for one in run.models:
            if one.identity in known:
                continue
            folder = f"models/{one.identity}"
            for path in one.files:
                client.log_artifact(name, str(path), folder)
            tags = {MODEL_TAG: one.identity, "ringrift.cycle": str(one.cycle)}
            version = client.create_model_version(model, f"{root}/{folder}", name, tags)
            client.set_registered_model_alias(model, "champion", version.version)
            count += 1
        return count


@contextmanager
def _failures(target: str, *kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RingriftError(
            f"{target} cannot be written: {abridged(first, 200)}",
            hint=f"ringrift track --to {target}",
        ) from error


# ---- Weights & Biases ---------------------------------------------------------------------------


class WandbTracker:
    """A project of Weights & Biases; values before the last step of its run are kept."""

    def __init__(self, project: str) -> None:
        self._project = project

    def report(self, run: ObservedRun) -> int:
        import wandb

        target = f"wandb:{self._project}"
        with _failures(target, wandb.errors.Error, OSError):
            opened = wandb.init(
                project=self._project,
                id=run.identity,
                name=run.name.replace("/", "-"),
                config=dict(run.parameters),
                resume="allow",
                settings=wandb.Settings(silent=True, console="off", init_timeout=20),
            )
            try:
                return self._log(opened, run)
            finally:
                opened.finish()

    def _log(self, opened: Any, run: ObservedRun) -> int:
        by_step: dict[int, dict[str, float]] = {}
        for point in run.points:
            if point.step >= opened.step:
                by_step.setdefault(point.step, {})[point.name] = point.value
        for step in sorted(by_step):
            opened.log(by_step[step], step=step)
        return sum(map(len, by_step.values())) + self._models(opened, run)

    def _models(self, opened: Any, run: ObservedRun) -> int:
        import wandb

        new = [one for one in run.models if one.cycle >= opened.starting_step]
        for one in new:
            artifact = wandb.Artifact(f"{EXPERIMENT}-{one.pool}", "model")
            artifact.metadata = {MODEL_TAG: one.identity, "cycle": one.cycle}
            for path in one.files:
                artifact.add_file(str(path))
            opened.log_artifact(artifact, aliases=["champion", one.identity])
        return len(new)


KINDS: dict[str, Callable[[str], Tracker]] = {  # by package
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
    "tensorboard": TensorBoard,
}
