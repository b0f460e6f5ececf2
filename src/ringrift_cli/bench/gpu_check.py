"""GPU acceptance test: agreement with the CPU, and speed; prints one table.

python -m ringrift_cli.bench.gpu_check

Uses the first GPU. Exit code 1 if GPU and CPU differ; a speed below its goal is marked but is not a
failure. Progress is on stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ringrift_cli.bench import gpu
from ringrift_cli.bench.gpu_agreement import Agreement, Extent, agreement
from ringrift_cli.bench.measure import BenchSubject
from ringrift_cli.errors import RingriftError
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS

BOARD, PLAYERS = "hex8", 2  # configuration of the goals
PLAYOUT_GOAL = 200_000  # complete games per second
ENCODING_GOAL = 1.0  # milliseconds
SHARE_GOAL = 0.6  # of the network's own evaluations per second
MEMORY_GOAL = 16e9  # bytes
LARGE_ROWS = 8  # divides the concurrent games on the large boards, whose action lists are long


@dataclass(frozen=True)
class GpuMeasurements:
    """Extent of the measurements."""

    boards: tuple[str, ...] = BOARD_NAMES  # of random games
    rows: int = 65_536  # of them at once
    games_a_row: int = 4
    positions: int = 8192
    repeats: int = 50
    size: str = "large"  # network of 10 blocks and 128 channels
    batches: tuple[int, ...] = (1024, 2048, 4096)
    sims: tuple[int, ...] = (32, 64)
    games: int = 2048  # of self-play at once
    seconds: float = 8.0  # of self-play, and of the network alone at each batch size
    memory_board: str = "hexagonal"
    memory_games: int = 1024
    memory_walks: int = 64
    memory_steps: int = 80


@dataclass(frozen=True)
class Figure:
    """A line of the table: a measurement, and its goal if there is one."""

    what: str
    value: str
    goal: str = ""
    met: bool = True


def measured(device: str, extent: GpuMeasurements) -> list[Figure]:
    """All measurements."""
    figures = playouts(device, extent)
    _progress("features and masks")
    subject = BenchSubject("selfplay", BOARD, PLAYERS, device, extent.size)
    spent = 1000 * gpu.encoding_seconds(subject, extent.positions, extent.repeats)
    what = f"features and masks, {extent.positions:,} positions"
    goal = f"< {ENCODING_GOAL:g} ms"
    figures.append(Figure(what, f"{spent:.3f} ms", goal, spent < ENCODING_GOAL))
    return [*figures, *selfplay(subject, extent), memory(device, extent)]


def playouts(device: str, extent: GpuMeasurements) -> list[Figure]:
    """Random games on every board, in both memory layouts."""
    figures = []
    for board in sorted(extent.boards, key=lambda name: name != BOARD):
        rows = extent.rows if board.endswith("8") else max(1, extent.rows // LARGE_ROWS)
        games = extent.games_a_row * rows
        for by_word in (False, True):
            _progress(f"random games on {board}")
            _, spent = gpu.DevicePlayouts(board, PLAYERS, device, rows, by_word=by_word).play(games)
            what = f"{board}, random games, memory by {'word' if by_word else 'game'}"
            goal = f">= {PLAYOUT_GOAL:,}" if board == BOARD else ""
            met = not goal or games / spent >= PLAYOUT_GOAL
            figures.append(Figure(what, f"{games / spent:,.0f} games/s", goal, met))
    return figures


def selfplay(subject: BenchSubject, extent: GpuMeasurements) -> list[Figure]:
    """Network alone, trees alone, and self-play relative to the network."""
    _progress("the network alone")
    network = gpu.new_network(subject)
    rates = {
        batch: gpu.NetworkAlone(subject, network, batch).rate(extent.seconds)
        for batch in extent.batches
    }
    batch, best = max(rates.items(), key=lambda item: item[1])
    figures = [Figure(f"{extent.size} network alone, batch {batch:,}", f"{best:,.0f} evals/s")]
    _progress("trees alone")
    sims = max(extent.sims)
    leaves = gpu.trees_alone(subject, extent.games, sims, extent.seconds / 2)
    figures.append(Figure(f"trees alone, {sims} simulations", f"{leaves:,.0f} leaves/s"))
    for sims in extent.sims:
        what = f"self-play, {sims} simulations"
        _progress(what)
        played, cramped = gpu.selfplay(subject, network, sims, extent.games, extent.seconds)
        decisions, evaluations = played["decisions"], played["evaluations"]
        speed = f"{decisions:,.1f} decisions/s, {evaluations:,.0f} evals/s, {cramped} cramped"
        share = evaluations / best
        goal, met = f">= {SHARE_GOAL:.0%}", share >= SHARE_GOAL
        figures.append(Figure(f"{what}: share of that", f"{share:.1%}", goal, met))
        figures.append(Figure(what, speed))
    return figures


def memory(device: str, extent: GpuMeasurements) -> Figure:
    """Memory of the largest supported search."""
    _progress("memory of searches")
    games, sims = extent.memory_games, extent.memory_walks
    subject = BenchSubject("selfplay", extent.memory_board, PLAYERS, device, extent.size)
    network = gpu.new_network(subject)
    used, cramped = gpu.search_memory(subject, network, games, sims, extent.memory_steps)
    what = f"{subject.board}, {games:,} games x {sims} simulations"
    goal, met = f"< {MEMORY_GOAL / 1e9:g} GB", used < MEMORY_GOAL
    return Figure(what, f"{used / 1e9:.1f} GB, {cramped} cramped", goal, met)


def table(
    name: str, agreements: Sequence[Agreement], figures: Sequence[Figure], seconds: float
) -> list[str]:
    """Lines of the result table."""
    lines = [
        f"{name}, {seconds:.0f} s",
        "",
        f"{'':24}differ: games, masks, features, heuristic, search   float32  half: logits",
    ]
    lines += [
        f"{a.board:<10}{a.players:>2}p {a.games:>7,} games"
        f"{', '.join(map(str, a.differing.values())):>26}"
        f"{max(a.exact):>23.1e}{a.half[0]:>14.1e}"
        f"   {'equal' if a.holds else 'DIFFERENT'}"
        for a in agreements
    ]
    lines.append("")
    for figure in figures:
        goal = "" if not figure.goal else ("met" if figure.met else "MISSED")
        lines.append(f"{figure.what:<48}{figure.value:>40}  {figure.goal:<12}{goal}".rstrip())
    broken = sum(not a.holds for a in agreements)
    lines += ["", f"{broken} configurations DIFFER" if broken else "CPU and GPU agree everywhere"]
    return lines


def check(
    device: str,
    name: str,
    extent: Extent,
    measurements: GpuMeasurements,
    boards: tuple[str, ...] = BOARD_NAMES,
) -> int:
    """Compares, measures and prints the table; 1 if anything differs."""
    start, agreements = time.monotonic(), []
    for board in boards:
        for players in PLAYER_COUNTS:
            _progress(f"{board} {players}p: CPU and GPU")
            agreements.append(agreement(board, players, device, extent))
            if not agreements[-1].holds:
                _progress(f"they differ: {agreements[-1]}")
    figures = measured(device, measurements)
    for line in table(name, agreements, figures, time.monotonic() - start):
        sys.stdout.write(line + "\n")
    return 0 if all(a.holds for a in agreements) else 1


def main() -> int:
    """Runs the check on the first GPU; 1 without a GPU, or if anything differs."""
    if not torch.cuda.is_available():
        sys.stderr.write("ringrift: torch sees no CUDA GPU on this machine.\n")
        return 1
    try:
        return check("cuda:0", torch.cuda.get_device_name(0), Extent(), GpuMeasurements())
    except RingriftError as error:
        sys.stderr.write(f"ringrift: {error.message}\n")
    except torch.OutOfMemoryError as error:
        sys.stderr.write(f"ringrift: this check needs a GPU with more free memory: {error}\n")
    return 1


def _progress(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
