"""`ringrift engine`: a player for other programs, over stdin and stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from typing import Annotated

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.options import SeedOption, VerboseOption
from ringrift_cli.cli.output import Output, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run


def engine(
    player: Annotated[
        str,
        typer.Option(
            "--player",
            metavar="SPEC",
            help="Player: random, heuristic[:PROFILE], mcts:sims=N, mcts:seconds=S.",
            autocompletion=completion.players,
            envvar="RINGRIFT_PLAYER",
        ),
    ] = "heuristic",
    seed: SeedOption = Run.seed,
    verbose: VerboseOption = False,
) -> None:
    """Play for another program, which writes to stdin and reads the answers from stdout.

    The protocol is described in docs/protocol.md and modelled on UCI. An unknown line is answered
    with an error line. The end of the input, or quit, ends the engine.

    \b
    Examples:
      ringrift engine --player mcts:sims=400
      ringrift engine --player heuristic:my-weights.yaml --seed 7
    """
    out = Output(verbose=verbose)
    out.compile_players()
    from ringrift_cli.players.engine import MAX_SEED, Engine, lines_of

    if seed > MAX_SEED:
        raise UsageError(f"The seed {seed} is greater than {MAX_SEED}.")
    check_spec(player)
    if sys.stdin is not None and sys.stdin.isatty():
        out.note("Waiting for commands of docs/protocol.md: rri identifies the player, quit ends.")

    def read() -> Iterator[bytes]:
        for line in lines_of(sys.stdin.fileno()) if sys.stdin is not None else ():
            out.detail(f"< {line.decode('utf-8', 'backslashreplace')}")
            yield line

    def write(line: str) -> None:
        out.detail(f"> {line}")
        out.data(line + "\n")

    running = Engine(read(), write, player, seed=seed)
    # An exception of a signal could be lost: Numba calls Python from C as it loads compiled code.
    with stop_requested(running.interrupt) as signalled:
        running.run()
    if signalled():
        raise stopped(signalled())


def check_spec(spec: str) -> None:
    """`UsageError` for an invalid player; programs are not started."""
    from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS
    from ringrift_cli.players.spec import make_player

    reason: UsageError | None = None
    for board, players in product(() if spec.startswith("exec:") else BOARD_NAMES, PLAYER_COUNTS):
        try:
            make_player(spec, board, players).close()
            return
        except UsageError as error:
            reason = reason or error
    if reason is not None:
        raise reason
