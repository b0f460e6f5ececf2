"""Lists the models of a registry with their results in the gate."""

from __future__ import annotations

from typing import Any

import msgspec

from ringrift_cli.evaluate.evidence import MatchEvidence, recorded_match
from ringrift_cli.nn.registry import Registry


class ModelSummary(msgspec.Struct, frozen=True):
    """A model of a pool."""

    identity: str
    champion: bool
    path: str
    time: str
    architecture: dict[str, Any]
    steps: int | None  # of training, where known
    promoted: str | None  # time of the last promotion
    heuristic: MatchEvidence | None  # its match with the default heuristic then


class ModelList(msgspec.Struct, frozen=True):
    """The models of a pool, oldest first."""

    pool: str
    champion: str | None
    models: tuple[ModelSummary, ...]


def model_list(registry: Registry, pool: str) -> ModelList:
    """The models of a pool; `RecordError` for a damaged file."""
    history = registry.history(pool)
    champion = history[-1].identity if history else None
    promotions = {event.identity: event for event in history if event.evidence is not None}
    models = []
    for entry in registry.models(pool):
        promotion = promotions.get(entry.identity)
        models.append(
            ModelSummary(
                entry.identity,
                entry.identity == champion,
                str(entry.path),
                entry.document["time"],
                entry.document["architecture"],
                entry.about.get("total_steps", entry.about.get("steps")),
                promotion.time if promotion else None,
                recorded_match(promotion.evidence, "heuristic") if promotion else None,
            )
        )
    return ModelList(pool, champion, tuple(models))
