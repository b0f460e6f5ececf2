"""Comparison of GPU and CPU: games, features, evaluations, searches and the heuristic.

Results of the rules must be bit-identical; network outputs must be within a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.batch import PositionBatch
from ringrift_cli.game.cuda import batch as batches
from ringrift_cli.game.cuda.batch import DeviceBatch
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray, board_named, tables
from ringrift_cli.nn.cuda.evaluator import DeviceNetwork, Encoder
from ringrift_cli.nn.export import drawn_rows
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.folded import Folded
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.players.cuda import playout as heuristic
from ringrift_cli.players.cuda.playout import HeuristicBatch, Temper
from ringrift_cli.players.heuristic import effective_weights
from ringrift_cli.players.profiles import profile_named
from ringrift_cli.search.cuda.check import Arithmetic, DeviceArithmetic, trace
from ringrift_cli.search.cuda.forest import DeviceForest
from ringrift_cli.search.forest import Forest

LARGE = 100  # cells
MAX_DIFFERENCE = 1e-3  # of float32; tf32 is off
SHARPER = 30.0
SEED = 2026
Batch = tuple[IntArray, IntArray, LongArray]


@dataclass(frozen=True)
class Extent:
    """Amount of comparison per configuration; pairs are for small and large boards."""

    games: tuple[int, int] = (10_000, 500)
    log: int = 4096  # compared decisions per game; of longer games also the final rows
    positions: int = 512
    heuristic_games: tuple[int, int] = (64, 16)
    heuristic_plies: int = 24
    searches: tuple[int, int] = (128, 24)
    decisions: int = 3
    simulations: int = 24


@dataclass(frozen=True)
class Agreement:
    """Differences of one configuration."""

    board: str
    players: int
    games: int  # compared
    differing: dict[str, int]  # games, masks, features, heuristic games, searches
    exact: tuple[float, float]  # maximum difference of a logit and of a win probability, in float32
    half: tuple[float, float]  # the same in half precision

    @property
    def holds(self) -> bool:
        near = all(difference < MAX_DIFFERENCE for difference in self.exact)  # NaN is not
        return near and not any(self.differing.values())


def agreement(board: str, players: int, device: str, extent: Extent) -> Agreement:
    """Compares one configuration."""
    there, large = Device(device), len(board_named(board).cells) > LARGE
    sampled = rows, _, offsets = sample(board, players, extent.positions)
    choice = rows[np.diff(offsets) > 1]
    searched = choice[:: -(-len(choice) // extent.searches[large])]
    batch = DeviceBatch(board, players, len(rows), there)
    batch.rows.copy_(there.moved(rows))
    games, heuristic_games = extent.games[large], extent.heuristic_games[large]
    return Agreement(
        board,
        players,
        games,
        {
            "games": games_differing(board, players, there, games, extent.log),
            "masks": masks_differing(batch, board, players, rows),
            "features": features_differing(batch, board, players, rows),
            "heuristic": heuristic_differing(
                board, players, there, heuristic_games, extent.heuristic_plies
            ),
            "search": searches_differing(board, players, there, searched, extent),
        },
        evaluation_differences(board, players, batch, sampled, "float32"),
        evaluation_differences(board, players, batch, sampled, half_precision(device)),
    )


def sample(board: str, players: int, count: int) -> Batch:
    """Positions at all depths of random games, with their legal actions."""
    rows = drawn_rows(board, players, count)
    actions, offsets = playout.list_all(tables(board, players), rows)
    return rows, actions, offsets


def games_differing(board: str, players: int, device: Device, games: int, log: int) -> int:
    """Number of random games that differ, in either memory layout."""
    seeds = playout.game_seeds(SEED, 0, games)
    expected = batches.play_on_cpu(board, players, seeds, log)
    differing = np.zeros(games, np.bool_)
    for by_word in (False, True):
        batch = DeviceBatch(board, players, games, device, by_word=by_word)
        found = batches.play_random(batch, seeds, log)
        differing |= _rows_differing(found, expected)
    return int(differing.sum())


def _rows_differing(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mask of the rows that differ in any of the arrays, all [N, ...]."""
    differing = np.zeros(len(expected[0]), np.bool_)
    for a, b in zip(found, expected, strict=True):
        differing |= (a != b).reshape(len(b), -1).any(axis=1)
    return differing


