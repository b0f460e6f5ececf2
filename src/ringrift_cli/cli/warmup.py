"""`ringrift warmup`: compilation of everything that commands would compile at their first call."""

from __future__ import annotations

import time

from ringrift_cli.cli.options import JsonOption, QuietOption, VerboseOption
from ringrift_cli.cli.output import Output


def warmup(
    as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False
) -> None:
    """Compile the rules, the networks' functions and the players for this machine.

    Otherwise the first command that needs them does so. It takes a minute or two, once for each
    version of ringrift and kind of processor. Several processes at once compile once: the others
    wait. RINGRIFT_CACHE_DIR moves the folder of the compiled functions.

    \b
    Examples:
      ringrift warmup
      ringrift warmup --verbose
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    start = time.monotonic()
    out.compile_players()
    out.compile_network()
    from ringrift_cli.game.jit import cache_root

    spent = round(time.monotonic() - start, 1)
    document = {"folder": cache_root(), "seconds": spent}
    out.result(document, f"Everything is compiled, in {cache_root()}.")
