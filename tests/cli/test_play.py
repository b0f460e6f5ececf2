"""`ringrift play`: games by script and in a terminal, everything that can be typed, and leaving."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import OutputError, PlayerError
from ringrift_cli.game import playout
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import read_records
from ringrift_cli.play import help as play_help
from ringrift_cli.play import view as play_view
from ringrift_cli.play.choices import choices, consequence, effects, narration, question
from ringrift_cli.play.session import Players, Seat, read_game
from ringrift_cli.players.player import Choices, Decisions
from tests.children import RINGRIFT, child
from tests.conftest import Ringrift, Run
from tests.terminal import Terminal
from tests.walks import SMALL, Walk

pytestmark = pytest.mark.usefixtures("compiled_rules")

Play = Callable[..., Run]
OPENING = ["0,0 3", "3,0"]  # two decisions of the first player on hex8
AGAINST = ("--opponent", "random", "--hint", "heuristic:default", "--seed", 7)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Games are kept below the current folder unless they are told where."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def play(ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs `ringrift play` with lines typed into it that is no terminal."""

    def run(*options: object, typed: list[str]) -> Run:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in typed)))
        return ringrift("play", *options)

    return run


def outcome(run: Run) -> dict[str, Any]:
    """The document of a run with --json."""
    assert run.code == 0, run.err
    document: dict[str, Any] = json.loads(run.out)
    return document


def kept() -> Path:
    """The one game that is kept where nobody named a file."""
    (path,) = Path("runs/play").iterdir()
    return path


# ---- whole games --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "players", "seat"), [("hex8", 2, 1), ("hex8", 3, 2), ("square8", 4, 4)]
)
@pytest.mark.parametrize("typed", [["go"], ["1", ""]], ids=["hints", "number 1"])
def test_whole_games_to_the_end(
    play: Play, ringrift: Ringrift, board: str, players: int, seat: int, typed: list[str]
) -> None:
    where = ("--board", board, "--players", players, "--seat", seat)
    run = play(*where, *AGAINST, "--record", "game.jsonl", "--json", typed=typed * 400)
    document = outcome(run)
    (record,) = read_records(Path("game.jsonl"))
    assert document["over"]
    assert document["moves"] == record.moves()
    assert (document["winner"], document["ranks"]) == (
        record.result.winner,
        [*record.result.ranks],
    )
    assert document["seats"] == [None if s == seat else "random" for s in range(1, players + 1)]
    assert document["record"] == "game.jsonl"
    assert "Game over." in run.err
    letter = "ABCD"[record.result.winner - 1]
    who = f"You ({letter})" if record.result.winner == seat else f"{letter} (random)"
    assert f"\n{who} won " in run.err
    shown = ringrift("show", "game.jsonl")
    assert f"Player {record.result.winner} won" in shown.out
    assert ringrift("verify", "game.jsonl").code == 0
    again = play("--resume", document["kept"], typed=[])
    assert "Game over." in again.out


def test_levels_play(play: Play) -> None:
    for level in (1, 7):
        run = play("--level", level, "--seed", 1, typed=OPENING)
        assert run.code == 0
        assert f"B (level {level}) put" in run.out
    document = outcome(play("--level", 1, "--seed", 1, "--json", typed=OPENING))
    assert document["seats"] == [None, "random"]


def test_a_seed_and_the_same_moves_give_the_same_game(play: Play) -> None:
    games = [
        outcome(play("--opponent", "random", "--seed", seed, "--json", typed=OPENING))["moves"]
        for seed in (1, 1, 2)
    ]
    assert games[0] == games[1] != games[2]


def test_several_people_at_one_keyboard(play: Play) -> None:
    run = play("--seat", "1,2", typed=["0,0 1", "1", "place 2,2 1", "back", "quit"])
    assert run.code == 0
    assert "A, your turn: place rings." in run.out
    assert "B, your turn: move the stack you placed on." in run.out
    assert "A (person) put 1 ring on 0,0." in run.out


