"""The command line as a whole: help, usage, exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ringrift_cli.cli.app import app, main
from ringrift_cli.game.topology import BOARD_NAMES
from ringrift_cli.version import __version__
from tests.children import child
from tests.conftest import Ringrift

pytestmark = pytest.mark.usefixtures("compiled_rules")

COMMANDS = sorted(
    command.name or command.callback.__name__
    for command in app.registered_commands
    if command.callback
)
BOARDS = ", ".join(BOARD_NAMES)
HELP_SECONDS = 0.3
PROCESS = [sys.executable, "-m", "ringrift_cli"]


@pytest.mark.parametrize(
    ("asked", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_that_wait_do_not_spin_for_long(
    asked: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
        if name in asked:
            monkeypatch.setenv(name, asked[name])
    main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


# ---- help ----------------------------------------------------------------------------------------


def test_version(ringrift_process: Ringrift) -> None:
    run = ringrift_process("--version")
    assert (run.code, run.out, run.err) == (0, f"ringrift {__version__}\n", "")


def test_help_names_every_command(ringrift: Ringrift) -> None:
    run = ringrift("--help")
    assert run.code == 0
    assert {"perft", "verify"} <= set(COMMANDS)
    for command in COMMANDS:
        assert f"\n  {command} " in run.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(ringrift: Ringrift, command: str) -> None:
    run = ringrift(command, "-h")
    assert run.code == 0
    assert f"    ringrift {command} " in run.out


def test_help_answers_at_once() -> None:
    def cpu_seconds() -> float:
        before = os.times()
        subprocess.run([*PROCESS, "--help"], check=True, capture_output=True)
        after = os.times()
        return (after.children_user - before.children_user) + (
            after.children_system - before.children_system
        )

    assert min(cpu_seconds() for _ in range(3)) < HELP_SECONDS


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from ringrift_cli.cli.app import main; main(['--help']); "
        "sys.exit(bool({'numba', 'numpy', 'rich', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_nothing_asked_is_answered_with_the_help(ringrift: Ringrift) -> None:
    run = ringrift()
    assert (run.code, run.out) == (2, "")
    assert "Commands:" in run.err


def test_typer_runner_sees_the_same_help() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "The board game RingRift: play it, build players" in result.stdout


def test_completion_offers_boards() -> None:
    environment = {
        **os.environ,
        "_RINGRIFT_COMPLETE": "complete_bash",
        "COMP_WORDS": "ringrift perft --board h",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(PROCESS, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hex8", "hexagonal"]


# ---- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence", "hint"),
    [
        ("verfy x", "No such command 'verfy'. Did you mean 'verify'", "ringrift --help"),
        (
            "perft --bord hex8",
            "No such option: --bord. Did you mean --board",
            "ringrift perft --help",
        ),
        ("verify", "Missing argument 'FILE'", "ringrift verify --help"),
        ("perft --depth", "Option '--depth' requires an argument", "ringrift --help"),
        ("perft --depth 0", "'0' is not a whole number of 1 or more", "ringrift perft --help"),
        (
            "perft --players 5",
            "run.players is 5, expected an integer, at least 2, at most 4",
            "ringrift perft --help",
        ),
        (
            "perft --players two",
            "run.players is 'two', expected an integer",
            "ringrift perft --help",
        ),
        (
            "perft --board hex9",
            f"run.board is 'hex9', expected one of {BOARDS}",
            "ringrift perft --help",
        ),
        ("perft one", "Got unexpected extra argument", "ringrift perft --help"),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_hint(
    ringrift: Ringrift, line: str, sentence: str, hint: str
) -> None:
    run = ringrift(*line.split())
    assert (run.code, run.out) == (2, "")
    said, *rest = run.err.splitlines()
    assert said.startswith("ringrift: ")
    assert sentence in said
    assert rest == [f"  try: {hint}"]


def test_pie_rule_is_for_two(ringrift: Ringrift) -> None:
    run = ringrift("perft", "--pie", "--players", 3)
    assert (run.code, run.out) == (2, "")
    assert run.err == "ringrift: The pie rule is for 2 players, not 3.\n  try: --no-pie\n"


def test_wrong_usage_under_json_is_a_document_too(ringrift: Ringrift) -> None:
    run = ringrift("perft", "--json", "--board", "hex9")
    assert run.code == 2
    assert "run.board is 'hex9', expected one of" in json.loads(run.out)["error"]


def test_flag_wins_over_environment_and_that_over_default(
    ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    def board(*args: str) -> Any:
        return json.loads(ringrift("perft", "--depth", 1, "--json", *args).out)["board"]

    assert board() == "hex8"
    monkeypatch.setenv("RINGRIFT_BOARD", "square8")
    assert board() == "square8"
    assert board("--board", "hexagonal") == "hexagonal"


# ---- failures ------------------------------------------------------------------------------------


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    return fail


def test_interrupt_is_130(ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ringrift_cli.cli.output.Output.compile_rules", failing(KeyboardInterrupt())
    )
    run = ringrift("perft")
    assert (run.code, run.out, run.err) == (130, "", "ringrift: Interrupted.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device"), "No space left on device.\n  try: df -h"),
        (PermissionError(13, "Permission denied", "runs/a"), "runs/a: Permission denied."),
        (FileNotFoundError(2, "No such file or directory", "a"), "a: No such file or directory."),
    ],
)
def test_troubles_of_the_file_system_are_one_sentence(
    ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch, error: OSError, sentence: str
) -> None:
    monkeypatch.setattr("ringrift_cli.cli.output.Output.compile_rules", failing(error))
    run = ringrift("perft")
    assert (run.code, run.out, run.err) == (1, "", f"ringrift: {sentence}\n")


@pytest.mark.parametrize("error", [ValueError("what is this"), OSError(5, "Input/output error")])
def test_unforeseen_errors_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("ringrift_cli.cli.output.Output.compile_rules", failing(error))
    with pytest.raises(type(error), match=str(error.args[-1])):
        main(["perft"])


@pytest.mark.parametrize("board", ["hex8", "hexagonal"])
def test_full_disk_is_one_sentence(board: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROCESS, "perft", "--board", board, "--depth", "1", "--divide", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "ringrift: Cannot write to stdout: No space left on device.\n"


def test_reader_that_leaves_is_no_drama() -> None:
    command = [*PROCESS, "perft", "--board", "hexagonal", "--depth", "1", "--divide"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_stops_a_long_command() -> None:
    command = [*PROCESS, "perft", "--board", "hexagonal", "--depth", "9", "-v"]
    with child(*command) as process:
        assert process.stderr is not None
        assert "Compiled rules" in process.stderr.readline()
        while not process.stderr.readline().startswith("depth 3:"):
            pass
        time.sleep(1)  # then it is in depth 4, which takes more than a minute
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("ringrift: Interrupted.\n")
        assert process.wait(60) == 130


# ---- output --------------------------------------------------------------------------------------


def test_perft_counts_and_divides(ringrift: Ringrift) -> None:
    run = ringrift("perft", "--board", "hex8", "--players", 2, "--depth", 3, "--divide")
    assert run.code == 0
    lines = run.out.splitlines()
    counts = [int(line.split(": ")[1]) for line in lines if line.startswith("place ")]
    assert (len(counts), sum(counts)) == (183, 432_540)
    assert lines[-1].split()[:2] == ["3", "432,540"]


def test_perft_document(ringrift: Ringrift) -> None:
    run = ringrift("perft", "--board", "square8", "--players", 3, "--depth", 2, "--json")
    document = json.loads(run.out)
    assert [row["sequences"] for row in document["depths"]] == [192, 3192]
    assert (document["board"], document["players"], document["pie_rule"]) == ("square8", 3, False)
    assert "divide" not in document
    divided = json.loads(ringrift("perft", "--depth", 2, "--divide", "--json").out)["divide"]
    assert sum(divided.values()) == 2_430


def test_quiet_says_nothing_and_verbose_says_more(ringrift: Ringrift) -> None:
    assert ringrift("perft", "--depth", 1, "-q").err == ""
    assert "Compiled rules: " in ringrift("perft", "--depth", 1, "-v").err


def test_first_compilation_is_announced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringrift_cli.cli.output import Output

    compiled: list[int] = []
    monkeypatch.setattr("ringrift_cli.game.jit.MachineCode.exists", lambda _code: bool(compiled))

    def compile_rules(tell: Callable[[str], None], *_rest: object) -> None:
        tell("Compiling the rules for this machine, once")
        compiled.append(1)

    monkeypatch.setattr("ringrift_cli.game.warm.compile_rules", compile_rules)
    Output().compile_rules()
    Output().compile_rules()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("Compiling the rules for this machine, once") == 1
    assert compiled == [1]


@pytest.mark.parametrize("compiled", [0, 3, 10])
def test_progress_of_compilation_stays_below_its_end(
    compiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions that are compiled for several types count more than once."""
    from ringrift_cli.cli.output import Output

    done: list[int] = []

    class Noting:
        def advance(self, amount: int, _note: str = "") -> None:
            done.append(amount)

    @contextmanager
    def progress(_out: Output, _what: str, total: int) -> Iterator[Noting]:
        assert total == 4
        yield Noting()
        assert sum(done) == min(compiled, 3)

    def compile_rules(_tell: object, on_function: Callable[[], None]) -> None:
        for _ in range(compiled):
            on_function()

    monkeypatch.setattr("ringrift_cli.game.jit.MachineCode.exists", lambda _code: False)
    monkeypatch.setattr("ringrift_cli.game.warm.functions_of", lambda _package: 4)
    monkeypatch.setattr("ringrift_cli.game.warm.compile_rules", compile_rules)
    monkeypatch.setattr(Output, "progress", progress)
    Output().compile_rules()
    assert len(done) == compiled


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringrift_cli.cli.output import LINE_EVERY, Output

    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Output().progress("Verifying", 200) as progress:
        for _ in range(10):
            now[0] += LINE_EVERY / 4
            progress.advance(10, "7 games")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Verifying: 20 %, 7 games, 10 s",
        "Verifying: 40 %, 7 games, 20 s",
    ]


