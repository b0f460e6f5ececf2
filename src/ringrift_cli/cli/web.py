"""`ringrift web`: play, analyse and watch in the browser; a JSON interface for other programs."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.engine import check_spec
from ringrift_cli.cli.options import JsonOption, QuietOption, file_path, number_option
from ringrift_cli.cli.output import Output, stop_requested, stopped
from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from ringrift_cli.review.sources import GameFile
    from ringrift_cli.web.safety import Access
    from ringrift_cli.web.watch import WatchedRun

PORT = 8642
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEB_PACKAGES = ("starlette", "uvicorn")

WhatArgument = Annotated[
    list[Any] | None,
    typer.Argument(
        metavar="RUN|FILE",
        parser=file_path,
        help="Folder of a run to watch, or a record, shard, results file or saved game to analyse.",
        show_default=False,
    ),
]
HostOption = Annotated[
    str,
    typer.Option(
        "--host", metavar="ADDRESS", help="Address to listen on.", envvar="RINGRIFT_WEB_HOST"
    ),
]
PortOption = Annotated[
    int,
    number_option(
        "--port",
        "Port to listen on; 0 takes a free one.",
        least=0,
        most=65535,
        envvar="RINGRIFT_WEB_PORT",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        help="Secret that requests must carry.",
        envvar="RINGRIFT_WEB_TOKEN",
        show_default="none on a loopback address, else drawn",
    ),
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Name by which the server may be addressed."),
]
AllowOriginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin",
        metavar="ORIGIN",
        help="Website whose pages may call /api/, as https://example.org.",
    ),
]
PlayerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--player",
        metavar="SPEC",
        help="Player to offer besides levels and models; repeatable.",
        autocompletion=completion.players,
    ),
]


def web(
    what: WhatArgument = None,
    host: HostOption = LOOPBACK[0],
    port: PortOption = PORT,
    token: TokenOption = None,
    allow_host: AllowHostOption = None,
    allow_origin: AllowOriginOption = None,
    player: PlayerOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Play, analyse and watch runs in the browser, and serve moves as JSON.

    Only this machine can connect unless --host says otherwise; then a token is needed, which the
    printed address contains. Browsers choose players from a list and name no files.

    \b
    Examples:
      ringrift web
      ringrift web runs/hex8-2p games.rrg --port 9000
      ringrift web --host 0.0.0.0 --allow-host play.example.org
    """
    out = Output(as_json=as_json, quiet=quiet)
    _check_packages()
    access = _access(host, token, allow_host or [], allow_origin or [])
    out.compile_players()
    from ringrift_cli.web.app import Site
    from ringrift_cli.web.server import listen, serve, server_of

    for spec in player or ():
        check_spec(spec)
    runs, files = _sources(what or [])
    site = Site(access, tuple(player or ()), files, runs)
    listening = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    address = f"http://{name}:{listening.getsockname()[1]}/"
    if access.token is not None:
        address += f"?token={access.token}"
    document = {"address": address, "runs": [run.name for run in runs]}
    server = server_of(site)
    out.result(document, f"Serving on {address} until Ctrl-C.")
    sys.stdout.flush()
    with stop_requested() as signalled:  # the server passes signals on when it has ended
        serve(server, listening)
    if signalled():
        raise stopped(signalled())


def _check_packages() -> None:
    """`UsageError` if the extra is not installed."""
    import importlib.util

    missing = [name for name in WEB_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"ringrift web needs {' and '.join(missing)}, which are not installed.",
            hint="pip install 'ringrift[web]'",
        )


def _access(host: str, token: str | None, hosts: list[str], origins: list[str]) -> Access:
    """Whom the server answers; `UsageError` for a website that is no origin."""
    import secrets

    from ringrift_cli.web.safety import Access

    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise UsageError(
                f"--allow-origin {origin}: expected scheme and host, as https://example.org."
            )
    local = host in LOOPBACK
    names = {*LOOPBACK, *hosts, host.lower(), *(() if local else (socket.gethostname().lower(),))}
    if token is None and not local:
        token = secrets.token_urlsafe(24)
    return Access(frozenset(names), not local, token or None, frozenset(origins))


def _sources(paths: list[Path]) -> tuple[list[WatchedRun], list[GameFile]]:
    """Runs and files of games; `UsageError` or `RecordError` for anything else."""
    from ringrift_cli.loop.status import settings_of
    from ringrift_cli.review.sources import GameFile
    from ringrift_cli.web.watch import WatchedRun

    runs, files = [], []
    for path in paths:
        if path.is_dir():
            config = settings_of(path)
            if config is None:
                raise UsageError(
                    f"{path} is not a run: it has no settings.yaml.", hint="ringrift status"
                )
            runs.append(WatchedRun(config))
        else:
            files.append(GameFile(path))
    return runs, files