def test_the_pie_rule_is_explained_and_exchanges_the_people(play: Play) -> None:
    run = play("--seat", "1,2", "--pie", "--json", typed=["0,0 1", "1", "swap", "undo", "swap"])
    assert "Or swap (pie rule, only now)" in run.err
    assert outcome(run)["moves"][-1] == "swap"
    run = play("--opponent", "random", "--seat", 2, "--pie", "--seed", 1, typed=["swap"])
    assert "You (B) swapped seats.  [swap]\nNow play A (you) and B (random), who" in run.out
    assert "B (random) put" in run.out  # the other now goes on at seat 2


# ---- what is asked and told ---------------------------------------------------------------------


def test_the_first_question_tells_everything_a_newcomer_needs(play: Play) -> None:
    shown = play("--level", 1, typed=[]).out
    for words in (
        "A (you) and B (level 1) play.",
        "18 eliminated rings",
        "31 cells of territory",
        "Your turn (A): place rings.",
        "You have 18 rings in hand. Put 1, 2 or 3 on an empty cell",
        "You cannot skip this",
        "Type the cell to place on, as 0,0",
        "`moves` lists all 183 choices",
        "`help`",
    ):
        assert words in re.sub(r"\s+", " ", shown), words


def test_quiet_leaves_the_explanations_out_and_brief_changes_that(play: Play) -> None:
    run = play("-q", "--level", 1, typed=[])
    assert "in hand" not in run.out
    assert "Your turn (A): place rings." in run.out
    run = play("-q", "--level", 1, typed=["brief", "board"])
    assert "You have 18 rings in hand" in run.out


def test_cells_are_pointed_at_step_by_step(play: Play) -> None:
    run = play(*AGAINST, "--json", typed=["0,0", "2", "2,0"])
    assert "At 0,0 (`back` to choose another cell):" in run.err
    assert "   2  place 0,0 2               a stack A22, to go 2 cells or more" in run.err
    assert outcome(run)["moves"][:2] == ["place 0,0 2", "move 0,0 2,0"]


@pytest.mark.parametrize(
    "typed",
    [
        ["place 0,0 2", "move 0,0 2,0"],
        ["  PLACE   0,0  2", "Move 0,0 2,0"],
        ["0,0 2", "0,0 2,0"],
        ["(0, 0) 2", "0,0 -> 2,0"],
        ["0 0", "2", "2 0"],
        ["moves 0,0", "2", "0,0 to 2,0"],
        ["0,0", "back", "1,0", "0,0", "2", "1"],
        ["1", "0,0 2", "moves", "1"],
        ["92", "", "2,0"],
    ],
)
def test_many_ways_to_say_the_same(play: Play, typed: list[str]) -> None:
    run = play(*AGAINST, "--json", typed=typed)
    assert outcome(run)["moves"][:2] == ["place 0,0 2", "move 0,0 2,0"]


def test_a_sign_on_the_board_names_its_choice(play: Play) -> None:
    shown = play(*AGAINST, typed=["0,0 1"]).out
    assert "1 2 …  the choice of that sign" in shown
    run = play(*AGAINST, "--json", typed=["0,0 1", "e"])
    last = question(Position.initial("hex8").play("place 0,0 1")).choices[9]
    assert outcome(run)["moves"][1] == last.text


def test_a_number_that_is_not_on_the_screen_is_offered_and_not_taken(play: Play) -> None:
    run = play(*AGAINST, "--json", typed=["5"])
    assert "Choice 5 is place 1,-4 2 (a stack A22, to go 2 cells or more): Enter takes" in run.err
    assert outcome(run)["moves"] == []
    assert outcome(play(*AGAINST, "--json", typed=["5", "help", ""]))["moves"] == []
    assert outcome(play(*AGAINST, "--json", typed=["5", ""]))["moves"][0] == "place 1,-4 2"
    assert outcome(play(*AGAINST, "--json", typed=["moves", "5"]))["moves"][0] == "place 1,-4 2"


def test_a_long_list_comes_in_pages(play: Play) -> None:
    out = play(*AGAINST, typed=["moves", "", "more"] + [""] * 20).out
    numbers = [int(n) for n in re.findall(r"^ *(\d+)  place ", out, re.MULTILINE)]
    assert numbers == [*range(1, 184)]
    assert "163 more: Enter shows them" in out
    assert "That was all" not in out
    assert "That was all" in play(*AGAINST, typed=["moves"] + ["more"] * 10).out


