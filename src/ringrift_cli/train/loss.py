"""Training losses, and validation metrics on held-out games."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ringrift_cli.game.playout import LongArray
from ringrift_cli.nn.network import Heads, Network
from ringrift_cli.settings import Train
from ringrift_cli.train.batches import UNKNOWN, Batch

PARTS = ("policy", "value", "owner", "eliminated")
BINS = 10  # of the predicted win probability, for the calibration error


class Losses(NamedTuple):
    """Means over a batch, nats except for `eliminated`; scalars."""

    policy: Tensor  # cross-entropy with the search policy over legal actions
    value: Tensor  # cross-entropy with the winner, mixed with the search value
    owner: Tensor  # cross-entropy with the final owner of each known cell
    eliminated: Tensor  # squared error of the shares of eliminated rings, finished games only

    def total(self, setting: Train) -> Tensor:
        """Weighted sum of the losses, which training minimises."""
        return (
            self.policy
            + setting.value_weight * self.value
            + setting.owner_weight * self.owner
            + setting.eliminated_weight * self.eliminated
        )


def log_policy(logits: Tensor, position: Tensor, positions: int) -> Tensor:
    """Log-softmax, [M], of the logits, [M], over the actions of each position."""
    least = torch.full((positions,), -torch.inf, dtype=logits.dtype, device=logits.device)
    top = least.scatter_reduce(0, position, logits.detach(), "amax")
    shifted = logits - top.index_select(0, position)
    sums = torch.zeros_like(top).index_add(0, position, shifted.exp())
    return shifted - sums.log().index_select(0, position)


def losses(heads: Heads, batch: Batch) -> Losses:
    """The losses of a batch; 0 for those without a known target."""
    count = len(batch.planes)
    policy = -(batch.target * log_policy(heads.logits, batch.position, count)).sum() / count
    value = -(batch.value * functional.log_softmax(heads.value, 1)).sum(1).mean()
    known = (batch.owner != UNKNOWN).sum().clamp(min=1)
    owner = functional.cross_entropy(
        heads.owner.flatten(0, 1), batch.owner.flatten(), ignore_index=UNKNOWN, reduction="sum"
    )
    wrong = ((heads.eliminated - batch.eliminated) ** 2).mean(1)
    finished = batch.known.sum().clamp(min=1)
    return Losses(policy, value, owner / known, (wrong * batch.known).sum() / finished)


# ---- validation ---------------------------------------------------------------------------------


def policy_agrees(logits: Tensor, batch: Batch, offsets: LongArray) -> int:
    """Number of positions whose most probable action is a best action of the search."""
    guess, target = logits.numpy(), batch.target.numpy()
    counts = np.diff(offsets)
    best = np.repeat(np.maximum.reduceat(target, offsets[:-1]), counts)
    top = np.repeat(np.maximum.reduceat(guess, offsets[:-1]), counts)
    # of equal logits the first counts: a uniform network is right by chance only
    first = np.minimum.reduceat(
        np.where(guess == top, np.arange(len(guess)), len(guess)), offsets[:-1]
    )
    return int((target[first] == best[first]).sum())


def calibration_error(chances: Any, won: Any) -> float:
    """Expected calibration error: size-weighted mean over bins of |mean prediction - share won|.

    `chances`, [N], are predictions, `won`, [N], outcomes (Guo et al. 2017, arXiv:1706.04599).
    """
    bins = np.minimum((chances * BINS).astype(np.int64), BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    expected = np.bincount(bins, chances, BINS)
    happened = np.bincount(bins, won, BINS)
    return float(np.abs(expected - happened).sum() / sizes.sum())


@torch.inference_mode()
def validate(
    network: Network,
    batches: Iterator[tuple[Batch, LongArray]],
    setting: Train,
    device: torch.device,
) -> dict[str, float]:
    """Losses and accuracies of a network in evaluation mode, means over all positions.

    `policy_accuracy` and `value_accuracy` are the shares of positions whose most probable action is
    the search's best, and whose most probable seat is the winner; `calibration` is the error of the
    mover's win probability.
    """
    sums = dict.fromkeys((*PARTS, "loss", "policy_accuracy", "value_accuracy"), 0.0)
    chances, won, positions = [], [], 0
    for batch, offsets in batches:
        count = len(batch.planes)
        there = batch.to(device)
        heads = network(there.planes, there.scalars, there.position, there.action)
        found = losses(heads, there)
        for name, loss in zip(PARTS, found, strict=True):
            sums[name] += count * float(loss)
        sums["loss"] += count * float(found.total(setting))
        sums["policy_accuracy"] += policy_agrees(heads.logits.cpu(), batch, offsets)
        sums["value_accuracy"] += int((heads.value.argmax(1).cpu() == batch.winner).sum())
        chances.append(heads.value.softmax(1)[:, 0].cpu().double().numpy())
        won.append((batch.winner == 0).double().numpy())
        positions += count
    means = {name: total / positions for name, total in sums.items()}
    means["calibration"] = calibration_error(np.concatenate(chances), np.concatenate(won))
    return means
