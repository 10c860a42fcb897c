"""Running the command line from tests."""

from __future__ import annotations

import os
import subprocess
import sys

from click.testing import CliRunner, Result
from places import ROOT

from archsim.cli.application import archsim


def run(*arguments: str) -> Result:
    """In this process."""
    return CliRunner().invoke(archsim, arguments, prog_name="archsim")


def refused(*arguments: str, code: int = 2) -> str:
    """Run what must be refused: the code, nothing on stdout, no traceback; its message."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    return result.stderr


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A real interpreter on the source tree, wherever it is started."""
    return subprocess.run(
        [sys.executable, *arguments],
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )
