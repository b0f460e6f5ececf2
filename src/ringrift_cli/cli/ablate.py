"""`ringrift ablate`: the effect of settings on what a cycle learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SetOption,
    VerboseOption,
    above_zero,
    configuration,
    number_option,
    path_option,
    setting,
)
from ringrift_cli.cli.output import Output, stop_requested, stopped
from ringrift_cli.settings import Gate, Run, SelfPlay
from ringrift_cli.text import elo_interval

if TYPE_CHECKING:
    from ringrift_cli.loop.ablate import ArmResult

VaryOption = Annotated[
    list[str],
    typer.Option(
        "--vary",
        metavar="SECTION.KEY=V,V…",
        help="Setting and values to compare with the configuration; repeatable.",
    ),
]
GamesOption = Annotated[int, setting("selfplay.games_per_cycle", "--games")]
SeedsOption = Annotated[int, number_option("--seeds", "Repetitions with other random numbers.")]
EloOption = Annotated[
    float,
    typer.Option(
        "--elo",
        parser=above_zero,
        metavar="ELO",
        help="Bounds of the sequential test: weaker or stronger by this much.",
    ),
]
MatchOption = Annotated[int, setting("gate.max_games", "--match-games")]
InitOption = Annotated[
    Path | None,
    path_option(
        "--init",
        "Model that plays and that training starts from.",
        metavar="MODEL.json",
        show_default="the champion, else the teacher and a new network",
    ),
]
OutOption = Annotated[
    Path | None,
    path_option(
        "--out", "Folder of the ablation.", metavar="FOLDER", show_default="runs/ablate/BOARD-Np"
    ),
]


def ablate(
    context: typer.Context,
    vary: VaryOption,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = SelfPlay.games_per_cycle,
    seeds: SeedsOption = 1,
    match_games: MatchOption = Gate.max_games,
    elo: EloOption = 20.0,
    init: InitOption = None,
    out_folder: OutOption = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure what settings of self-play and training do to the model of one cycle.

    Each value is compared, one at a time, with the configuration as it is. Values of training learn
    from the same games; values of self-play from games of their own, as many as the same number of
    evaluations allows, in as many training steps. Each model then plays that of the configuration
    in a sequential test. The same command resumes, also with more values or seeds.

    \b
    Examples:
      ringrift ablate --vary train.owner_weight=0.5,1.0 --games 1000 --seeds 2
      ringrift ablate --vary selfplay.value_scale=0.5,1.0 --vary train.batch=128 --set gate.sims=32
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = configuration(context)
    folder = out_folder or Path(config.run.folder) / "ablate" / config.pool
    out.compile_network()
    out.compile_players()
    from ringrift_cli.loop.ablate import Ablation
    from ringrift_cli.loop.protocol import Stopped

    ablation = Ablation(config, vary, folder, seeds=seeds, elo=elo, init=init)
    with stop_requested() as signalled:
        try:
            rows = ablation.run(out, lambda: bool(signalled()))
        except Stopped:
            out.note("Stopped: the same command resumes.")
            raise stopped(signalled()) from None
    _print(out, rows)
    out.result({"folder": str(folder), "arms": rows})


def _print(out: Output, rows: list[ArmResult]) -> None:
    others = rows[1:]
    columns = ("setting", "games", "positions", "steps", "train s", "match", "Elo against base")
    learned = [
        (row.setting, row.selfplay_games, row.positions, row.steps, round(row.train_seconds))
        for row in rows
    ]
    found: list[tuple[str | int | None, ...]] = [(None,) * (2 + len(others[0].seeds))]
    for row in others:
        seeds = (
            f"{seed.verdict} {elo_interval(seed.elo, *seed.elo_95, seed.score)}"
            for seed in row.seeds
        )
        found.append((row.games, elo_interval(row.elo, *row.elo_95, row.score), *seeds))
    out.table(
        [(*one, *other) for one, other in zip(learned, found, strict=True)],
        (*columns, *(f"seed {seed.seed}" for seed in others[0].seeds)),
        drop=("positions", "steps"),
    )