def test_progress_on_a_terminal_is_a_bar(tmp_path: Path) -> None:
    code = (
        "from ringrift_cli.cli.output import Output\n"
        "with Output().progress('Verifying', 4) as progress:\n"
        "    progress.advance(3, '12 games')\n"
    )
    leader, follower = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", code], stderr=follower, env=environment, check=True)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "Verifying" in shown
    assert "75 %" in shown
    assert "12 games" in shown


def test_colour_wants_a_terminal_and_no_veto(monkeypatch: pytest.MonkeyPatch) -> None:
    from ringrift_cli.cli.output import Output

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not Output().colour
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert Output().colour
    monkeypatch.setenv("TERM", "dumb")
    assert not Output().colour
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Output().colour


def test_tables_are_aligned_and_fields_nested(capsys: pytest.CaptureFixture[str]) -> None:
    from ringrift_cli.cli.output import Output

    def printed() -> str:
        return capsys.readouterr().out

    rows = [("one", 12_000, "1.5 MB", None), ("\x1b[2Jtwo", 3, "20.0 kB", "+∞")]
    Output().table(rows, ("name", "games", "size", "Elo"))
    assert printed().splitlines() == [
        "name      games     size  Elo",
        "one      12,000   1.5 MB    -",
        "�[2Jtwo       3  20.0 kB   +∞",
    ]
    Output().fields({"path": "a", "none": None, "empty": {}, "about": {"seed": 3, "data": [1] * 5}})
    assert printed() == "path  a\nabout\n  seed  3\n  data  5 items (--json)\n"
    machine = Output(as_json=True)
    machine.table(rows, ("name", "games", "size", "Elo"))
    machine.fields({"a": 1})
    machine.text("text")
    machine.result({"elo": float("inf"), "path": Path("a")}, "text")
    assert json.loads(printed()) == {"elo": None, "path": "a"}
    machine.result({"path": Path("\udcff")})
    assert json.loads(printed()) == {"path": "\udcff"}


def test_a_narrow_terminal_drops_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringrift_cli.cli.output import Output

    monkeypatch.setenv("COLUMNS", "10")
    Output().table([("a", 1.5, "x" * 9)], ("b", "c", "d"), drop=("d", "c"))
    assert capsys.readouterr().out == "b    c\na  1.5\n"


def test_a_file_in_the_place_of_a_folder_is_named(ringrift: Ringrift, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    for words in (
        ("selfplay", "--policy", "random", "--games", 5, "--out", taken),
        ("selfplay", "--policy", "random", "--games", 5, "--out", taken / "below"),
        ("selfplay", "--model", "heuristic", "--games", 1, "--gpus", "none", "--out", taken),
        ("train", "--board", "hex8", "--data", taken),
    ):
        run = ringrift(*words)
        assert run.code == 1
        assert f"{taken} is a file, not a folder" in run.err
        assert "df -h" not in run.err
    assert taken.read_text() == ""
