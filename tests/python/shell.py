"""Runs the command line in the process of a test."""

from __future__ import annotations

from typing import NamedTuple

from click.testing import CliRunner

from warpfactor.cli import app


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def warpfactor(*args: object) -> Result:
    """Run a command in this process; a programming error is raised, not reported."""
    result = CliRunner().invoke(
        app, [str(arg) for arg in args], prog_name="warpfactor", catch_exceptions=False
    )
    return Result(result.exit_code, result.stdout, result.stderr)


def succeed(*args: object) -> Result:
    result = warpfactor(*args)
    assert result.code == 0, result
    return result