def test_moves_of_others_are_told_in_words_and_marked(play: Play) -> None:
    run = play(*AGAINST, typed=OPENING)
    moves = read_game(kept()).actions
    assert len(moves) > 3
    assert "You (A) put 3 rings on 0,0.  [place 0,0 3]" in run.out
    assert "You (A) moved A33 from 0,0 to 3,0.  [move 0,0 3,0]" in run.out
    assert re.search(r"B \(random\) put \d rings? on .*  \[place \S+ \d\]", run.out)
    assert ">  where the last move ended" in run.out


def test_hint_go_and_eval(play: Play) -> None:
    run = play(*AGAINST, "--json", typed=["hint", "eval", "go"])
    (hinted,) = set(re.findall(r"Hint of heuristic:default: (place \S+ \d) \(", run.err))
    assert outcome(run)["moves"][0] == hinted
    assert len(re.findall(r"sees them: A \(you\) \d+ %, B \(random\) \d+ %", run.err)) == 2
    run = play("--opponent", "random", "--hint", "random", typed=["hint", "eval"])
    assert "random has no opinion on the chances." in run.out
    assert "Hint of level 10" in play("--opponent", "random", typed=["go"]).out


def test_log_rules_help_and_replay(play: Play) -> None:
    run = play(*AGAINST, typed=[*OPENING, "log", "rules", "help", "replay", "", "n", "p", "2", "q"])
    assert "   1. A: place 0,0 3, move 0,0 3,0\n   2. B: place " in run.out
    assert "Recovery" in run.out
    for command in play_help.COMMANDS:
        assert f"\n  {command} " in run.out
    told = re.findall(r"Replay: decision (\d+) of", run.out)
    assert told == ["0", "1", "2", "1", "2"]


def test_undo_takes_back_to_the_last_decision(play: Play) -> None:
    without = outcome(play(*AGAINST, "--json", typed=OPENING))
    run = play(*AGAINST, "--json", typed=[*OPENING, "undo", "undo", *OPENING])
    assert outcome(run)["moves"] == without["moves"]
    assert "Taken back: 1 decision." in run.err
    assert "no decision of yours" in play(*AGAINST, typed=["undo"]).out


def test_redo_takes_the_undo_back(play: Play) -> None:
    without = outcome(play(*AGAINST, "--json", typed=OPENING))
    run = play(*AGAINST, "--json", typed=[*OPENING, "undo", "undo", "redo", "redo", "redo"])
    assert outcome(run)["moves"] == without["moves"]
    assert "nothing that `undo` took back" in run.err


def test_another_game_leaves_this_one_in_its_file(play: Play) -> None:
    run = play(*AGAINST, "--save", "first.json", "--json", typed=[*OPENING, "new", "1,1 2", "quit"])
    document = outcome(run)
    assert "This game is kept in first.json. A new game begins." in run.err
    assert document["moves"] == ["place 1,1 2"]
    assert Path(document["kept"]) == kept()
    assert read_game(kept()).seats == read_game(Path("first.json")).seats
    assert len(read_game(Path("first.json")).actions) > 2
    assert document["seed"] != 7


def test_resigning_ends_and_undo_takes_it_back(play: Play) -> None:
    run = play(*AGAINST, "--json", typed=[*OPENING, "resign"])
    document = outcome(run)
    assert (document["over"], document["resigned"], document["winner"]) == (True, 1, 2)
    assert "Game over. You (A) resigned: B (random) won." in run.err
    shown = play("--resume", document["kept"], typed=["save x.jsonl", "undo", "resign", "hint"])
    assert "this one was given up" in shown.out
    assert "Your turn (A)" in shown.out
    assert "The game is over: `hint` needs a decision." in shown.out
    run = play("--players", 3, *AGAINST, typed=["resign"])
    assert "the game stops here, without a winner" in run.out


