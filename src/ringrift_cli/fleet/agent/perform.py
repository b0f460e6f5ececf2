"""Tasks performed by a child process, which the connection keeps for the next ones."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent.context import SIGN, Context, Gone, Refusal
from ringrift_cli.fleet.agent.layout import VENV
from ringrift_cli.fleet.agent.supervise import code_folder

MOST_RESULT = 15 << 20  # bytes of a line
_children: dict[str, _Child] = {}  # by module; they end with their input, so with this process


class _Child:
    """A module that performs tasks."""

    def __init__(self, work: str, module: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self.process = subprocess.Popen(
            [os.path.join(work, VENV, "bin", "python"), "-P", "-m", module],
            cwd=work,
            env={**os.environ, "PYTHONPATH": code_folder()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    def perform(self, context: Context, task: bytes) -> bytes:
        """The result of a task; `Refusal` if the process ends first."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        parts: list[bytes] = []
        try:
            rest = memoryview(task + b"\n")
            while rest:  # the pipe takes little at a time
                rest = rest[os.write(self.process.stdin.fileno(), rest) :]
        except BrokenPipeError as error:
            raise self._ended() from error
        source = self.process.stdout.fileno()
        while not (parts and parts[-1].endswith(b"\n")):
            context.alive()
            if not select.select([source], [], [], SIGN)[0]:
                continue
            data = os.read(source, 1 << 16)
            if not data:
                raise self._ended()
            parts.append(data)
            if sum(map(len, parts)) > MOST_RESULT:
                raise Refusal("worker", f"Its result is longer than {MOST_RESULT >> 20} MiB.")
        return b"".join(parts)[:-1]

    def _ended(self) -> Refusal:
        code = self.process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read()[-4096:].split(b"\n") if line.strip()]
        last = f": {lines[-1].decode(errors='replace')}" if lines else ""
        return Refusal("worker", f"The worker ended, exit code {code}{last}.")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._errors.close()


def perform(context: Context, request: messages.Perform) -> messages.Performed:
    """Has a task performed; the process is started if it does not run."""
    child = _children.get(request.module)
    if child is None:
        child = _children[request.module] = _Child(context.work, request.module)
    try:
        result = child.perform(context, request.task.encode())
    except (Refusal, Gone):
        del _children[request.module]
        child.end()
        raise
    return messages.Performed(result=result.decode())
