"""Proves on a machine with a GPU that it plays, sees, evaluates and searches as the CPU does, and
measures how fast; one table at the end.

python -m ringrift_cli.bench.gpu_check

Takes the first GPU and no arguments. Exit code 1 if anything differs that must not; a speed below
its goal is marked, and is no failure. What is under way is told on stderr.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from ringrift_cli.bench import gpu as bench
from ringrift_cli.bench.gpu_agreement import Agreement, Extent, agreement
from ringrift_cli.errors import RingriftError
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS

BOARD, PLAYERS = "hex8", 2  # of the goals
PLAYOUT_GOAL = 200_000  # complete games a second
SEEING_GOAL = 1.0  # milliseconds
SHARE_GOAL = 0.6  # of the network's own evaluations a second
MEMORY_GOAL = 16e9  # bytes
LARGE_ROWS = 8  # so many times fewer games at once on the large boards, whose lists are long


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

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
    """A line of the table: what was measured, and its goal if there is one."""

    what: str
    value: str
    goal: str = ""
    met: bool = True


def measured(device: str, effort: Effort) -> list[Figure]:
    """All measurements."""
    figures = [*playouts(device, effort)]
    _tell("features and masks")
    spent = 1000 * bench.seeing_seconds(BOARD, PLAYERS, device, effort.positions, effort.repeats)
    figures.append(
        Figure(
            f"features and masks, {effort.positions:,} positions",
            f"{spent:.3f} ms",
            f"< {SEEING_GOAL:g} ms",
            spent < SEEING_GOAL,
        )
    )
    return [*figures, *selfplay(device, effort), memory(device, effort)]


def playouts(device: str, effort: Effort) -> list[Figure]:
    """Random games on every board, in both orders of memory."""
    figures = []
    for board in sorted(effort.boards, key=lambda name: name != BOARD):
        rows = effort.rows if board.endswith("8") else max(1, effort.rows // LARGE_ROWS)
        for by_word in (False, True):
            _tell(f"random games on {board}")
            speed = bench.random_playouts(
                board, PLAYERS, device, rows=rows, games=effort.games_a_row * rows, by_word=by_word
            )
            goal = board == BOARD
            figures.append(
                Figure(
                    f"{board}, random games, memory by {'word' if by_word else 'game'}",
                    f"{speed.games:,.0f} games/s",
                    f">= {PLAYOUT_GOAL:,}" if goal else "",
                    not goal or speed.games >= PLAYOUT_GOAL,
                )
            )
    return figures


def selfplay(device: str, effort: Effort) -> list[Figure]:
    """The network alone, trees alone, and the network's share in self-play."""
    _tell("the network alone")
    network = bench.new_network(effort.size, BOARD, PLAYERS, device, "auto")
    rates = bench.network_rate(network, BOARD, PLAYERS, device, effort.batches, effort.seconds)
    batch, best = max(rates.items(), key=lambda item: item[1])
    figures = [Figure(f"{effort.size} network alone, batch {batch:,}", f"{best:,.0f} evals/s")]
    _tell("trees alone")
    sims = max(effort.sims)
    leaves = bench.trees_alone(
        BOARD, PLAYERS, device, games=effort.games, simulations=sims, seconds=effort.seconds / 2
    )
    figures.append(Figure(f"trees alone, {sims} simulations", f"{leaves:,.0f} leaves/s"))
    for sims in effort.sims:
        _tell(f"self-play with {sims} simulations")
        played = bench.selfplay(
            BOARD, PLAYERS, network, device, bench.all_in_full(sims), games=effort.games,
            seconds=effort.seconds,
        )  # fmt: skip
        share = played.evaluations / best
        figures += [
            Figure(
                f"self-play, {sims} simulations: share of that",
                f"{share:.1%}",
                f">= {SHARE_GOAL:.0%}",
                share >= SHARE_GOAL,
            ),
            Figure(
                f"self-play, {sims} simulations",
                f"{played.games:,.1f} games/s, {played.evaluations:,.0f} evals/s,"
                f" {played.cramped} cramped",
            ),
        ]
    return figures


def memory(device: str, effort: Effort) -> Figure:
    """Memory of the largest search that must fit."""
    _tell("memory of searches")
    board, games, simulations = effort.memory_board, effort.memory_games, effort.memory_walks
    network = bench.new_network(effort.size, board, PLAYERS, device, "auto")
    used, cramped = bench.search_memory(
        board, PLAYERS, network, device, games, simulations, effort.memory_steps
    )
    return Figure(
        f"{board}, {games:,} games x {simulations} simulations",
        f"{used / 1e9:.1f} GB, {cramped} cramped",
        f"< {MEMORY_GOAL / 1e9:g} GB",
        used < MEMORY_GOAL,
    )


def table(
    name: str, agreements: list[Agreement], figures: list[Figure], seconds: float
) -> list[str]:
    """What is printed at the end."""
    lines = [
        f"{name}, {seconds:.0f} s",
        "",
        f"{'':24}differ: games, masks, features, heuristic, search   float32  half: logits",
    ]
    for a in agreements:
        counts = (
            a.games_differing, a.masks_differing, a.features_differing, a.heuristic_differing,
            a.searches_differing,
        )  # fmt: skip
        lines.append(
            f"{a.board:<10}{a.players:>2}p {a.games:>7,} games"
            f"{', '.join(map(str, counts)):>26}"
            f"{max(a.logits, a.chances):>23.1e}{a.half_logits:>14.1e}"
            f"   {'equal' if a.holds else 'DIFFERENT'}"
        )
    lines.append("")
    for figure in figures:
        verdict = "" if not figure.goal else ("met" if figure.met else "MISSED")
        lines.append(f"{figure.what:<48}{figure.value:>40}  {figure.goal:<12}{verdict}".rstrip())
    broken = sum(not a.holds for a in agreements)
    lines += ["", f"{broken} configurations DIFFER" if broken else "CPU and GPU agree everywhere"]
    return lines


def check(
    device: str, name: str, extent: Extent, effort: Effort, boards: tuple[str, ...] = BOARD_NAMES
) -> int:
    """Compares, measures, and prints the table; 1 if something differs."""
    start, agreements = time.monotonic(), []
    for board in boards:
        for players in PLAYER_COUNTS:
            _tell(f"{board} {players}p: CPU and GPU")
            agreements.append(agreement(board, players, device, extent))
            if not agreements[-1].holds:
                _tell(f"they differ: {agreements[-1]}")
    figures = measured(device, effort)
    for line in table(name, agreements, figures, time.monotonic() - start):
        sys.stdout.write(line + "\n")
    return 0 if all(a.holds for a in agreements) else 1


def main() -> int:
    """Checks and measures on the first GPU; 1 without one, or if anything differs."""
    if not torch.cuda.is_available():
        sys.stderr.write("ringrift: torch sees no CUDA GPU on this machine.\n")
        return 1
    try:
        return check("cuda:0", torch.cuda.get_device_name(0), Extent(), Effort())
    except RingriftError as error:
        sys.stderr.write(f"ringrift: {error.message}\n")
        return 1
    except torch.OutOfMemoryError as error:
        sys.stderr.write(f"ringrift: this check needs a GPU with more free memory: {error}\n")
        return 1


def _tell(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
