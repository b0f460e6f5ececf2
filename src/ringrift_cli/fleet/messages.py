"""Message schemas of the agent protocol, validated at both ends.

A request has `op`, the last frame of its reply has `end` ("ok" or "error"); frames before that have
neither.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct, field

from ringrift_cli.fleet.wire import MOST_BYTES
from ringrift_cli.store.manifest import ShardEntry

MOST = 1 << 53  # integers below are exact as floats
TAKEN = "taken"  # kind of the refusal of a job whose GPUs another one holds
LEASE, GRACE = 90.0, 30.0  # default lease and grace of a job in seconds

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MOST)]
Whole: TypeAlias = Annotated[int, Meta(ge=-MOST, le=MOST)]
Number: TypeAlias = Annotated[float, Meta(ge=-MOST, le=MOST)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=MOST)]
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Text: TypeAlias = Annotated[str, Meta(pattern=r"^[^\0]*\Z")]
JOB_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
JobName: TypeAlias = Annotated[str, Meta(pattern=JOB_NAME.pattern)]
Variable: TypeAlias = Annotated[str, Meta(pattern=r"^[^\0=]+\Z")]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")]


class Record(Struct, kw_only=True, forbid_unknown_fields=True):
    """Base class of all messages and their parts."""

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


class Reply(Record, tag_field="end", tag="ok"):
    """The last frame of a successful reply."""


class Done(Reply):
    """A successful reply without data."""


class Failed(Record, tag_field="end", tag="error"):
    """The last frame of a failed reply; `kind` is machine-readable."""

    kind: str
    sentence: str


R = TypeVar("R", bound=Reply)


class Request(Record, Generic[R], tag_field="op"):
    """A request whose reply is R, preceded by any number of `part` and byte frames."""

    part: ClassVar[type[Record] | None] = None


# ---- jobs ----------------------------------------------------------------------------------------


class JobMeta(Record, omit_defaults=True):
    """Metadata of a job; all but `gpus` is stored by the host and not interpreted."""

    gpus: list[Count] = []  # indices as nvidia-smi lists them; MIG slices are counted on
    host: str = ""
    board: str | None = None  # if the command line does not name it
    loop: str | None = None
    campaign: str | None = None
    retries: str | None = None  # id of the job that it retries


class Job(Record):
    """A program to run on a host, with paths relative to the work folder."""

    id: JobName
    argv: Annotated[list[Text], Meta(min_length=1)]  # "ringrift" is the deployed version
    env: dict[Variable, Text] = {}
    cwd: Text = "."
    out: Text | None = None  # folder whose manifest counts its games; None: jobs/ID/out
    lease_s: Annotated[float, Meta(ge=1, le=MOST)] = LEASE  # lost after this time without heartbeat
    grace_s: Seconds = GRACE  # between SIGTERM and SIGKILL
    exclusive: bool = False  # holds its GPUs, without any the CPU, against other such jobs
    meta: JobMeta = field(default_factory=JobMeta)


class JobState(Record):
    """State of a job; times are unix seconds of the host's clock."""

    id: JobName
    state: Literal["starting", "running", "done", "failed", "stopped", "lost"] = "starting"
    code: Whole | None = None
    signal: Whole | None = None
    started: Number | None = None
    ended: Number | None = None
    seconds: Number = 0.0  # running time
    heartbeat_age_s: Number | None = None
    over_s: Number | None = None  # since it was last alive; None: it is alive
    pid: Whole | None = None
    games: Count = 0
    shards: Count = 0
    bytes_log: Count = 0
    meta: JobMeta = field(default_factory=JobMeta)
    argv: list[str] = []
    error: str | None = None
    dismissed: bool = False  # whether somebody has seen how it ended
    elsewhere: str | None = None  # another host that shares the work folder and started it

    @property
    def here(self) -> bool:
        """Whether the job is active on the host that reports it."""
        return self.active and self.elsewhere is None

    @property
    def active(self) -> bool:
        """Whether the job is starting or running."""
        return self.state in ("starting", "running")


