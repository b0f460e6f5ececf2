"""The configuration: the written file, what overrides what, and what is refused."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli import settings as config
from ringrift_cli.errors import UsageError
from ringrift_cli.game.topology import BOARD_NAMES
from ringrift_cli.nn import network
from ringrift_cli.settings import DECLARED, Config, commented, load


def written(folder: Path, text: str) -> Path:
    path = folder / "ringrift.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    """Why a file is refused, without the folder's name."""
    with pytest.raises(UsageError) as error:
        load(written(folder, text))
    return error.value.message.replace(f"{folder}/", "")


# ---- the written file ---------------------------------------------------------------------------


def test_the_written_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, commented())) == Config() == load(environment={})


def test_the_written_file_explains_every_key() -> None:
    lines = commented().splitlines()
    for declared in DECLARED.values():
        begun = lines.index(f"{declared.section}:")
        line = next(line for line in lines[begun:] if line.startswith(f"  {declared.name}: "))
        assert line.endswith(f"  # {declared.about}")
        assert len(declared.about) > 5
    assert len([line for line in lines if line.startswith("  ")]) == len(DECLARED)


def test_the_reference_in_docs_is_that_of_the_declarations() -> None:
    """Write it anew with `ringrift init --reference > docs/settings.md`."""
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text() == config.reference()


def test_what_is_written_is_read_whatever_it_is(tmp_path: Path) -> None:
    flags = {"run.folder": "a b: #c", "run.pie_rule": "yes", "gate.elo0": "-5.5", "run.gpus": "0,1"}
    changed = load(flags=flags)
    assert (changed.run.folder, changed.run.pie_rule) == ("a b: #c", True)
    assert (changed.gate.elo0, changed.run.gpus) == (-5.5, "0,1")
    assert load(written(tmp_path, commented(changed))) == changed


def test_no_two_keys_of_the_environment_are_one() -> None:
    assert len(config.VARIABLES) == len(DECLARED)


def test_sizes_are_those_of_the_networks() -> None:
    assert tuple(network.SIZES) == config.SIZES


def test_boards_are_those_of_the_rules() -> None:
    assert tuple(BOARD_NAMES) == config.BOARDS


# ---- one default --------------------------------------------------------------------------------

PACKAGE = Path(config.__file__).parent
# Fields and parameters that have the name of a setting and mean something else.
OTHER_MEANINGS = {
    "bench/gpu_agreement.py Extent.heuristic_games",
    "bench/gpu_check.py GpuMeasurements.sims",
    "bench/gpu_check.py GpuMeasurements.size",
    "cli/bench.py engine.gpus",  # to measure, beside the processor
    "evaluate/match.py Match.seed",
    "fleet/hosts.py Host.gpus",  # how many
    "game/conformance_files.py FileReport.earlier",  # games under earlier rules
    "fleet/messages.py Facts.folder",
    "fleet/messages.py Facts.models",
    "fleet/messages.py JobMeta.gpus",
    "players/searcher.py Effort.considered",  # of a player, by its simulations
    "stats/sprt.py Sprt.players",
    # what a record of games says of itself
    *(
        f"{name}.pie_rule"
        for name in (
            *("evaluate/results.py Pool", "play/session.py SavedGame"),
            *("players/player.py Decisions", "players/protocol.py Game"),
        )
    ),
}