def masks_differing(batch: DeviceBatch, board: str, players: int, rows: IntArray) -> int:
    """Number of positions whose legal actions differ."""
    cpu = PositionBatch(board, players, len(rows))
    cpu.rows[:] = rows
    masks = batch.mask().cpu().numpy()
    return int(_rows_differing((masks,), (cpu.legal_mask().astype(np.uint8),)).sum())


def features_differing(batch: DeviceBatch, board: str, players: int, rows: IntArray) -> int:
    """Number of positions whose features differ."""
    T = tables(board, players)
    encoder = Encoder(T, len(rows), batch.device)
    encoder.encode(batch.rows)
    found = encoder.planes.cpu().numpy(), encoder.scalars.cpu().numpy()
    return int(_rows_differing(found, encode_all(T, rows)).sum())


def heuristic_differing(board: str, players: int, device: Device, games: int, plies: int) -> int:
    """Number of games of the tuned heuristic, half of them with blunders, that differ."""
    weights = effective_weights(profile_named("tuned", board, players))
    differing = 0
    for temper in (Temper(width=4), Temper(noise=0.5, blunder=0.1)):
        seeds = playout.game_seeds(SEED, 0, games // 2)
        batch = HeuristicBatch(board, players, games // 2, device, weights)
        logs, lengths = batch.play(device.moved(seeds), plies, temper)
        found = tuple(t.cpu().numpy() for t in (batch.batch.rows, logs, lengths))
        expected = heuristic.play_on_cpu(board, players, seeds, plies, weights, temper)
        differing += int(_rows_differing(found, expected).sum())
    return differing


def searches_differing(
    board: str, players: int, device: Device, rows: IntArray, extent: Extent
) -> int:
    """Number of games whose search results differ; no search may be cramped."""
    T, seeds = tables(board, players), playout.game_seeds(SEED, 0, len(rows))
    considered = 8
    cpu = Forest(T, len(rows), Arithmetic(players), considered=considered)
    gpu = DeviceForest(
        T, len(rows), DeviceArithmetic(players, device), device, simulations=extent.simulations,
        considered=considered,
    )  # fmt: skip
    expected = trace(cpu, rows, seeds, extent.decisions, extent.simulations, considered)
    found = trace(gpu, rows, seeds, extent.decisions, extent.simulations, considered)
    return found.differing(expected) + gpu.cramped


def half_precision(device: str) -> str:
    """Half precision that self-play uses on the device."""
    if device != "cpu" and not torch.cuda.is_bf16_supported():
        return "float16"
    return "bfloat16"


def evaluation_differences(
    board: str, players: int, batch: DeviceBatch, sampled: Batch, precision: str
) -> tuple[float, float]:
    """Maximum difference of a logit and of a win probability from float32 on the CPU.

    Both for searches on the CPU (nn/folded.py) and on the GPU (nn/cuda/evaluator.py). `sampled` are
    the positions of the batch.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    network = Network(architecture("small", board, players)).eval()
    with torch.no_grad():  # a new network is near uniform: sharpen it
        for last in (network.policy_here, network.policy_there, network.value.weight):
            last.mul_(SHARPER)
    rows, actions, offsets = sampled
    counts, movers = np.diff(offsets), rows[:, L.SEAT]
    with torch.inference_mode():
        planes, scalars = (torch.from_numpy(array) for array in encode_all(batch.T_host, rows))
        position = torch.from_numpy(np.repeat(np.arange(len(rows)), counts))
        heads = network(planes, scalars, position, torch.from_numpy(actions.astype(np.int64)))
    logits, values = heads.logits.numpy(), _by_seat(heads.value.numpy(), movers)
    device = batch.device
    folded = Folded(network, device.torch, getattr(torch, precision))
    from_host, relative = folded.evaluate(rows, actions, offsets)
    evaluator = DeviceNetwork(folded, batch.T_host, len(rows), device)
    table, own = evaluator.evaluate(batch.rows, *batch.legal())
    lists = table.cpu().numpy()
    on_device = np.concatenate([lists[i, :n] for i, n in enumerate(counts.tolist())])
    by_logit = max(abs(logits - from_host).max(), abs(logits - on_device).max())
    by_chance = max(
        abs(values - _by_seat(relative, movers)).max(), abs(values - own.cpu().numpy()).max()
    )
    return float(by_logit), float(by_chance)


def _by_seat(logits: np.ndarray, movers: IntArray) -> np.ndarray:
    """Chances by absolute seat, [N, players], of logits by relative seat."""
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    seats = (np.arange(logits.shape[1]) - movers[:, None]) % logits.shape[1]
    return np.take_along_axis(shares, seats, axis=1)