def test_every_question_explains_itself() -> None:
    everybody = Players([Seat(), *[Seat("random")] * 3])
    kinds = set()
    for board, players in SMALL:
        for seed in range(12):
            for before, action, after in Walk(board, players, seed).steps():
                asked = question(before)
                kinds.add(asked.kind)
                assert play_help.heading(asked, everybody).endswith(".")
                assert len(play_help.explanation(asked)) > 60
                choice = next(each for each in asked.choices if each.action == action)
                done = effects(before, choice, after)
                assert narration(choice, done)
                if choice.kind != "move":
                    assert consequence(choice, done)
                cell = before.text.cells[0]
                assert play_help.refusal(asked, "0,0", cell).endswith(".")
                if after.is_over:
                    result = after.result()
                    assert result is not None
                    words = play_view.result_sentence(after, result, everybody, asked)
                    assert " won " in words
                    assert len(play_view.standings(after, result, everybody)) == players
    assert kinds >= {*play_help.HEADINGS} - {"recovery_line", "region_extraction"}


# ---- what cannot be done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hello", "'hello' is not a cell (as 0,0), a number, a move or a command"),
        ("mvoe 0,0 1,1", "did you mean move?"),
        ("undoo", "did you mean undo?"),
        ("9,9", "There is no cell 9,9 on hex8: x, y and x + y go from -4 to 4."),
        ("0,0 9", "There is no choice 9 at 0,0"),
        ("0,0 4", "There is no choice 4 at 0,0: choose 1, 2 or 3."),
        ("999", "There is no choice 999: choose 1 to 183."),
        ("0", "There is no choice 0: choose 1 to 183."),
        ("9" * 5000, "There is no choice 999999999"),
        ("x" * 5000, "xxx…'"),
        ("skip", "'skip': this cannot be skipped"),
        ("swap", "Illegal move 'swap'"),
        ("skip_placement", "Illegal move 'skip_placement'"),
        ("place 0,0", "is not complete: expected place CELL n"),
        ("place 0,0 4", "1, 2 or 3 rings are placed, not '4'"),
        ("move 0,0 1,0", "Illegal move 'move 0,0 1,0': the choice now is between place"),
        ("", "Type a cell, as 0,0, the number of a choice, or a command"),
        ("more", "1  place 0,-4 1"),
        ("back", "No cell is chosen."),
        ("moves here", "'here' is not a cell: `moves 0,0` lists those at 0,0."),
        ("moves 9,9", "There is no cell 9,9"),
        ("hint please", "`hint` takes no argument"),
        ("save", "The game is not kept yet."),
        ("save game.jsonl", "holds a game played to its end, and this one is not over."),
        ("save .", ". already exists"),
        ("save x/\0y", "'x/\\x00y' cannot be the name of a file."),
        ("\udcff\x00\x1b[2J", "is not a cell"),
        ("²", "is not a cell"),
        ("٣", "is not a cell"),
        ("0,٣", "is not a cell"),
    ],
)
def test_bad_input_is_told_in_a_sentence_and_changes_nothing(
    play: Play, typed: str, said: str
) -> None:
    run = play(*AGAINST, typed=[typed])
    assert run.code == 0
    assert said in run.out
    assert not list(Path().iterdir())  # nothing was decided, so nothing is kept


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("0,0", "0,0 holds a marker of A: rings go on empty cells and on stacks."),
        ("0,0 1", "0,0 holds a marker of A"),
        ("moves 0,0", "0,0 holds a marker of A"),
    ],
)
def test_a_cell_where_nothing_can_be_placed(play: Play, cell: str, said: str) -> None:
    assert said in play("--seat", "1,2", typed=["0,0 3", "3,0", cell]).out


def test_cells_where_a_stack_cannot_go(play: Play) -> None:
    run = play("--seat", "1,2", typed=["0,0 3", "2,0", "1,1", "0,0 1,0", "3,0", "2,2 1"])
    assert "a stack of height 3 travels at least 3 cells, not 2" in run.out
    assert "0,0 and 1,1 are not on one line" in run.out
    two = ["0,0 1", "1,0", "-4,4 1", "-4,3", "4,-4 1", "4,-3", "4,0", "skip", "0,4 1", "0,3"]
    run = play("--seat", "1,2", typed=[*two, "skip", "-4,4", "-4,3", "1,0", "4,-3"])
    assert "4,0 is empty: the stack on 4,-3 cannot land there" in run.out
    assert "-4,4 holds a marker of B: choose a stack of yours that can move" in run.out
    assert "-4,3 holds a stack of B: B from bottom to top" in run.out
    assert run.out.index("A 1,0 > ") < run.out.index("A 4,-3 > ")


