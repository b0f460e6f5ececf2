"""Proves on a machine with a GPU that networks judge there as on the CPU, and how fast.

python -m ringrift_cli.stages.gpu_check

A table on stdout: for every board and number of players the greatest difference of logits and
chances between the CPU in float32 and the GPU in float32 and in half precision; then evaluations a
second by batch and network size. Exit code 1 if float32 differs by more than rounding.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, IntArray, tables
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.nn.export import drawn_rows
from ringrift_cli.nn.network import SIZES, Network, architecture

POSITIONS = 512
BATCHES = (256, 512, 1024, 2048, 4096)
ROUND = 1.0  # seconds of a measurement
MOST_DIFFERENCE = 1e-3  # of float32; tf32 is off
Batch = tuple[IntArray, IntArray, LongArray]


def sample(board: str, players: int, count: int) -> Batch:
    """Positions of random games of all depths, repeated beyond `POSITIONS`, with legal actions."""
    T = tables(board, players)
    drawn = drawn_rows(board, players, min(count, POSITIONS))
    rows = np.resize(drawn, (count, drawn.shape[1]))
    actions, offsets = playout.list_all(T, rows)
    return rows, actions, offsets


def differences(board: str, players: int, device: str, precision: str) -> tuple[float, float]:
    """Greatest difference of a logit and of a chance between a device and the CPU in float32."""
    torch.manual_seed(0)
    network = Network(architecture("small", board, players)).eval()
    batch = sample(board, players, POSITIONS)
    logits, values = NetworkEvaluator(network, "cpu", "float32").evaluate(*batch)
    other_logits, other_values = NetworkEvaluator(network, device, precision).evaluate(*batch)
    return float(abs(logits - other_logits).max()), float(abs(values - other_values).max())


def speed(size: str, board: str, device: str, batch: int) -> float:
    """Evaluations a second, encoding and transfers included."""
    torch.manual_seed(0)
    network = Network(architecture(size, board, 2)).eval()
    evaluator = NetworkEvaluator(network, device)
    asked = sample(board, 2, batch)
    evaluator.evaluate(*asked)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < ROUND:
        evaluator.evaluate(*asked)
        done += batch
    return done / (time.perf_counter() - start)


def check(device: str) -> bool:
    """Prints the differences; whether float32 agrees everywhere."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    agrees = True
    half = "bfloat16" if device != "cpu" and torch.cuda.is_bf16_supported() else "float16"
    _say(f"{'board':<10} players   float32: logits   chances   {half}: logits   chances")
    for board in BOARD_NAMES:
        for players in PLAYER_COUNTS:
            exact = differences(board, players, device, "float32")
            rough = differences(board, players, device, half)
            agrees = agrees and max(exact) < MOST_DIFFERENCE
            _say(
                f"{board:<10} {players:>7}   {exact[0]:>15.2e} {exact[1]:>9.2e}"
                f"   {rough[0]:>{len(half) + 8}.2e} {rough[1]:>9.2e}"
            )
    return agrees


def main() -> int:
    """Checks and measures on the first GPU; 1 without one, or if it does not agree."""
    if not torch.cuda.is_available():
        sys.stderr.write("ringrift: torch sees no CUDA GPU on this machine.\n")
        return 1
    try:
        _say(torch.cuda.get_device_name(0))
        agrees = check("cuda")
        _say(f"\n{'size':<8} {'board':<10} " + " ".join(f"{batch:>10}" for batch in BATCHES))
        for size in SIZES:
            for board in ("hex8", "hexagonal"):
                rates = [speed(size, board, "cuda", batch) for batch in BATCHES]
                _say(f"{size:<8} {board:<10} " + " ".join(f"{rate:>10,.0f}" for rate in rates))
    except RingriftError as error:
        sys.stderr.write(f"ringrift: {error.message}\n")
        return 1
    return 0 if agrees else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
