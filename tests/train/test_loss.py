"""Losses and measures against the same computed position by position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ringrift_cli.data.shard_checks import offsets_of
from ringrift_cli.nn.network import Heads, Network, architecture
from ringrift_cli.settings import Train
from ringrift_cli.train.batches import UNKNOWN, Batch
from ringrift_cli.train.loss import (
    calibration_error,
    log_policy,
    losses,
    policy_agrees,
    validate,
)

COUNTS = [3, 1, 5, 2]  # legal actions of four positions
OFFSETS = offsets_of(np.array(COUNTS))
SETTING = Train()


@pytest.fixture
def heads() -> Heads:
    g = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return 3 * torch.randn(*shape, generator=g)

    return Heads(numbers(11), numbers(4, 3), numbers(4, 81, 4), numbers(4, 3))


@pytest.fixture
def batch() -> Batch:
    """Three players; game 2 was resigned."""
    g = torch.Generator().manual_seed(1)
    position = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))
    target = torch.rand(11, generator=g)
    for i in range(4):
        target[position == i] /= target[position == i].sum()
    target[0], target[1] = target[0] + target[1], 0.0
    owner = torch.randint(0, 4, (4, 81), generator=g)
    owner[:, ::7] = UNKNOWN
    owner[2] = UNKNOWN
    return Batch(
        planes=torch.zeros(4, 9, 9, 43, dtype=torch.uint8),
        scalars=torch.zeros(4, 63),
        position=position,
        action=torch.randint(0, 7000, (11,), generator=g),
        target=target,
        value=torch.softmax(torch.randn(4, 3, generator=g), 1),
        winner=torch.tensor([0, 2, 1, 0]),
        owner=owner,
        eliminated=torch.rand(4, 3, generator=g),
        known=torch.tensor([1.0, 1.0, 0.0, 1.0]),
    )


def test_losses_position_by_position(heads: Heads, batch: Batch) -> None:
    found = losses(heads, batch)
    policy, value, owner, cells, eliminated = 0.0, 0.0, 0.0, 0, 0.0
    for i in range(4):
        mine = batch.position == i
        policy -= float((batch.target[mine] * functional.log_softmax(heads.logits[mine], 0)).sum())
        value -= float((batch.value[i] * functional.log_softmax(heads.value[i], 0)).sum())
        if batch.known[i] == 0:
            continue
        eliminated += float(((heads.eliminated[i] - batch.eliminated[i]) ** 2).mean())
        for cell in range(81):
            who = int(batch.owner[i, cell])
            if who != UNKNOWN:
                cells += 1
                owner -= float(functional.log_softmax(heads.owner[i, cell], 0)[who])
    assert float(found.policy) == pytest.approx(policy / 4, rel=1e-5)
    assert float(found.value) == pytest.approx(value / 4, rel=1e-5)
    assert float(found.owner) == pytest.approx(owner / cells, rel=1e-5)
    assert float(found.eliminated) == pytest.approx(eliminated / 3, rel=1e-5)
    setting = replace(SETTING, value_weight=2.0, owner_weight=0.5, eliminated_weight=0.25)
    total = policy / 4 + 2 * value / 4 + 0.5 * owner / cells + 0.25 * eliminated / 3
    assert float(found.total(setting)) == pytest.approx(total, rel=1e-5)


def test_great_logits_do_not_overflow() -> None:
    logits = torch.tensor([1000.0, -1000.0, 1000.0, 5.0])
    position = torch.tensor([0, 0, 0, 1])
    expected = [-np.log(2), -2000 - np.log(2), -np.log(2), 0.0]
    np.testing.assert_allclose(log_policy(logits, position, 2).numpy(), expected, rtol=1e-6)


def test_gradients_are_those_of_a_softmax(heads: Heads, batch: Batch) -> None:
    logits = heads.logits.clone().requires_grad_()
    torch.autograd.backward(losses(heads._replace(logits=logits), batch).policy)
    assert logits.grad is not None
    for i in range(4):
        mine = batch.position == i
        expected = (torch.softmax(heads.logits[mine], 0) - batch.target[mine]) / 4
        torch.testing.assert_close(logits.grad[mine], expected)


def test_nothing_known_is_no_loss(heads: Heads, batch: Batch) -> None:
    unknown = replace(
        batch, owner=torch.full_like(batch.owner, UNKNOWN), known=torch.zeros_like(batch.known)
    )
    found = losses(heads, unknown)
    assert (float(found.owner), float(found.eliminated)) == (0, 0)


def test_policy_agrees_where_the_best_is_found(heads: Heads, batch: Batch) -> None:
    expected = 0
    for i in range(4):
        mine = batch.position == i
        expected += int(heads.logits[mine].argmax() == batch.target[mine].argmax())
    assert policy_agrees(heads.logits, batch, OFFSETS) == expected
    assert policy_agrees(batch.target, batch, OFFSETS) == 4
    # two actions that the search thought equally good are both right
    even = replace(batch, target=torch.tensor([0.5, 0.5, 0, 1, *[0.2] * 5, 0.9, 0.1]))
    right = torch.tensor([0.0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1])
    assert policy_agrees(right, even, OFFSETS) == 3
    # a network that says nothing gets what the first action gets
    assert policy_agrees(torch.zeros(11), replace(batch, target=1 - right), OFFSETS) == 4
    assert policy_agrees(torch.zeros(11), replace(batch, target=right), OFFSETS) == 1


def test_calibration() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random(200_000)
    assert calibration_error(chances, rng.random(200_000) < chances) < 0.01
    assert calibration_error(np.full(1000, 0.9), np.arange(1000) % 2 == 0) == pytest.approx(0.4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    # errors of two bins do not cancel out
    half = np.array([0.25] * 4 + [0.75] * 4)
    assert calibration_error(half, np.array([1, 1, 0, 0] * 2)) == pytest.approx(0.25)


def test_validation_is_the_mean_over_positions(batch: Batch) -> None:
    torch.manual_seed(0)
    network = Network(architecture("tiny", "hex8", 3)).eval()
    small = replace(
        batch,
        **{n: getattr(batch, n)[:1] for n in ("planes", "scalars", "value", "winner", "known")},
        **{n: getattr(batch, n)[:1] for n in ("owner", "eliminated")},
        **{n: getattr(batch, n)[:3] for n in ("position", "action", "target")},
    )
    cpu = torch.device("cpu")
    both = validate(network, iter([(batch, OFFSETS), (small, OFFSETS[:2])]), SETTING, cpu)
    parts = [
        validate(network, iter([one]), SETTING, cpu)
        for one in ((batch, OFFSETS), (small, OFFSETS[:2]))
    ]
    for name in ("policy", "value", "owner", "loss", "policy_accuracy", "value_accuracy"):
        mean = (4 * parts[0][name] + parts[1][name]) / 5
        assert both[name] == pytest.approx(mean, rel=1e-6), name
    assert 0 <= both["calibration"] <= 1
    with torch.no_grad():
        heads = network(batch.planes, batch.scalars, batch.position, batch.action)
    assert parts[0]["loss"] == pytest.approx(float(losses(heads, batch).total(SETTING)), rel=1e-5)
    right = (heads.value.argmax(1) == batch.winner).float().mean()
    assert parts[0]["value_accuracy"] == pytest.approx(float(right))