def test_three_rings_on_a_stack(play: Play) -> None:
    run = play("--seat", "1,2", typed=["0,0 3", "3,0", "3,0 3"])
    assert "on the stack on 3,0 exactly 1 ring is placed" in run.out


def test_refusals_name_what_stands_there() -> None:
    """Of every kind of question, where nothing can be chosen."""
    seen = set()
    for board, players in SMALL:
        for seed in range(6):
            walk = Walk(board, players, seed)
            for before, _, _ in walk.steps():
                asked = question(before)
                named = {cell for choice in choices(before) for cell in choice.cells}
                for number, content in enumerate(before.text.cells):
                    cell = f"{number},0"
                    if cell in named or (asked.kind, content[:1]) in seen:
                        continue
                    seen.add((asked.kind, content[:1]))
                    said = play_help.refusal(asked, cell, content)
                    what = {"": "empty", "m": "marker", "c": "territory", "s": "stack"}
                    assert what[content[:1]] in said
                    assert said.count(".") == 1 or "marked" in said
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--seat", "3"], "there are only 2 players", 2),
        (["--seat", "0"], "expected a seat from 1 to 4", 2),
        (["--seat", "1,1"], "expected a seat from 1 to 4", 2),
        (["--seat", "1,2", "--level", "3"], "none for --level or --opponent", 2),
        (["--seat", "1,2", "--opponent", "random"], "none for --level or --opponent", 2),
        (["--level", "3", "--opponent", "random"], "Expected --level or --opponent, not both", 2),
        (["--level", "11"], "is not a whole number from 1 to 10", 2),
        (["--opponent", "a", "--opponent", "b"], "given 2 times, but 1 seat is left", 2),
        (["--players", "4", "--opponent", "a", "--opponent", "b"], "but 3 seats are left", 2),
        (["--opponent", "stockfish"], "Unknown player 'stockfish'", 2),
        (["--hint", "stockfish"], "Unknown player 'stockfish'", 2),
        (["--players", "3", "--pie"], "The pie rule is for 2 players", 2),
        (["--board", "chess"], "run.board is 'chess', expected one of", 2),
        (["--seed", "-1"], "is not a whole number", 2),
        (["--resume", "none.json"], "none.json: No such file", 1),
        (["--resume", "old.json"], "old.json is not a saved game", 1),
        (["--resume", "old.json", "--board", "hex8"], "does not go with --board", 2),
        (["--save", "old.json"], "--save old.json: the file already exists", 2),
        (["--record", "old.jsonl"], "--record old.jsonl: the file already exists", 2),
        (["--record", "game.txt"], "a record ends in", 2),
    ],
)
def test_what_no_game_can_be_begun_with(
    play: Play, options: list[str], said: str, code: int
) -> None:
    Path("old.json").touch()
    Path("old.jsonl").touch()
    run = play(*options, typed=[])
    assert (run.code, run.out) == (code, "")
    assert said in run.err
    assert all(line.startswith(("ringrift: ", "  try: ")) for line in run.err.splitlines())
    assert not Path("runs").exists()


# ---- players and places that fail ---------------------------------------------------------------


class Failing:
    """A player that answers so many times by the first legal action, and then no more."""

    spec = identity = "failing"

    def __init__(self, answers: int) -> None:
        self.answers, self.closed = answers, False

    def choose(self, asked: Decisions) -> Choices:
        if not self.answers:
            raise PlayerError("Player 'failing' has gone.", hint="another player")
        self.answers -= 1
        actions, _ = playout.list_all(asked.T, asked.rows)
        return Choices(actions[:1])

    def close(self) -> None:
        self.closed = True


