"""Display of a session: board, narration, log, replay and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ringrift_cli.game.drawing_text import LETTERS, draw_parts
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result
from ringrift_cli.play.choices import (
    AREAS,
    MoveChoice,
    Question,
    cell_index,
    consequence,
    content,
    effects,
    narration,
    question,
)
from ringrift_cli.play.help import TEXTS, rules_summary
from ringrift_cli.play.screen import UNBROKEN, Screen
from ringrift_cli.play.session import Players, Session
from ringrift_cli.text import counted, listed

OPTION_WIDTH = 24  # of a move text in a list
MAX_MOVE_TEXT = 60  # of a move in a sentence; the log is complete
LAST = ">"
LEGEND = (
    ".  empty",
    "a  marker of A",
    "[a]  territory of A",
    "A52  stack of A, height 5, cap 2",
    "A+2  height 10 or more",
)
COMPACT_LEGEND = (
    ".  empty",
    "a  marker of A",
    "#%&=  territory of A, B, C, D",
    "A  stack of A, as listed",
)


class GameView:
    """Draws and narrates a session."""

    def __init__(self, session: Session, screen: Screen) -> None:
        self.session = session
        self.screen = screen

    def players(self, position: Position | None = None) -> Players:
        """Players in a position, by default the current one."""
        return Players(self.session.seats(position or self.session.position))

    # ---- board -----------------------------------------------------------------------------------

    def draw(
        self,
        position: Position,
        signs: Mapping[str, str],
        *,
        only_grid: bool = False,
        legend: bool = True,
        tight: bool = False,
    ) -> None:
        """Draws the board with signs before cells, and their legend; `tight` without gaps."""
        screen, players = self.screen, self.players(position)
        marks = {cell_index(position.board_name, cell): sign for cell, sign in signs.items()}
        names = [f"({players.role(seat)})" for seat in range(1, position.players + 1)]
        wide = screen.columns
        parts = draw_parts(
            position.text, colour=screen.colour, names=names, marks=marks, width=wide
        )
        screen.write("\n".join(parts.grid))
        if not tight:
            screen.write()
        if legend and not only_grid:
            items = COMPACT_LEGEND if parts.compact else LEGEND
            screen.paragraph("   ".join(item.replace(" ", UNBROKEN) for item in items))
            for line in draw_parts(position.text).legend[1:]:  # explanation of coordinates
                screen.paragraph(line)
        if signs:
            screen.paragraph(_meanings(set(signs.values())))
        if not only_grid:
            if not tight:
                screen.write()
            screen.write("\n".join([*parts.counts, *parts.stacks]))

    def last_signs(self, ply: int | None = None) -> dict[str, str]:
        """Signs at the targets of the moves since the person's last decision, or of that one.

        With `ply` only the last move.
        """
        session = self.session
        end = len(session.moves) if ply is None else ply
        signs: dict[str, str] = {}
        turns: set[int] = set()
        for at in range(end - 1, -1, -1):
            before = session.positions[at]
            person = session.mover(before).is_person
            if person and at < end - 1:
                break
            choice = MoveChoice(0, 0, session.moves[at])
            if choice.cells and choice.kind not in AREAS and before.turn not in turns:
                cell = choice.cells[-1]
                if at == end - 1 or content(session.position, cell).startswith("s"):
                    signs[cell] = LAST
                turns.add(before.turn)
            if person or ply is not None:
                break
        return signs

    # ---- choices and decisions -------------------------------------------------------------------

    def consequence(self, choice: MoveChoice) -> str:
        position = self.session.position
        return consequence(choice, effects(position, choice, position.play(choice.action)))

    def option(self, label: str, choice: MoveChoice) -> None:
        """Writes a list entry: move text and effects, which name the cells of an area."""
        text = self.consequence(choice)
        if choice.kind not in AREAS:
            text = f"{choice.text:<{OPTION_WIDTH}}  {text}".rstrip()
        self.screen.paragraph(text, f"{label}  ", " " * (len(label) + 4))

    def sentence(self, choice: MoveChoice) -> str:
        """Move text and effects of a choice, for use in a sentence."""
        text = self.consequence(choice)
        return f"{choice.text} ({text})" if text else choice.text

    def narrate(self, ply: int) -> None:
        """Describes a decision, and the seats passed over after it."""
        session = self.session
        before, after = session.positions[ply : ply + 2]
        players, move = self.players(before), session.moves[ply]
        choice = MoveChoice(0, session.actions[ply], move)
        deed = narration(choice, effects(before, choice, after))
        if len(move) > MAX_MOVE_TEXT:
            move = move[:MAX_MOVE_TEXT].rpartition(";")[0] + ";…"
        move = move.replace(" ", UNBROKEN)
        self.screen.paragraph(f"{players.subject(before.seat)} {deed}.  [{move}]")
        if choice.kind == "swap":
            now = self.players(after)
            self.screen.paragraph(f"Now play {now.name(1)} and {now.name(2)}, who goes on.")
        passed = []
        if not after.is_over and after.turn != before.turn:
            seat = before.seat % before.players + 1
            while seat != after.seat:
                passed.append(players.name(seat))
                seat = seat % before.players + 1
        if passed:
            self.screen.paragraph(f"{listed(passed)}: nothing to decide, passed over.")

    # ---- game ------------------------------------------------------------------------------------

    def introduction(self) -> None:
        """Introduction: configuration, players and goal."""
        setup, players = self.session.setup, self.players()
        pie = ", pie rule" if setup.pie_rule else ""
        names = [players.name(seat) for seat in range(1, setup.players + 1)]
        self.screen.heading(f"RingRift on {setup.board}, {setup.players} players{pie}")
        self.screen.paragraph(f"{listed(names)} play.")
        self.screen.paragraph(self._rules()["Goal"])
        self.screen.write()
        self.screen.paragraph(TEXTS["introduction"])

    def resumption(self) -> None:
        """Summary of a resumed game with its last moves."""
        session = self.session
        count = len(session.moves)
        if not count:
            return
        self.screen.write()
        self.screen.write(f"Resuming after {counted(count, 'decision')}. The last ones:")
        first = count - 1
        while first > 0 and not session.mover(session.positions[first]).is_person:
            first -= 1
        for ply in range(first, count):
            self.narrate(ply)

    def rules(self) -> None:
        self.screen.table(self._rules())

    def _rules(self) -> dict[str, str]:
        position = self.session.position
        return rules_summary(question(position), position)

    def ending(self) -> None:
        position, players = self.session.position, self.players()
        result = position.result()
        resigned = self.session.resigned
        if resigned is not None:
            end = f"{players.subject(resigned)} resigned"
            winner = self.session.winner
            won = f"{players.subject(winner)} won." if winner else ""
            end += f": {won or 'the game stops here, without a winner.'}"
            self.screen.heading(f"Game over. {end}")
        elif result is not None:
            self.screen.heading("Game over.")
            self.screen.paragraph(result_sentence(position, result, players, question(position)))
            for line in standings(position, result, players):
                self.screen.write(line)

    def log(self) -> None:
        """Writes the moves, one line per turn."""
        lines: list[str] = []
        turn = 0
        for position, move in zip(self.session.positions, self.session.moves, strict=False):
            if position.turn != turn:
                turn = position.turn
                lines.append(f"{turn:>4}. {LETTERS[position.seat - 1]}: {move}")
            else:
                lines[-1] += f", {move}"
        self.screen.write("\n".join(lines) if lines else "Nothing has been decided yet.")

    def result(self) -> None:
        """Shows the board at the end of the game, and the result."""
        self.screen.rule()
        top, low = self.screen.written, self.screen.is_low
        self.draw(self.session.position, self.last_signs(), legend=not low, tight=low)
        if not low:
            self.screen.write()
        self.ending()
        self.screen.tell_size(self.screen.written - top + 1, "Board and result need")

    def replay(self) -> None:
        """Steps through the game interactively."""
        last = len(self.session.moves)
        ply: int | None = 0
        while ply is not None:
            self.screen.rule()
            top, low = self.screen.written, self.screen.is_low
            self.screen.write(f"Replay: decision {ply} of {last}")
            signs = self.last_signs(ply) if ply else {}
            self.draw(self.session.positions[ply], signs, legend=not low, tight=low)
            if not low:
                self.screen.write()
            if ply:
                self.narrate(ply - 1)
            if ply == last and self.session.is_over:
                self.ending()
            self.screen.tell_size(self.screen.written - top + 1, "Each decision needs")
            ply = self.screen.ask_ply(ply, last)


def _meanings(signs: set[str]) -> str:
    known = {LAST: "where the last move ended", "*": "can be chosen"}
    meanings = [f"{sign}  {known[sign]}" for sign in known if sign in signs]
    others = sorted(signs - {*known})
    if others:
        shown = " ".join([*others[:2], "…"] if len(others) > 2 else others)
        meanings.append(f"{shown}  the choice of that sign")
    return "   ".join(meaning.replace(" ", UNBROKEN) for meaning in meanings)


def result_sentence(position: Position, result: Result, players: Players, asked: Question) -> str:
    why = TEXTS["won_by"][result.reason].format(
        eliminated=position.eliminated[result.winner - 1],
        territory=position.territory[result.winner - 1],
        rings_needed=asked.rings_to_win,
        cells_needed=asked.cells_to_win,
    )
    return f"{players.subject(result.winner)} won {why}."


def standings(position: Position, result: Result, players: Players) -> list[str]:
    order = sorted(range(1, position.players + 1), key=lambda seat: result.ranks[seat - 1])
    width = max(len(players.name(seat)) for seat in order)
    return [
        f"  {result.ranks[seat - 1]}. {players.name(seat):<{width}}"
        f"   territory {position.territory[seat - 1]}, eliminated "
        f"{position.eliminated[seat - 1]}, markers {position.markers[seat - 1]}"
        for seat in order
    ]


def chances(values: Sequence[float], players: Players) -> str:
    """Win probabilities by seat, in per cent."""
    return ", ".join(
        f"{players.name(seat)} {100 * value:.0f} %" for seat, value in enumerate(values, 1)
    )
