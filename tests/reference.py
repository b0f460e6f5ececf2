"""A plain, slow implementation of the whole game, the test oracle for the engine.

Written from rules.md (the § in the docstrings) and conformance/FORMAT.md alone: a turn is a walk
through the phases, moves are their texts. `tests.reference_turn` has the board and the position.
"""

from __future__ import annotations

from itertools import groupby

from tests.reference_turn import Board, Cell, Line, Position

NEXT_PHASE = {
    "ring_placement": "movement",
    "movement": "line_processing",
    "capture": "line_processing",
    "chain_capture": "line_processing",
    "line_processing": "territory_processing",
    "territory_processing": "forced_elimination",
}
SKIPS = ("skip_placement", "skip_capture", "skip_recovery", "skip_territory")


def cell_text(cell: Cell) -> str:
    return f"{cell[0]},{cell[1]}"


def cells_text(cells: tuple[Cell, ...]) -> str:
    return ";".join(map(cell_text, cells))


def parse_cells(text: str) -> tuple[Cell, ...]:
    pairs = [part.split(",") for part in text.split(";")]
    return tuple((int(x), int(y)) for x, y in pairs)


def parse_cell(text: str) -> Cell:
    (cell,) = parse_cells(text)
    return cell


class ReferenceGame:
    """One game. Seats count from 1."""

    def __init__(self, board: str, players: int, pie_rule: bool) -> None:
        self.seats = list(range(1, players + 1))
        self.at = Position(Board(board, players), players)
        self.at.hand = dict.fromkeys(self.seats, self.at.board.rings)
        self.at.eliminated = dict.fromkeys(self.seats, 0)
        self.winner: int | None = None
        self.reason: str | None = None
        self.swap_open = pie_rule and players == 2
        self.turn = 0
        self.gone: dict[int, int] = {}  # seat without a ring: the turn it lost its last one in
        self.last_changer = 0
        # §10.5: the round's first seat, who had a real action in it, and the streak
        self.first_seat: int | None = None
        self.record: dict[int, bool] = {}
        self.streak_seat: int | None = None
        self.streak = 0
        self.choices: list[str] = []
        self.begin_turn(1)
        self.settle()

    # ---- what the tests call ----

    def legal(self) -> list[str]:
        """The texts of the legal moves; none when the game is over."""
        return list(self.choices)

    def play(self, move: str) -> None:
        if move not in self.choices:
            raise ValueError(f"{move!r} is not legal in {self.text()}")
        kind, *words = move.split()
        if kind not in (*SKIPS, "swap"):
            self.last_changer = self.seat
        self.carry_out(kind, words)
        self.settle()

    def text(self) -> str:
        """Position text (FORMAT.md)."""
        rows: list[str] = []
        for _, cells in groupby(self.at.board.cells, key=lambda cell: cell[1]):
            words: list[str] = []
            for content, group in groupby(map(self.content, cells)):
                count = len(list(group))
                words += [content] * count if content else [f"{count}."]
            rows.append(" ".join(words))
        hands = ",".join(str(self.at.hand[seat]) for seat in self.seats)
        eliminated = ",".join(str(self.at.eliminated[seat]) for seat in self.seats)
        return f"{'/'.join(rows)} | {self.seat} {self.phase} | {hands} | {eliminated}"

    def ranks(self) -> list[int]:
        """Rank by seat at the end of the game (§10, Ranking)."""
        keys = [
            (
                seat == self.winner,
                self.at.territory(seat),
                self.at.eliminated[seat],
                self.at.marker_count(seat),
                seat not in self.gone,
                self.gone.get(seat, 0),
            )
            for seat in self.seats
        ]
        return [1 + sum(other > key for other in keys) for key in keys]

    def content(self, cell: Cell) -> str:
        if cell in self.at.stacks:
            return "s" + "".join(map(str, self.at.stacks[cell]))
        if cell in self.at.markers:
            return f"m{self.at.markers[cell]}"
        return f"c{self.at.collapsed[cell]}" if cell in self.at.collapsed else ""

    # ---- the turn (§3) ----

    def resume(self, seat: int) -> None:
        """Goes on from what `at` was set to by hand, at the start of the seat's turn.

        No round is under way then, and nobody holds a streak.
        """
        self.first_seat, self.record = None, {}
        self.begin_turn(seat)
        self.settle()

    def begin_turn(self, seat: int) -> None:
        self.seat = seat
        self.turn += 1
        self.phase = "ring_placement"
        self.moving: Cell | None = None  # the stack that must move, or may capture on
        self.owed = ""  # a decision within a phase: line, extract, ring or cap
        self.slid_to: Cell | None = None
        self.recovered = False
        self.acted = False
        self.round_starts_turn()

    def settle(self) -> None:
        """Pass through everything in which there is nothing to decide."""
        self.choices = self.options()
        while not self.choices and self.phase != "game_over":
            if self.phase in NEXT_PHASE:
                self.phase = NEXT_PHASE[self.phase]
            else:
                self.end_turn()
            self.choices = self.options()

    def options(self) -> list[str]:
        """What may be decided now; nothing in a phase to pass through and when all is over."""
        if self.phase == "game_over":
            return []
        if self.owed:
            return self.owed_options()
        if self.phase == "ring_placement":
            return self.placement_options()
        if self.phase == "movement":
            return self.movement_options()
        if self.phase in ("capture", "chain_capture"):
            assert self.moving is not None
            if self.phase == "chain_capture":
                return self.capture_texts("chain", self.moving)
            return [*self.capture_texts("capture", self.moving), "skip_capture"]
        if self.phase == "line_processing":
            return self.line_options(self.at.lines(self.seat))
        if self.phase == "territory_processing":
            regions = self.at.takeable(self.seat, self.recovered)
            return [f"region {cells_text(r)}" for r in regions] + ["skip_territory"] * bool(regions)
        if self.acted:
            return []
        return [f"forced {cell_text(cell)}" for cell in self.at.controlled(self.seat)]  # §9

    def owed_options(self) -> list[str]:
        """The later decisions of a recovery (§6) and the prices of lines and regions (§7, §8)."""
        if self.owed == "line":
            return self.line_options([x for x in self.at.lines(self.seat) if self.slid_to in x])
        if self.owed == "extract":
            in_region = self.phase == "territory_processing"
            cells = self.at.burying(self.seat) if in_region else self.at.holding(self.seat)
            return [f"extract {cell_text(cell)}" for cell in cells]
        return [f"eliminate {cell_text(cell)}" for cell in self.at.controlled(self.seat)]

    def placement_options(self) -> list[str]:
        """§4, §11."""
        placements = self.at.placements(self.seat)
        found = [f"place {cell_text(cell)} {count}" for cell, count in placements]
        if self.at.hand[self.seat] and (
            self.at.can_move(self.seat) or self.at.may_recover(self.seat)
        ):
            found.append("skip_placement")
        if self.swap_open and self.seat == 2:
            found.append("swap")
        return found

    def movement_options(self) -> list[str]:
        """§5, §6."""
        movers = self.at.controlled(self.seat) if self.moving is None else [self.moving]
        found: list[str] = []
        for start in movers:
            landings = self.at.landings(start, len(self.at.stacks[start]))
            found += [f"move {cell_text(start)} {cell_text(end)}" for end in landings]
            found += self.capture_texts("capture", start)
        slides = self.at.slides(self.seat)
        found += [f"recover {cell_text(a)} {cell_text(b)} {kind}" for a, b, kind in slides]
        return found + ["skip_recovery"] * (self.moving is None and self.at.may_recover(self.seat))

    def capture_texts(self, word: str, start: Cell) -> list[str]:
        return [
            f"{word} {cell_text(start)} {cell_text(target)} {cell_text(end)}"
            for target, end in self.at.captures_of(start)
        ]

    def line_options(self, lines: list[Line]) -> list[str]:
        """Each line as a whole, and the shorter runs that cost nothing (§7)."""
        length = self.at.board.line_length
        found: list[str] = []
        for line in lines:
            found.append(f"line {cells_text(line)} all")
            if len(line) > length:
                runs = [line[i : i + length] for i in range(len(line) - length + 1)]
                found += [f"line {cells_text(line)} {cells_text(run)}" for run in runs]
        return found

    # ---- carrying out a move ----

    def carry_out(self, kind: str, words: list[str]) -> None:
        if kind in SKIPS:
            self.phase = NEXT_PHASE[self.phase]
        elif kind == "place":
            self.place(parse_cell(words[0]), int(words[1]))
        elif kind == "move":
            self.travel(parse_cell(words[0]), None, parse_cell(words[1]))
        elif kind in ("capture", "chain"):
            self.travel(parse_cell(words[0]), parse_cell(words[1]), parse_cell(words[2]))
        elif kind == "recover":
            self.recover(parse_cell(words[0]), parse_cell(words[1]), words[2])
        elif kind == "line":
            self.process_line(parse_cells(words[0]), words[1])
        elif kind == "region":
            self.acted = True
            self.at.take_region(parse_cells(words[0]), self.seat)
            self.owed = "extract" if self.recovered else "cap"
        elif kind in ("eliminate", "extract", "forced"):
            self.pay(kind, parse_cell(words[0]))
        if self.seat == 2:
            self.swap_open = False

    def place(self, cell: Cell, count: int) -> None:
        self.at.hand[self.seat] -= count
        self.at.stacks[cell] = self.at.stacks.get(cell, []) + [self.seat] * count
        self.moving = cell
        self.acted = True
        self.phase = "movement"

    def travel(self, start: Cell, target: Cell | None, end: Cell) -> None:
        """§5: then more captures by the same stack, or on to the lines."""
        self.at.travel(start, target, end, self.seat)
        self.acted = True
        self.moving = end
        if end in self.at.controlled(self.seat) and self.at.captures_of(end):
            self.phase = "capture" if target is None else "chain_capture"
        else:
            self.phase = "line_processing"

    def recover(self, start: Cell, end: Cell, kind: str) -> None:
        """§6."""
        self.recovered = self.acted = True
        del self.at.markers[start]
        if kind == "strike":
            self.at.eliminate_ring(end, -1, self.seat)
        else:
            self.at.markers[end] = self.seat
        self.slid_to = end
        self.owed = "line" if kind == "line" else "extract"

    def process_line(self, line: Line, choice: str) -> None:
        """§7; within a recovery the price of a whole line is an extraction (§6)."""
        for cell in line if choice == "all" else parse_cells(choice):
            self.at.collapse(cell, self.seat)
        if self.phase == "movement":
            self.owed = "extract" if choice == "all" else ""
            self.phase = "movement" if self.owed else "line_processing"
        elif choice == "all" and self.at.controlled(self.seat):
            self.owed = "ring"

    def pay(self, kind: str, cell: Cell) -> None:
        """The price of a line (§7), a region (§8) or a recovery (§6), or of doing nothing (§9)."""
        if kind == "extract":
            self.at.extract(cell, self.seat)
        elif self.owed == "ring":
            self.at.eliminate_ring(cell, -1, self.seat)
        else:
            self.at.eliminate_cap(cell, self.seat)
        self.owed = ""
        if self.phase == "movement":
            self.phase = "line_processing"
        elif kind == "forced":
            self.end_turn()

    # ---- the end of a turn and of the game (§10) ----

    def end_turn(self) -> None:
        for seat in self.seats:
            if not self.at.alive(seat):
                self.gone.setdefault(seat, self.turn)
        self.check_victory()
        if self.reason is not None:
            return
        seat = self.seat % len(self.seats) + 1
        while not self.at.alive(seat):
            seat = seat % len(self.seats) + 1
        self.begin_turn(seat)

    def win(self, seat: int, reason: str) -> None:
        self.winner, self.reason, self.phase = seat, reason, "game_over"

    def check_victory(self) -> None:
        """§10.1 to §10.4, in their order."""
        board, count = self.at.board, len(self.seats)
        threshold = round(board.rings * (2 + count - 1) / 3)
        for seat in self.seats:
            if self.at.eliminated[seat] >= threshold:
                return self.win(seat, "ring_elimination")
        for seat in self.seats:
            mine = self.at.territory(seat)
            others = len(self.at.collapsed) - mine
            if mine >= len(board.cells) // count + 1 and mine > others:
                return self.win(seat, "territory_control")
        controllers = {rings[-1] for rings in self.at.stacks.values()}
        if len(controllers) == 1:
            (last,) = controllers
            if not any(self.at.alive(seat) for seat in self.seats if seat != last):
                return self.win(last, "last_player_standing")
        if not controllers and not any(self.at.can_place(seat) for seat in self.seats):
            return self.stalemate()
        return None

    def stalemate(self) -> None:
        """§10.4."""
        for seat in self.seats:
            self.at.eliminated[seat] += self.at.hand[seat]
            self.at.hand[seat] = 0
        best = max(
            self.seats,
            key=lambda seat: (
                self.at.territory(seat),
                self.at.eliminated[seat],
                self.at.marker_count(seat),
                seat == self.last_changer,
                -seat,
            ),
        )
        self.win(best, "stalemate")

    def round_starts_turn(self) -> None:
        """§10.5, at the start of every turn."""
        alive = [seat for seat in self.seats if self.at.alive(seat)]
        if self.first_seat not in alive:
            self.first_seat = self.seat
            self.record = {}
            if self.streak_seat not in alive:
                self.streak_seat, self.streak = None, 0
        elif self.seat == self.first_seat and self.record:
            active = [seat for seat in alive if self.record.get(seat)]
            if len(active) == 1:
                self.streak = self.streak + 1 if active[0] == self.streak_seat else 1
                self.streak_seat = active[0]
            else:
                self.streak_seat, self.streak = None, 0
            self.record = {}
        self.record[self.seat] = self.at.real_action(self.seat)
        holds = self.streak >= 3 and self.streak_seat == self.seat and self.record[self.seat]
        if holds and not any(self.at.real_action(seat) for seat in alive if seat != self.seat):
            self.win(self.seat, "last_player_standing")