def test_a_player_that_fails_ends_the_session_with_the_game_kept(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Failing(1)
    monkeypatch.setattr("ringrift_cli.players.spec.make_player", lambda *_: player)
    run = play("--opponent", "failing", "--save", "game.json", typed=OPENING)
    assert run.code == 1
    assert run.err.splitlines() == [
        "ringrift: Player 'failing' has gone.",
        "  try: ringrift play --resume game.json",
    ]
    assert len(read_game(Path("game.json")).actions) == 3
    assert player.closed
    run = play("--resume", "game.json", "--json", typed=[])
    assert (run.code, json.loads(run.out)["error"]) == (1, "Player 'failing' has gone.")
    run = play("--opponent", "failing", "--seat", 2, typed=[])
    assert (run.code, run.err.splitlines()[1:]) == (1, ["  try: another player"])


def test_an_adviser_that_fails_does_not_end_the_game(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Failing(0)
    monkeypatch.setattr("ringrift_cli.players.spec.make_player", lambda *_: player)
    run = play("--seat", "1,2", "--hint", "failing", typed=["hint", "0,0 3"])
    assert run.code == 0
    assert "Player 'failing' has gone." in run.out
    assert "put 3 rings on 0,0" in run.out


def test_a_full_disk_does_not_end_the_game(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, _data: bytes) -> None:
        raise OutputError(f"Cannot write {path}: No space left on device.")

    monkeypatch.setattr("ringrift_cli.play.session.write_whole", write)
    run = play(*AGAINST, typed=["0,0 3", "save", "save other.json"])
    assert run.code == 0
    assert "The game is not saved: Cannot write runs/play/" in re.sub(r"\s+", " ", run.out)
    assert "The game is not kept yet." in run.out
    assert "Cannot write other.json" in run.out
    assert run.out.endswith("The game is not kept.\n")


# ---- keeping the game ---------------------------------------------------------------------------


def test_nothing_is_kept_before_the_first_decision(play: Play) -> None:
    run = play(*AGAINST, typed=["help"])
    assert run.out.endswith("The game is not kept.\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("stop", [1, 2, 5, 8])
def test_a_game_goes_on_from_its_file_as_if_it_had_not_stopped(play: Play, stop: int) -> None:
    typed = ["go", "go"] * 8
    whole = outcome(play("--players", 3, *AGAINST, "--json", typed=typed))
    first = play("--players", 3, *AGAINST, "--save", "game.json", "--json", typed=typed[: 2 * stop])
    assert outcome(first)["kept"] == "game.json"
    hint = ("--hint", "heuristic:default", "--json")
    second = play("--resume", "game.json", *hint, typed=typed[2 * stop :])
    assert "Resuming after" in second.err
    document = outcome(second)
    for name in ("moves", "position", "seed", "seats", "over"):
        assert document[name] == whole[name]
    assert len(read_game(Path("game.json")).actions) == len(whole["moves"])


def test_the_end_of_the_input_is_no_failure_and_tells_where_the_game_is(play: Play) -> None:
    run = play(*AGAINST, typed=OPENING)
    assert (run.code, run.err) == (0, "")
    path = kept()
    assert re.fullmatch(r"hex8-2p-\d{8}-\d{6}\.json", path.name)
    assert run.out.endswith(f"The game is kept in {path}: ringrift play --resume {path}\n")


def test_two_games_never_share_a_file(play: Play) -> None:
    for _ in range(3):
        play(*AGAINST, typed=OPENING)
    assert len(list(Path("runs/play").iterdir())) == 3


def test_save_writes_copies_and_over_no_other_file(play: Play) -> None:
    Path("other.json").write_text("mine")
    typed = ["0,0 3", "save", "save copy.json", "3,0", "save copy.json", "save other.json"]
    run = play(*AGAINST, "--save", "game.json", typed=typed)
    assert "The game is kept in game.json." in run.out
    assert "Wrote copy.json: ringrift play --resume copy.json" in run.out
    assert "other.json already exists" in run.out
    assert Path("other.json").read_text() == "mine"
    assert Path("copy.json").read_text() == Path("game.json").read_text()


# ---- in a terminal ------------------------------------------------------------------------------


ASKED = "rules, help, quit"  # ends a question


def test_a_person_plays_in_a_terminal() -> None:
    with Terminal("play", *AGAINST) as terminal:
        shown = terminal.read("A > ")
        assert "\x1b[1mYour turn (A): place rings." in shown
        assert "At 0,0" in terminal.type("0,0", "A 0,0 > ")
        assert "You (A) put 3 rings" in terminal.type("3", "A > ")
        shown = terminal.type("3,0", ASKED)
        assert "is thinking" in shown
        assert "B (random) put" in shown
        terminal.read("A > ")
        assert "is not a cell" in terminal.type("nonsense", "A > ")
        terminal.keys("pla\t 1,1 1\x7f2\n")  # completed, and corrected
        terminal.read("put 2 rings on 1,1")
        terminal.read("A > ")
        terminal.keys("quit\n")
        terminal.read("[Y/n] > ")
        assert "'maybe' is neither" in terminal.type("maybe", "[Y/n] > ")
        terminal.type("", "The game is kept in ")
        code, said = terminal.end()
        assert (code, said.strip(b"\a")) == (0, b"")  # the bell: several completions
    assert len(read_game(kept()).actions) >= 5


def test_a_game_can_be_thrown_away_unless_its_file_was_named() -> None:
    with Terminal("play", *AGAINST) as terminal:
        terminal.read("A > ")
        terminal.type("0,0 3", "A > ")
        terminal.type("quit", "[Y/n] > ")
        terminal.type("n", "The game is not kept.")
        assert terminal.end() == (0, b"")
    assert list(Path("runs/play").iterdir()) == []
    with Terminal("play", *AGAINST, "--save", "game.json") as terminal:
        terminal.read("A > ")
        terminal.type("0,0 3", "A > ")
        terminal.type("quit", "The game is kept in game.json")
        assert terminal.end() == (0, b"")


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        (signal.SIGINT, 130, b"ringrift: Interrupted.\n"),
        (signal.SIGTERM, 143, b"ringrift: Terminated.\n"),
        (signal.SIGHUP, 129, b""),
        (signal.SIGKILL, -9, b""),
    ],
)
def test_whatever_ends_it_the_game_is_kept(stop: int, code: int, said: bytes) -> None:
    with Terminal("play", *AGAINST, "--save", "game.json") as terminal:
        terminal.read("A > ")
        terminal.type("0,0 3", "A > ")
        terminal.keys("3,")  # half a line
        terminal.read("3,")
        time.sleep(0.3)  # a signal before the program waits again takes effect at the next Enter
        terminal.process.send_signal(stop)
        assert terminal.end() == (code, said)
    assert read_game(Path("game.json")).actions == (Position.initial("hex8").action("place 0,0 3"),)


def test_the_keys_that_leave() -> None:
    with Terminal("play", *AGAINST, "--save", "game.json") as terminal:
        terminal.read("A > ")
        terminal.type("0,0 3", "A > ")
        terminal.keys("\x04")
        terminal.read("The game is kept in game.json")
        assert terminal.end() == (0, b"")
    with Terminal("play", "--resume", "game.json") as terminal:
        terminal.read("Resuming after 1 decision.")
        terminal.read("A > ")
        terminal.hang_up()
        assert terminal.end()[0] in (0, 129)
    assert len(read_game(Path("game.json")).actions) == 1


@pytest.mark.parametrize("veto", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_refused(veto: dict[str, str]) -> None:
    with Terminal("play", *AGAINST, **veto) as terminal:
        shown = terminal.read("A > ")
        assert "\x1b[1m" not in shown
        assert "\x1b[38" not in shown
        terminal.keys("\x04")
        assert terminal.end()[0] == 0


def test_a_reader_that_goes_away_ends_it() -> None:
    with child(*RINGRIFT, "play", *AGAINST, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate("0,0 3\n3,0\n", timeout=60)
        assert process.returncode == 129
    assert "Traceback" not in err


POSITION = "5./6./7./8./4. s221 4./8./7./6./5. | 1 movement | 17,16 | 0,0"


def test_a_game_can_begin_from_a_position(play: Play, ringrift: Ringrift) -> None:
    done = play("--position", POSITION, "--seat", "1,2", "--json", typed=["0,0", "3,0"])
    found = outcome(done)
    assert found["board"] == "hex8"
    assert found["moves"] == ["move 0,0 3,0"]
    again = outcome(play("--resume", kept(), "--json", typed=["undo"]))
    assert again["position"] == POSITION
    assert "from its beginning" in ringrift("show", kept()).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--board", "square8"], "--position determines the game: it excludes --board"),
        (["--record", "x.jsonl"], "excludes --record"),
        (["--position", "nonsense"], "expected ROWS"),
        (["--position", "{"], "not valid JSON"),
    ],
)
def test_positions_that_do_not_fit_are_refused(play: Play, options: list[str], said: str) -> None:
    done = play("--position", POSITION, *options, typed=[])
    assert done.code in (1, 2)
    assert said in done.err
