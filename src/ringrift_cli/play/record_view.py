"""Text display of recorded games."""

from __future__ import annotations

from functools import cached_property

from ringrift_cli.game.drawing_text import draw_text
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.topology import board_named
from ringrift_cli.game.version import earlier_rules
from ringrift_cli.play.screen import Screen

AROUND = 5  # lines around a drawing: title, move or ending, input
LAST = ">"  # marks the target cell of the last decision


class RecordView:
    """View of a recorded game; decision n is the position after n decisions."""

    def __init__(self, record: GameRecord, ending: str | None = None) -> None:
        """`ending` replaces the sentence on winner and reason."""
        self.record = record
        self._ending = ending
        self._played = list(record.positions())

    @cached_property
    def moves(self) -> list[str]:
        """Move text of every decision."""
        return [at.move(action) for at, action in self._played if action is not None]

    @property
    def ending(self) -> str:
        """Winner, reason, and a note on earlier rules."""
        if self._ending is not None:
            return self._ending
        result, note = self.record.result, earlier_rules(self.record.rules)
        ending = f"Player {result.winner} won: {result.reason.replace('_', ' ')}."
        return f"{ending}\n{note}" if note else ending

    def position(self, ply: int) -> Position:
        return self._played[ply][0]

    def drawing(
        self, ply: int, *, colour: bool, width: int | None = None, rows: int | None = None
    ) -> str:
        """Board after `ply` decisions with a title and the last move marked; see `draw_text`."""
        record, last = self.record, self.moves[ply - 1] if ply else ""
        cells = [part for part in last.split(" ") if "," in part and ";" not in part]
        marks = {}
        if cells:
            x, y = map(int, cells[-1].split(","))
            cell = board_named(record.board).cell(x, y)
            marks = {} if cell is None else {cell: LAST}
        place = f"{record.board}, {record.players} players, decision {ply} of {len(self.moves)}"
        text = self.position(ply).text
        board = draw_text(text, colour=colour, marks=marks, width=width, rows=rows)
        return f"{place}{f', after {last}' if last else ''}\n{board}".rstrip("\n")

    def move_list(self) -> str:
        """Moves, one line per turn."""
        turns: dict[int, str] = {}
        for (position, _), move in zip(self._played, self.moves, strict=False):
            start = turns.get(position.turn)
            head = (
                f"{position.turn:>4}. player {position.seat}: " if start is None else f"{start}, "
            )
            turns[position.turn] = head + move
        return "\n".join(turns.values())

    def step_through(self, screen: Screen) -> None:
        """Shows the decisions interactively."""
        ply: int | None = 0
        while ply is not None:
            if screen.colour:
                screen.write("\033[2J\033[H")
            top, rows = screen.written, screen.rows
            room = None if rows is None else rows - AROUND
            drawing = self.drawing(ply, colour=screen.colour, width=screen.columns, rows=room)
            screen.write(drawing)
            if ply == len(self.moves):
                screen.write(self.ending)
            else:
                screen.write(f"Player {self.position(ply).seat} now plays {self.moves[ply]}.")
            screen.tell_size(screen.written - top + 1, "Each decision needs")
            ply = screen.ask_ply(ply, len(self.moves))
