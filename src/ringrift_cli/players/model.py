"""Network players: policy without search, and evaluators for search."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ringrift_cli.errors import UsageError
from ringrift_cli.game import playout
from ringrift_cli.nn.checkpoint import read_about
from ringrift_cli.nn.registry import Registry, default_folder, pool_name
from ringrift_cli.players.player import Choices, Decisions, KnownEvaluator, identity_of

SIMULATIONS = 64


class PolicyPlayer:
    """Plays the most probable action of the policy, without search."""

    def __init__(self, spec: str, evaluator: KnownEvaluator) -> None:
        self.spec = spec
        self._evaluator = evaluator
        self.identity = identity_of({"kind": "policy", "evaluator": evaluator.identity})

    def choose(self, asked: Decisions) -> Choices:
        actions, offsets = playout.list_all(asked.T, asked.rows)
        logits, values = self._evaluator.evaluate(asked.rows, actions, offsets)
        starts, counts = offsets[:-1], np.diff(offsets)
        best = np.maximum.reduceat(logits, starts)
        hits = np.flatnonzero(logits == np.repeat(best, counts))
        first = hits[np.searchsorted(hits, starts)]
        return Choices(actions[first], values)

    def close(self) -> None:
        pass


def checkpoint_named(
    name: str, board: str, players: int, pie_rule: bool = False
) -> tuple[Path, str]:
    """Path and identity of a checkpoint file or of a model in the registry.

    `UsageError` if there is no such model.
    """
    path = Path(name).expanduser()
    if path.suffix in (".json", ".safetensors"):
        if not path.is_file():
            raise UsageError(f"There is no file {name}.", hint="champion")
        return path, str(read_about(path)["identity"])
    entry = Registry(default_folder()).find(pool_name(board, players, pie_rule), name)
    return entry.path, entry.identity


def network_evaluator(
    path: Path, board: str, players: int, device: str, precision: str
) -> KnownEvaluator:
    """Loads a checkpoint as evaluator; errors as `checkpoint.load`."""
    import torch

    from ringrift_cli.nn.checkpoint import load
    from ringrift_cli.nn.evaluator import NetworkEvaluator

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return NetworkEvaluator(load(path, board, players).network, device, precision)
