"""The network in training, the average of its weights, and the optimiser."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.nn.network import Network
from ringrift_cli.settings import Train
from ringrift_cli.text import counted
from ringrift_cli.train.batches import Batch
from ringrift_cli.train.loss import PARTS, losses
from ringrift_cli.train.settings import TrainSetting

MOMENTUM = 0.9
BETAS = (0.9, 0.99)  # short memory: in the loop, data change within a thousand steps
LAST_RATE = 0.05  # final share of the learning rate under the cosine schedule
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The torch device of a name; auto is a GPU if there is one. `UsageError` if unavailable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"No device {name!r}: expected auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"No device {name!r}: torch sees {counted(torch.cuda.device_count(), 'GPU')}.",
            hint="--device cpu",
        )
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """float32, bfloat16 or float16; auto is float32 on a CPU, where the others are not faster."""
    if name != "auto":
        if name == "float16" and device.type == "cpu":
            raise UsageError("float16 is for GPUs.", hint="--set train.precision=bfloat16")
        return name
    if device.type == "cpu":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def learning_rate(setting: Train, done: int, steps: int, fresh: bool) -> float:
    """Learning rate of the step after `done` of `steps`.

    Warm-up applies to a fresh optimiser, and to every cosine schedule, since the previous run ended
    at a low rate.
    """
    rate = setting.learning_rate
    if setting.schedule == "cosine":
        turn = (1 + math.cos(math.pi * done / steps)) / 2
        rate *= LAST_RATE + (1 - LAST_RATE) * turn
    if (fresh or setting.schedule == "cosine") and done < setting.warmup:
        rate *= (done + 1) / setting.warmup
    return rate


class Learner:
    """A network, the moving average of its weights, and its optimiser."""

    def __init__(
        self, network: Network, setting: TrainSetting, precision: str | None = None
    ) -> None:
        """`precision` overrides the setting, except float16 on a CPU."""
        self._setting = setting.train
        self.device = pick_device(setting.device)
        if precision == "float16" and self.device.type == "cpu":
            precision = None
        self.precision = precision or pick_precision(setting.train.precision, self.device)
        self.network = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.averaged = 0  # steps in the average
        self.optimiser = self._optimiser()
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def _optimiser(self) -> torch.optim.Optimizer:
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]  # biases, batch norms
        groups = [
            {"params": decayed, "weight_decay": self._setting.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        rate = self._setting.learning_rate
        if self._setting.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
        fused = self.device.type == "cuda"
        return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=fused)

    def step(self, batch: Batch, rate: float) -> Tensor:
        """Trains on a batch; returns its losses, [PARTS], detached and on the device."""
        batch = batch.to(self.device)
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        half = self.precision != "float32"
        with torch.autocast(self.device.type, HALF.get(self.precision), enabled=half):
            heads = self.network(batch.planes, batch.scalars, batch.position, batch.action)
        found = losses(heads, batch)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(found.total(self._setting)))
        self._scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._setting.clip)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self._update_average()
        return torch.stack([loss.detach() for loss in found])

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average; uniform at first, so that the initial weights vanish."""
        decay = min(self._setting.average, (1 + self.averaged) / (10 + self.averaged))
        self.averaged += 1
        average = self.average.state_dict()
        for name, mine in self.network.state_dict().items():
            kept = average[name]
            if kept.is_floating_point():
                kept.lerp_(mine, 1 - decay)
            else:
                kept.copy_(mine)

    # ---- state ----------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the learner by name, on the CPU."""
        found = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        found |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            found |= {
                f"optimiser.{index}.{key}": value
                for key, value in moments.items()
                if isinstance(value, Tensor)
            }
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}

    def scaler(self) -> dict[str, Any]:
        """State of the float16 loss scaler as JSON; empty for other precisions."""
        return dict(self._scaler.state_dict())

    def load(
        self, tensors: dict[str, Tensor], *, moments: bool, scaler: dict[str, Any] | None = None
    ) -> None:
        """Loads weights and average, with `moments` also the optimiser state.

        float16 has no moments as long as the loss scaler has skipped every step. `RecordError` if
        the tensors belong to another network or optimiser.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        try:
            self.network.load_state_dict(parts["network"])
            self.average.load_state_dict(parts["average"])
            if moments and (parts["optimiser"] or self.precision != "float16"):
                self._load_moments(parts["optimiser"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise RecordError(
                f"The state is of another network or optimiser: {str(error).splitlines()[0]}"
            ) from error
        if scaler:
            self._scaler.load_state_dict(scaler)

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        sizes = [p.shape for group in self.optimiser.param_groups for p in group["params"]]
        keys = {"momentum_buffer"} if self._setting.optimiser == "sgd" else None
        expected = keys or {"step", "exp_avg", "exp_avg_sq"}
        for number, size in enumerate(sizes):
            found = {k: v.shape for k, v in state[number].items()}
            if found != {k: torch.Size([]) if k == "step" else size for k in expected}:
                raise ValueError(f"moments of parameter {number} are {found}")
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**whole, "state": state})


def names_of(found: Tensor) -> dict[str, float]:
    """Losses as returned by `Learner.step`, by name."""
    return dict(zip(PARTS, found.tolist(), strict=True))
