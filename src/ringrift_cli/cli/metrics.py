"""`ringrift metrics`: runs and hosts as metrics for Prometheus."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.fleet_options import HostsOption, fleet_context
from ringrift_cli.cli.options import (
    ConfigOption,
    ForceOption,
    JsonOption,
    QuietOption,
    check_outputs,
    file_path,
    number_option,
    path_option,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import load

if TYPE_CHECKING:
    from ringrift_cli.loop.fleet_context import FleetContext
    from ringrift_cli.observe.metrics import HostRow, RunsAndHosts

LOOPBACK = "127.0.0.1"
MOST_PORT = 65_535
TICK_S = 0.2
MADE = "# HELP ringrift_"  # in every file that this command made

RunsArgument = Annotated[
    list[Any] | None,
    typer.Argument(
        metavar="[RUN]…",
        parser=file_path,
        help="Folders of runs; default: all in run.folder.",
        show_default=False,
    ),
]
TextfileOption = Annotated[
    Path | None,
    path_option("--textfile", "File to write once, for node_exporter.", metavar="FILE.prom"),
]
ServeOption = Annotated[
    int | None,
    number_option(
        "--serve", "Port of a server of /metrics, until Ctrl-C.", least=0, most=MOST_PORT,
        metavar="PORT",
    ),
]  # fmt: skip
AddressOption = Annotated[
    str, typer.Option("--address", metavar="ADDRESS", help="Address to listen on.")
]
FleetOption = Annotated[bool, typer.Option("--fleet", help="Also the hosts of hosts.yaml.")]


def metrics(
    runs: RunsArgument = None,
    textfile: TextfileOption = None,
    serve: ServeOption = None,
    address: AddressOption = LOOPBACK,
    fleet: FleetOption = False,
    hosts_file: HostsOption = None,
    config_file: ConfigOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give Prometheus the state of runs and hosts, as a file or from a server.

    Of runs: the champion's Elo, games per hour, positions, losses, age of the data, alarms. Of
    hosts, with --fleet: GPU use, memory, temperature and power, jobs, cost. Only this machine can
    connect unless --address is given; the pages have no password.

    \b
    Examples:
      ringrift metrics --serve 9105
      ringrift metrics --fleet --serve 9105 --address 0.0.0.0
      ringrift metrics runs/hex8-2p --textfile ringrift.prom
    """
    out = Output(as_json=as_json, quiet=quiet)
    if (textfile is None) == (serve is None):
        raise UsageError("Expected --textfile FILE or --serve PORT.", hint="--serve 9105")
    if importlib.util.find_spec("prometheus_client") is None:
        raise UsageError(
            "ringrift metrics needs prometheus_client, which is not installed.",
            hint="pip install 'ringrift[metrics]'",
        )
    check_outputs(textfile, force=force, mark=MADE)
    config = load(config_file)
    context = fleet_context(hosts_file, config) if fleet else None
    from ringrift_cli.observe.metrics import RunsAndHosts, write_text

    folder = Path(config.run.folder)

    def find() -> Sequence[Path]:
        return runs or sorted(path.parent for path in folder.glob("*/settings.yaml"))

    collector = RunsAndHosts(find, None if context is None else _hosts(context))
    if textfile is not None:
        count = write_text(collector, textfile)
        out.result({"file": textfile, "values": count}, f"{counted(count, 'value')}: {textfile}")
    elif serve is not None:
        _serve(out, collector, address, serve)


def _hosts(context: FleetContext) -> Callable[[], Sequence[HostRow]]:
    def rows() -> Sequence[HostRow]:
        found: Sequence[HostRow] = context.reread().document()["hosts"]
        return found

    return rows


def _serve(out: Output, collector: RunsAndHosts, address: str, port: int) -> None:
    """Serves until a signal, and asks the hosts every minute."""
    from ringrift_cli.observe.metrics import HOSTS_EVERY_S, listen

    server = listen(collector, address, port)
    where = f"http://{address}:{server.server_port}/metrics"
    with stop_requested() as asked:
        out.result({"address": where}, f"Serving {where} until Ctrl-C.")
        due = 0.0
        while not asked():
            if time.monotonic() >= due:
                collector.ask_hosts()
                due = time.monotonic() + HOSTS_EVERY_S
            time.sleep(TICK_S)
    server.shutdown()
    server.server_close()
    raise stopped(asked())
