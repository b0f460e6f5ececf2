"""Where everything lies: offsets into the table row `T`, the game row `S` and the workspace `W`.

All three are flat int32 arrays. `T` is constant for a board and player count (topology.py), `S` is
one game, `W` is scratch whose contents mean nothing between calls.

Cell word `S[T[T_S_CELL] + cell]`: bits 0-1 owner, bits 2-3 kind, bits 4-11 cap, bits 12- height
(cap and height only of stacks; the owner of a stack is its top ring's).

Rings are numbered: ring i belongs to player i // rings_per_player, and a player's rings enter play
in that order. A stack is a linked list of rings: `ENDS` holds top | bottom << 16, `BELOW` the ring
below each (-1 under the lowest).
"""

from __future__ import annotations

MAX_PLAYERS = 4
PAD = 4
RULES = 2  # version of the rules that new games follow; see version.py
FULL = 0x7FFFFFFF  # every bit of a word

# ---- T: numbers ---------------------------------------------------------------------------------
T_CELLS = 0
T_PLAYERS = 1
T_RINGS = 2  # per player
T_LINE = 3  # line length
T_AXES = 4  # directions are twice as many
T_ROWS = 5
T_MAX_DISTANCE = 6
T_HEX = 7
T_GROWS = 8  # whether a region's border grows
T_ELIMINATION = 9  # eliminated rings that win
T_TERRITORY = 10  # least territory that may win
T_STRIDE = 11  # words of one plane of row words: rows + 2 PAD
T_WORDS = 12  # line words of all axes
T_ROW_SIZE = 13  # length of S
T_MAX_LEGAL = 14  # no position has more legal actions
# offsets into S
T_S_CELL = 15  # [cells] cell words
T_S_BLOCK = 16  # [words] line words: stack, collapsed or off the board
T_S_MARKER = 17  # [players, stride] row words: markers of each player
T_S_CONTROL = 18  # [players, stride] row words: stacks each player controls
T_S_COLLAPSED = 35  # [stride] row words: collapsed or off the board
T_S_CAP = 19  # [3, stride] row words: stacks with a cap of at most 1, 2, 3
T_S_ENDS = 20  # [cells] top | bottom << 16
T_S_BELOW = 21  # [players * rings]
# first action of each kind
T_PLACE = 22  # + (n - 1) * cells + cell
T_MOVE = 23  # + (direction * max_distance + distance - 1) * cells + from
T_CAPTURE = 24  # + (direction * (max_distance - 1) + distance - 2) * cells + from
T_RECOVER = 25  # + (option * directions + direction) * cells + from
T_LINE_ALL = 26  # + axis * cells + first cell of the line
T_LINE_PART = 27  # + axis * cells + first of the cells to collapse
T_ELIMINATE = 28  # + cell
T_EXTRACT = 29  # + cell
T_REGION = 30  # + border * cells + lowest cell; border 0: none, 1 + player otherwise
T_FORCED = 31  # + cell
T_GLOBAL = 32  # + SKIP_PLACEMENT ... SWAP
T_ACTIONS = 33
T_PLANES = 34
T_RULES = 36  # version of the rules
# ---- T: tables, with room for the largest board -------------------------------------------------
T_DX = 40  # [8]
T_DY = 48  # [8]
T_ROW_BASE = 56  # [25] cell = row base + column
T_ROW_MASK = 88  # [stride] row words of the board
T_RING_OWNER = 128  # [384]
T_COLUMN = 512  # [cells]
T_ROW = 992  # [cells]
T_WORD = 1472  # [cells, 4] line word of each axis
T_BIT = 3392  # [cells, 4] bit in it
T_REACH = 5312  # [cells, 8] cells to the edge
T_AROUND = 9152  # [256] what the eight cells around one say of it: KEEPS_JOINED | TOUCHES
TABLE_SIZE = 9408

KEEPS_JOINED = 1  # the open cells around touch each other without this one
TOUCHES = 2  # at least one neighbour is open

# ---- actions without a cell ---------------------------------------------------------------------
SKIP_PLACEMENT = 0
SKIP_CAPTURE = 1
SKIP_RECOVERY = 2
SKIP_TERRITORY = 3
SWAP = 4
GLOBALS = 5

# options of a recovery
LINE_SLIDE = 0
FALLBACK = 1
STRIKE = 2

# ---- S: header ----------------------------------------------------------------------------------
PHASE = 0
SEAT = 1  # whose turn it is, from 0
TURN = 2  # from 1
FOCUS = 3  # the stack that must move or capture; the recovered marker; -1
PENDING = 4
CHANGED = 5  # whether the mover did what spares it a forced elimination this turn (section 9)
RECOVERED = 6  # whether the mover recovered this turn
PIE = 7  # PIE_OFF, PIE_ON, PIE_SWAPPED
FIRST = 8  # first seat of the round, -1
SEEN = 9  # seats recorded in the round, bit mask
ACTIVE = 10  # of these, seats that had a real action
HOLDER = 11  # of the streak, -1
STREAK = 12
WINNER = 13  # -1
REASON = 14
LAST_ACTOR = 15  # last seat that changed the board, -1
PLY = 16  # decisions so far
MOBILE = 17  # whether the mover could move or capture when the turn began
JOINED = 18  # bit mask of the borders known to cut nothing off (territory.py)
HAND = 20  # [4] rings in hand
ELIMINATED = 24  # [4] rings credited
TERRITORY = 28  # [4] cells
RINGS = 32  # [4] own rings on the board
MARKERS = 36  # [4]
STACKS = 40  # [4] stacks controlled
OUT = 44  # [4] turn that left the player without any ring; 0
HEADER = 48

# phases
PLACEMENT = 0
MOVEMENT = 1
CAPTURE = 2
CHAIN = 3
LINES = 4
REGIONS = 5
FORCED = 6
OVER = 7

# what must be settled before the phase goes on
NOTHING = 0
RING_PRICE = 1  # the top ring of a stack the mover controls
CAP_PRICE = 2  # the cap of a stack the mover controls
EXTRACTION = 3  # from any stack with a ring of the mover
BURIED_EXTRACTION = 4  # from a stack with a buried ring of the mover
LINE_CHOICE = 5  # a line through FOCUS, and how to collapse it

PIE_OFF = 0
PIE_ON = 1
PIE_SWAPPED = 2

# reasons
NO_REASON = 0
RING_ELIMINATION = 1
TERRITORY_CONTROL = 2
LAST_PLAYER_STANDING = 3
STALEMATE = 4

# kinds of cell
EMPTY = 0
MARKER = 1
COLLAPSED = 2
STACK = 3

# ---- W: workspace, planes of row words ----------------------------------------------------------
W_PASS = 0  # cells a region may contain
W_FOUND = 40  # the component being filled
W_REST = 80  # passable cells of no component yet
W_BORDER = 120  # markers that fall with a region
WORK = 160
