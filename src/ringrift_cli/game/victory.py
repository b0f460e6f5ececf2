"""The end of a turn and of the game (rules section 10)."""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import movement, placement
from ringrift_cli.game.jit import popcount, rule
from ringrift_cli.game.topology import IntArray


@rule()
def is_alive(S: IntArray, p: int) -> bool:
    """Whether `p` has a ring in hand or on the board."""
    return S[L.HAND + p] + S[L.RINGS + p] > 0


@rule()
def has_real_action(T: IntArray, S: IntArray, p: int) -> bool:
    """Whether `p` has a legal move, capture or placement in this position."""
    return movement.any_stack_can_move(T, S, p) or placement.has_placement(T, S, p)


@rule()
def finish(S: IntArray, winner: int, reason: int) -> None:
    S[L.WINNER] = winner
    S[L.REASON] = reason
    S[L.PHASE] = L.OVER


@rule()
def controls_all_alone(T: IntArray, S: IntArray) -> int:
    """The player who controls every stack while all others have no ring anywhere; -1."""
    lone = -1
    for p in range(T[L.T_PLAYERS]):
        if is_alive(S, p):
            if lone >= 0:
                return -1
            lone = p
    if lone >= 0 and S[L.STACKS + lone] == 0:
        return -1
    return lone


@rule()
def is_stalemate(T: IntArray, S: IntArray) -> bool:
    """No stack on the board, and nobody can place."""
    for p in range(T[L.T_PLAYERS]):
        if S[L.STACKS + p] > 0:
            return False
    for p in range(T[L.T_PLAYERS]):
        if placement.has_placement(T, S, p):
            return False
    return True


@rule()
def keep_best(S: IntArray, players: int, candidates: int, at: int) -> int:
    """Of a bit mask of players, those with the greatest of the values from `at` on."""
    best = -1
    kept = 0
    for p in range(players):
        if candidates >> p & 1:
            if S[at + p] > best:
                best, kept = S[at + p], 0
            if S[at + p] == best:
                kept |= 1 << p
    return kept


@rule()
def stalemate_winner(T: IntArray, S: IntArray) -> int:
    """Each tie-break is asked only among those still tied. Hands are already counted."""
    players = T[L.T_PLAYERS]
    tied = (1 << players) - 1
    tied = keep_best(S, players, tied, L.TERRITORY)
    tied = keep_best(S, players, tied, L.ELIMINATED)
    tied = keep_best(S, players, tied, L.MARKERS)
    last = S[L.LAST_ACTOR]
    if last >= 0 and tied >> last & 1:
        return last
    winner = 0
    while not tied >> winner & 1:
        winner += 1
    return winner


@rule()
def ends_game(T: IntArray, S: IntArray) -> bool:
    """The checks at the end of a turn, in their order; ends the game if one holds."""
    players = T[L.T_PLAYERS]
    for q in range(players):
        if S[L.OUT + q] == 0 and not is_alive(S, q):
            S[L.OUT + q] = S[L.TURN]
    for q in range(players):
        if S[L.ELIMINATED + q] >= T[L.T_ELIMINATION]:
            finish(S, q, L.RING_ELIMINATION)
            return True
    everyone = 0
    for q in range(players):
        everyone += S[L.TERRITORY + q]
    for q in range(players):
        own = S[L.TERRITORY + q]
        if own >= T[L.T_TERRITORY] and own > everyone - own:
            finish(S, q, L.TERRITORY_CONTROL)
            return True
    lone = controls_all_alone(T, S)
    if lone >= 0:
        finish(S, lone, L.LAST_PLAYER_STANDING)
        return True
    if is_stalemate(T, S):
        for q in range(players):
            S[L.ELIMINATED + q] += S[L.HAND + q]
            S[L.HAND + q] = 0
        finish(S, stalemate_winner(T, S), L.STALEMATE)
        return True
    return False


@rule()
def close_round(T: IntArray, S: IntArray, alive: int) -> None:
    """Lengthens or clears the streak when the round's first seat is to move again."""
    active = S[L.ACTIVE] & alive
    if popcount(active) != 1:
        S[L.HOLDER] = -1
        S[L.STREAK] = 0
        return
    holder = 0
    while not active >> holder & 1:
        holder += 1
    S[L.STREAK] = S[L.STREAK] + 1 if S[L.HOLDER] == holder else 1
    S[L.HOLDER] = holder


@rule()
def begin_turn(T: IntArray, S: IntArray) -> None:
    """The book-keeping of rounds at the start of the mover's turn; it may end the game."""
    p, players = S[L.SEAT], T[L.T_PLAYERS]
    alive = 0
    for q in range(players):
        if is_alive(S, q):
            alive |= 1 << q
    first = S[L.FIRST]
    if first < 0 or not alive >> first & 1:
        S[L.FIRST] = p
        S[L.SEEN] = 0
        S[L.ACTIVE] = 0
        if S[L.HOLDER] >= 0 and not alive >> S[L.HOLDER] & 1:
            S[L.HOLDER] = -1
            S[L.STREAK] = 0
    elif first == p and S[L.SEEN] != 0:
        close_round(T, S, alive)
        S[L.SEEN] = 0
        S[L.ACTIVE] = 0
    S[L.MOBILE] = movement.any_stack_can_move(T, S, p)
    real = S[L.MOBILE] != 0 or placement.has_placement(T, S, p)
    S[L.SEEN] |= 1 << p
    if real:
        S[L.ACTIVE] |= 1 << p
    if S[L.STREAK] < 3 or S[L.HOLDER] != p or not real:
        return
    for q in range(players):
        if q != p and alive >> q & 1 and has_real_action(T, S, q):
            return
    finish(S, p, L.LAST_PLAYER_STANDING)


@rule()
def end_turn(T: IntArray, S: IntArray) -> None:
    """Ends the mover's turn: the game is over, or the next seat with a ring begins its turn."""
    if ends_game(T, S):
        return
    p = S[L.SEAT]
    while True:
        p = p + 1 if p + 1 < T[L.T_PLAYERS] else 0
        if is_alive(S, p):
            break
    S[L.SEAT] = p
    S[L.TURN] += 1
    S[L.PHASE] = L.PLACEMENT
    S[L.FOCUS] = -1
    S[L.CHANGED] = 0
    S[L.RECOVERED] = 0
    begin_turn(T, S)
