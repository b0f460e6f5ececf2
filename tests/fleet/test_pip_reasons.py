"""What is said when pip fails: why it did, and not its last line."""

from __future__ import annotations

import pytest

from ringrift_cli.fleet.agent.install import reason

NO_INDEX = """\
WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection at \
0x7f>: Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/numpy/
ERROR: Could not find a version that satisfies the requirement numpy==2.3.1 (from versions: none)
ERROR: No matching distribution found for numpy==2.3.1
"""
NO_VERSION = """\
ERROR: Ignored the following versions that require a different python version: 2.3.0 >=3.11
ERROR: Could not find a version that satisfies the requirement numpy==9 (from versions: 2.2.0)
ERROR: No matching distribution found for numpy==9
"""
NO_COMPILER = """\
  error: subprocess-exited-with-error
  x Building wheel for llvmlite (pyproject.toml) did not run successfully.
  │ exit code: 1
  ╰─> [9 lines of output]
      running bdist_wheel
      error: command 'gcc' failed: No such file or directory
      [end of output]
  note: This error originates from a subprocess, and is likely not a problem with pip.
  ERROR: Failed building wheel for llvmlite
ERROR: Could not build wheels for llvmlite, which is required
"""
FULL = """\
ERROR: Exception:
Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/pip/_internal/cli/base_command.py", line 160, in exc_wrapper
OSError: [Errno 28] No space left on device
"""
OURS = """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
ModuleNotFoundError: No module named 'numba'
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NO_INDEX, "Failed to establish a new connection: [Errno -2] Name or service not known"),
        (NO_VERSION, "requirement numpy==9 (from versions: 2.2.0)"),
        (NO_COMPILER, "error: command 'gcc' failed: No such file or directory"),
        (FULL, "OSError: [Errno 28] No space left on device"),
        (OURS, "ModuleNotFoundError: No module named 'numba'"),
        ("error: externally-managed-environment\n\nx hint: see PEP 668\n", "error: externally"),
        ("one\nlast\n\n", "last"),
        ("", "it printed nothing"),
    ],
)
def test_the_line_that_says_why(text: str, expected: str) -> None:
    assert expected in reason(text)
    assert len(reason(text)) <= 500
