"""A coordinator to be killed: `python -m tests.fleet.campaign_child FOLDER WANTED`.

FOLDER/hosts.yaml names the hosts, and FOLDER/runs is where their files go.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ringrift_cli.fleet import campaign
from ringrift_cli.fleet.hosts import load
from ringrift_cli.fleet.pull import pull_over
from ringrift_cli.fleet.ssh import open_link
from tests.fleet import goods
from tests.fleet.campaigning import LOOP


def main(folder: Path) -> None:
    state, destination = folder / "runs" / "fleet", goods.destination(folder / "runs")
    campaign.POLL = 0.1
    campaign.run(
        campaign.Campaign(
            "hex8-2p-c00001",
            LOOP,
            ["selfplay", "--board", "hex8", "--hours", "6"],
            lambda host, link: None,
            lambda host, client, names: pull_over(client, state, destination, roots=names),
            lambda: False,
            lambda: False,
        ),
        load(folder / "hosts.yaml").hosts,
        lambda host, deadline: open_link(host, state, deadline_s=deadline),
        state,
        lambda part: None,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