def defaults_of(source: str, *, functions: bool) -> Iterator[tuple[str, str, ast.expr]]:
    """Class and field, or function and parameter, with each default that a file declares."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                if (
                    isinstance(one, ast.AnnAssign)
                    and one.value
                    and isinstance(one.target, ast.Name)
                ):
                    yield node.name, one.target.id, one.value
        elif isinstance(node, ast.FunctionDef) and functions:
            arguments = node.args
            with_default = arguments.args[len(arguments.args) - len(arguments.defaults) :]
            for argument, value in zip(with_default, arguments.defaults, strict=True):
                yield node.name, argument.arg, value


def is_literal(value: ast.expr) -> bool:
    """Whether a default is written out; None is none."""
    try:
        return ast.literal_eval(value) is not None
    except ValueError:
        return False


def test_no_setting_has_two_defaults() -> None:
    """Fields of all classes, and parameters of all commands, take theirs from the declaration."""
    names = {one.name for one in DECLARED.values()} - {"games"}  # which everything has a count of
    second = {
        f"{path.relative_to(PACKAGE)} {owner}.{name}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "settings.py"
        for owner, name, value in defaults_of(path.read_text(), functions=path.parent.name == "cli")
        if name in names and is_literal(value)
    }
    assert second == OTHER_MEANINGS


def test_sections_have_other_keys_or_other_meanings() -> None:
    """Of all names only these are in more than one section."""
    names = Counter(one.name for one in DECLARED.values())
    assert {name for name, times in names.items() if times > 1} == {"sims", "elo0", "elo1"}


# ---- what wins ----------------------------------------------------------------------------------


def test_a_flag_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "selfplay:\n  sims: 20\n  fast_sims: 5\n  concurrent: 7\nrun:\n  board: square8\n",
    )
    environment = {"RINGRIFT_SELFPLAY_SIMS": "30", "RINGRIFT_SELFPLAY_FAST_SIMS": "6"}
    found = load(path, environment=environment, flags={"selfplay.sims": "40"})
    assert (found.selfplay.sims, found.selfplay.fast_sims) == (40, 6)
    assert (found.selfplay.concurrent, found.run.board) == (7, "square8")
    assert found.train == Config().train


def test_names_in_the_environment(tmp_path: Path) -> None:
    environment = {
        "RINGRIFT_BOARD": "hexagonal",
        "RINGRIFT_RUN_PLAYERS": "3",
        "RINGRIFT_TRAIN_BATCH": "",  # as if it were not there
        "RINGRIFT_RESULTS": "of another command",
        "RINGRIFT_TRAINER": "nobody's",
        "HOME": "/",
    }
    found = load(environment=environment)
    assert (found.run.board, found.run.players) == ("hexagonal", 3)
    assert found.pool == "hexagonal-3p"
    assert found.folder == Path("runs/hexagonal-3p")
    with pytest.raises(UsageError, match=r"RINGRIFT_TRAIN_BACH: .*did you mean 'batch'"):
        load(environment={"RINGRIFT_TRAIN_BACH": "3"})


def test_the_file_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load() == Config()
    written(tmp_path, "run:\n  seed: 5\n")
    assert load().run.seed == 5
    written(tmp_path, "")
    assert load() == Config()
    written(tmp_path, "run:\ntrain:\n  learning_rate: 1e-2\n")
    assert load().train.learning_rate == 0.01


def test_the_name_of_the_pool() -> None:
    assert load(flags={"run.pie_rule": "true"}).pool == "hex8-2p-pie"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "selfplay:\n  simz: 3\n",
            "ringrift.yaml:2: there is no key 'simz' in selfplay; did you mean 'sims'?",
        ),
        ("trane:\n  a: 1\n", "ringrift.yaml:1: there is no section 'trane'; did you mean 'train'?"),
        (
            "train:\n  sims: 3\n",
            "ringrift.yaml:2: there is no key 'sims' in train; it is in selfplay.sims.",
        ),
        (
            "\nselfplay:\n  sims: x\n",
            "ringrift.yaml:3: selfplay.sims is 'x', expected an integer, at least 2.",
        ),
        (
            "selfplay:\n  sims: 1\n",
            "ringrift.yaml:2: selfplay.sims is 1, expected an integer, at least 2.",
        ),
        (
            "train:\n  learning_rate: 0\n",
            "ringrift.yaml:2: train.learning_rate is 0.0, expected a number, above 0, at most 1.",
        ),
        (
            "train:\n  value_mix: 1.5\n",
            "ringrift.yaml:2: train.value_mix is 1.5, expected a number, at least 0, at most 1.",
        ),
        ("gate:\n  elo1: .nan\n", "ringrift.yaml:2: gate.elo1 is '.nan', expected a number."),
        ("gate:\n  elo1: nan\n", "ringrift.yaml:2: gate.elo1 is nan, expected a number."),
        ("gate:\n  elo1: inf\n", "ringrift.yaml:2: gate.elo1 is inf, expected a number."),
        (
            "run:\n  pie_rule: 2\n",
            "ringrift.yaml:2: run.pie_rule is '2', expected true or false.",
        ),
        (
            "selfplay:\n  teacher: best\n",
            "ringrift.yaml:2: selfplay.teacher is 'best', expected one of none, heuristic.",
        ),
        (
            "run:\n  folder: ''\n",
            (
                "ringrift.yaml:2: run.folder is '', expected a path without ',' and '=', which"
                " separate the arguments of a player."
            ),
        ),
        ("run:\n  seed:\n", "ringrift.yaml:2: run.seed has no value, or several; expected one."),
        (
            "run:\n  seed: [1]\n",
            "ringrift.yaml:2: run.seed has no value, or several; expected one.",
        ),
        ("run:\n  seed: 1\n  seed: 2\n", "ringrift.yaml:3: 'seed' is repeated."),
        ("run: 3\n", "ringrift.yaml:1: expected keys of run, as `name: value`."),
        ("- run\n", "ringrift.yaml:1: expected sections, as `name: value`."),
        ("[1]: 2\n", "ringrift.yaml:1: expected a name before the colon."),
        ("gate:\n  elo0: 50\n", "gate.elo1 is 35, expected more than gate.elo0, 50."),
        (
            "selfplay:\n  sims: 7\n",
            "selfplay.fast_sims is 8, expected at most selfplay.sims, 7.",
        ),
        (
            "selfplay:\n  resign_below: 0.1\nrun:\n  players: 3\n",
            "selfplay.resign_below is for 2 players, but run.players is 3.",
        ),
        (
            "run:\n  models: a=b\n",
            (
                "ringrift.yaml:2: run.models is 'a=b', expected a path without ',' and '=', which"
                " separate the arguments of a player."
            ),
        ),
        (
            "run:\n  folder: runs,old\n",
            (
                "ringrift.yaml:2: run.folder is 'runs,old', expected a path without ',' and '=',"
                " which separate the arguments of a player."
            ),
        ),
        (
            "run:\n  pie_rule: on\n  players: 3\n",
            "run.pie_rule is for 2 players, but run.players is 3.",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text) == expected


def test_what_is_no_yaml(tmp_path: Path) -> None:
    assert refused(tmp_path, "a: b: c\n").startswith("ringrift.yaml is not valid YAML: ")
    path = tmp_path / "ringrift.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UsageError, match="is not valid YAML"):
        load(path)
    with pytest.raises(UsageError, match=r"Cannot read .*No such file") as error:
        load(tmp_path / "none.yaml")
    assert error.value.hint == f"ringrift init --out {tmp_path}/none.yaml"


def test_flags_name_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"^sims=3: there is no section 'sims'"):
        load(flags={"sims": "3"})
    with pytest.raises(UsageError, match=r"^selfplay\.sims=x: .* expected an integer"):
        load(flags={"selfplay.sims": "x"})