class Started(Reply):
    """`started` is false if the identical job exists already."""

    started: bool
    state: JobState


class Start(Request[Started], tag="start"):
    """Starts a job (idempotent)."""

    job: Job


class JobStates(Reply):
    jobs: list[JobState]
    total: Count = 0  # that were asked for; more than a page may hold


class Jobs(Request[JobStates], tag="jobs", omit_defaults=True):
    """States of the given jobs; None: of all, active and then newest first, by pages.

    Unknown jobs are left out.
    """

    ids: list[JobName] | None = None
    states: list[str] = []  # empty: any
    loop: str | None = None  # ended jobs of this loop only
    skip: Count = 0
    most: Count = 1000


class Dismiss(Request[JobStates], tag="dismiss"):
    """Marks ended jobs as seen, so that they are no problem of the host any more."""

    ids: list[JobName]


class Cleaned(Reply):
    jobs: list[JobName] = []  # removed
    code: list[str] = []  # folders of other versions, removed
    kept: dict[JobName, str] = {}  # reasons, of some
    bytes: Count = 0


class Clean(Request[Cleaned], tag="clean"):
    """Removes ended jobs in these states; with `dry_run` it only says which."""

    keep: list[JobName]  # because games of theirs are not at the other end
    states: list[str]
    older_s: Seconds = 0.0  # since they ended
    only: list[JobName] | None = None
    results: bool = False  # also jobs whose results are more than games
    code: bool = False  # also code of other versions
    dry_run: bool = False


class Stopping(Reply):
    state: JobState


class Stop(Request[Stopping], tag="stop"):
    """Asks a job to stop; it is killed after `grace_s`, or at once with `insist`."""

    id: JobName
    grace_s: Seconds | None = None
    insist: bool = False


class LogEnd(Reply):
    offset: Count  # end of the bytes that were sent
    size: Count
    state: JobState  # before the log was read


class ReadLog(Request[LogEnd], tag="log"):
    """Up to `most` bytes of a job's log from `offset` on."""

    id: JobName
    offset: Count = 0
    most: Count = MOST_BYTES


# ---- the host ------------------------------------------------------------------------------------


class Gpu(Record, omit_defaults=True):
    """A GPU, or a MIG slice of one, as reported by nvidia-smi; None for unavailable values."""

    index: Count
    name: str
    use_percent: Whole | None
    memory_used_mb: Whole | None
    memory_total_mb: Whole | None
    temperature_c: Whole | None
    power_w: Whole | None = None
    uuid: str | None = None
    fault: str | None = None  # what nvidia-smi reports instead of a value, as "ERR!"


class Champion(Record):
    champion: str
    sha256: Sha256  # of the pointer file


class Facts(Reply):
    """Hardware, software and jobs of a host; sizes in bytes."""

    hostname: str
    time: Number
    uptime_s: Number
    cores: Count
    load: Annotated[list[Number], Meta(min_length=3, max_length=3)]
    ram_total: Count
    ram_available: Count
    disk_total: Count
    disk_free: Count
    gpus: list[Gpu] | None = None  # None: query failed
    gpus_error: str | None = None  # of the query, or lines of it that describe no GPU
    python: str | None = None  # version for a new environment, of a host without one
    version: str | None = None  # of the deployed ringrift; None: not deployed
    models: dict[str, Champion] = {}  # by pool
    jobs: list[JobState] = []  # active, failed and the newest ones
    jobs_total: Count = 0
    games: Count = 0  # of all jobs, also of those that were removed
    folder: str = ""  # identity of the work folder, made by the first deploy into it
    gpus_proved: Count = 0  # for which a deploy ran kernels
    jobs_error: str | None = None
    idle_s: Number | None = None  # since the last job ended; None: a job is running


class AskFacts(Request[Facts], tag="facts"):
    deadline_s: Seconds = 2.5


class Hello(Record):
    """First message of an agent, after its greeting."""

    version: str
    code: Sha256


