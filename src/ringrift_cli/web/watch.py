"""The page of a run, live from its files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from html import escape
from typing import Any

from ringrift_cli.errors import RingriftError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.cycle import Folders
from ringrift_cli.loop.fleet_context import host_costs
from ringrift_cli.loop.journal import Journal
from ringrift_cli.loop.report import html_table, sections, style
from ringrift_cli.loop.status import champion_state, step_text
from ringrift_cli.loop.summary import line_of
from ringrift_cli.review.sources import GameFile
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched
from ringrift_cli.text import ago

POLL_S = 1.0
REFRESH_S = 5.0  # of the times in the head
VERDICTS = 20
MAX_PAGES = 32  # at once; others wait

Page = dict[str, str]


class WatchedRun:
    """A run of the learning loop that pages watch; they share what was read."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = "/".join(config.folder.parts[-2:])
        self._stamp: tuple[Any, ...] = ()
        self._sections = ""
        self.is_closed = False  # ends the streams
        self._files: dict[tuple[Any, ...], GameFile] = {}
        self._reading, self._room = asyncio.Lock(), asyncio.Semaphore(MAX_PAGES)

    async def changes(self) -> AsyncIterator[Page]:
        """The style and sections of the page, then what changes of them."""
        async with self._room:
            yield {"name": self.name, "style": style()}
            shown, waited = "", REFRESH_S
            while not self.is_closed:
                if self._stamp != self._stamp_now() or waited >= REFRESH_S:
                    async with self._reading:
                        head, body = await asyncio.to_thread(self._read)
                    yield {"head": head, **({"body": body} if body != shown else {})}
                    shown, waited = body, 0.0
                await asyncio.sleep(POLL_S)
                waited += POLL_S

    def _stamp_now(self) -> tuple[Any, ...]:
        folder = self.config.folder
        paths = (folder / cycle_journal.JOURNAL, folder / cycle_journal.LOCK)
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)

    def _read(self) -> tuple[str, str]:
        """Head and sections; the latter only after a change."""
        stamp = self._stamp_now()
        try:
            journal = cycle_journal.read(self.config.folder)
            if stamp != self._stamp and journal.finished:
                parts = [*sections(self.config, journal.finished), _verdicts(journal.finished)]
                self._sections = "\n".join(filter(None, parts))
            head = self._head(journal)
        except (RingriftError, OSError) as error:
            return f'<p class="alarm">{escape(str(error))}</p>', self._sections
        self._stamp = stamp
        return head, self._sections

    def _head(self, journal: Journal) -> str:
        records = journal.finished
        last = records[-1] if records else None
        champion = champion_state(self.config, records)
        facts = {
            "At work": cycle_journal.at_work(self.config.folder) or "no process",
            "Now": step_text(journal),
            "Champion": f"{champion.identity}, {champion.event} {ago(champion.since)}"
            if champion
            else "none yet",
        }
        ended = f"Last: {line_of(last)}." if last else "No cycle has ended yet."
        items = (f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
        alarms = "".join(
            f'<p class="alarm" role="alert">{escape(alarm["sentence"])}</p>'
            for alarm in (last["alarms"] if last else [])
        )
        facts_html = f'<dl class="facts">{"".join(items)}</dl><p>{escape(ended)}</p>'
        return alarms + facts_html + self._hosts(last)

    def _hosts(self, last: Mapping[str, Any] | None) -> str:
        """Games and cost by host; empty where all is played here."""
        costs, played = host_costs(self.config), last["selfplay"] if last else {}
        hosts, absent = played.get("hosts", {}), played.get("absent", {})
        rows = []
        for name in sorted({*costs, *absent, *(n for n, row in hosts.items() if not row["here"])}):
            today, total = costs.get(name, (0.0, 0.0))
            games = str(hosts[name]["games"]) if name in hosts else "-"
            rows.append([name, games, f"${today:.2f}", f"${total:.2f}", absent.get(name, "")])
        head = ("host", "games, last cycle", "today", "in all", "problem")
        return html_table(head, rows) if rows else ""

    def files(self) -> list[GameFile]:
        """The newest shard of self-play, and the games of the gate."""
        folders = Folders(self.config.folder)
        paths = [folders.results] if folders.results.exists() else []
        shards = searched(folders.data) if folders.data.exists() else []
        if shards:
            newest = max(shards, key=lambda entry: entry.time)
            paths.append(folders.data / newest.file)
        found = {}
        for path in paths:
            key = (path, path.stat().st_mtime_ns)
            found[key] = self._files.get(key) or GameFile(path)
        self._files = found
        return list(found.values())


def _verdicts(records: Sequence[Mapping[str, Any]]) -> str:
    """Verdict and reasons of the latest candidates."""
    rows = [
        [str(record["cycle"]), record["gate"]["verdict"], " ".join(record["gate"]["reasons"])]
        for record in reversed(records[-VERDICTS:])
    ]
    return "<h2>Verdicts and their reasons</h2>" + html_table(("cycle", "verdict", "reasons"), rows)