# ---- shards --------------------------------------------------------------------------------------


class ShardRow(Record, array_like=True):
    file: FileName
    size: Annotated[int, Meta(gt=0, le=1 << 36)]
    sha256: Sha256


class ShardRows(Record):
    """Shards of one folder. Rows are decoded one by one, so an invalid one does not hide others."""

    folder: str
    shards: list[msgspec.Raw]


class DamagedLine(Record):
    folder: str
    line: Count  # 0: the manifest as a whole
    why: str


class ShardsEnd(Reply):
    damaged: list[DamagedLine] = []


class Shards(Request[ShardsEnd], tag="shards"):
    """The shards of all manifests below `roots` whose files exist."""

    part = ShardRows
    roots: list[Text]


class EntryLine(Record):
    entry: dict[str, Any]  # validated by the requester


class Entries(Request[Done], tag="lines"):
    """The manifest entries of the given shards of a folder; unknown ones are left out."""

    part = EntryLine
    folder: Text
    sha256s: list[Sha256]


class Enter(Request[Done], tag="enter"):
    """Adds entries to the manifest of a folder if their files exist with the right hashes."""

    folder: Text
    entries: list[ShardEntry]


# ---- files ---------------------------------------------------------------------------------------


class FileRow(Record, array_like=True):
    path: str
    size: Annotated[int, Meta(ge=0, le=1 << 36)]
    sha256: Sha256 | None


class FileRows(Record):
    files: list[msgspec.Raw]


class Files(Request[Done], tag="files"):
    """The regular files below a folder, optionally with hashes."""

    part = FileRows
    root: Text
    hash: bool = True


class Hashes(Reply):
    sha256: dict[str, Sha256 | None]


class Hash(Request[Hashes], tag="hash"):
    """SHA-256 of files, computed now; None if it is not a regular file."""

    paths: list[Text]


class Size(Record):
    size: Count


class SentBytes(Reply):
    sent: Count


class Send(Request[SentBytes], tag="send"):
    """Requests a file from `offset` on: its size, then its bytes."""

    part = Size
    path: Text
    offset: Count = 0


class Have(Record, omit_defaults=True):
    """Bytes of a file that the host already has; `same` if it is complete and in place."""

    have: Count
    same: bool = False


class Stored(Reply):
    sha256: Sha256  # computed from the host's disk


class Put(Request[Stored], tag="put"):
    """Sends a file: the host replies `Have`; byte frames follow, ended by an empty one."""

    part = Have
    path: Text
    size: Count
    sha256: Sha256
    replace: bool = False


class Remove(Request[Done], tag="remove"):
    """Removes output of jobs; missing paths are ignored."""

    paths: list[Text]


class Performed(Reply):
    result: str


class Perform(Request[Performed], tag="perform"):
    """Has a task performed by a module of the package, which runs until the connection ends.

    It reads tasks and prints results, each a line.
    """

    module: Annotated[str, Meta(pattern=r"^ringrift_cli(\.[a-z_]+)+\Z")]
    task: Text


# ---- decoding ------------------------------------------------------------------------------------

ANY_REQUEST: Any = (
    Start | Jobs | Stop | ReadLog | AskFacts | Shards | Entries | Enter | Files | Hash | Send | Put
    | Remove | Clean | Dismiss | Perform
)  # fmt: skip
request_decoder = functools.cache(lambda: msgspec.json.Decoder(ANY_REQUEST))


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode_reply(request: Request[R], text: msgspec.Raw) -> Record | R | Failed:
    """Decodes a frame of the reply to a request; `msgspec.MsgspecError` if it is invalid."""
    if bytes(memoryview(text)[:7]) == b'{"end":':
        (reply,) = get_args(type(request).__orig_bases__[0])  # type: ignore[attr-defined]
        return _decoder(reply | Failed).decode(text)  # type: ignore[no-any-return]
    if request.part is None:
        raise msgspec.ValidationError("Expected the end of the reply")
    return _decoder(request.part).decode(text)  # type: ignore[no-any-return]
