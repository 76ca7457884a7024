"""The command line's program: its commands, and mistakes and warnings as one line each."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Self, TextIO

import click

from .. import _core
from ..checks import shell_words
from ..exceptions import CudaError, DivergedError, NoModelFileError
from .help import ScreenCommand, ScreenGroup

__all__ = ["Command", "app", "command", "note", "refuse_same_file", "run"]


def refuse_same_file(target: Path, given: Any, name: str) -> None:
    """Raise ValueError if writing to a path would write over a file that is read.

    Parameters
    ----------
    target : Path
        Where to write.
    given : object
        What is read: a file, a folder of files, or a list of those; anything else is no file.
    name : str
        What the target is called.
    """
    if isinstance(given, (tuple, list)):
        for each in given:
            refuse_same_file(target, each, name)
    if not isinstance(given, Path) or not target.is_file():
        return
    read = [given]
    if given.is_dir():
        from ..data.folders import files_of

        read = [file.path for file in files_of(given)]
    same = next((file for file in read if file.is_file() and os.path.samefile(target, file)), None)
    if same is not None:
        which = f" ({str(same)!r})" if same != target else ""
        raise ValueError(
            f"{name} is {str(target)!r}, which is also a file to read{which}: choose another name"
        )


class Command(ScreenCommand):
    """A command that writes over none of the files that it reads."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless it would write over a file that it reads."""
        for written in ("output", "report", "checkpoint"):
            target = ctx.params.get(written)
            if target is not None:
                # The folder of --scratch is written to and not read: it may hold what is written.
                others = [
                    given for name, given in ctx.params.items() if name not in (written, "scratch")
                ]
                refuse_same_file(target, others, f"--{written}")
                if target in others:  # another file to write: there is none to read
                    raise ValueError(
                        f"--{written} is {str(target)!r}, which another option names too: choose another"
                    )
        return super().invoke(ctx)


class _OneLineErrors(ScreenGroup):
    """Turns a user's mistake into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with shell_words(), _warnings_as_notes():
                result = super().invoke(ctx)
            # A closed pipe should show here, not when the interpreter shuts down.
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader (head, less) has all it wanted.
            _drop_output()
            raise click.exceptions.Exit(128 + getattr(signal, "SIGPIPE", 13)) from None
        except KeyboardInterrupt:
            _fail("interrupted", code=128 + signal.SIGINT)
        except OSError as error:
            _fail_of_system(error)
        except MemoryError as error:
            _fail(f"out of memory {error}")
        except (ValueError, DivergedError, CudaError) as error:
            _fail(str(error))


def run() -> None:
    """Run the command line on ``sys.argv``, with whatever the standard streams are."""
    _fill_streams()
    try:
        app(prog_name="warpfactor")
    except OSError as error:  # of writing the help
        try:
            _fail_of_system(error)
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)


class _NoOutput(io.TextIOBase):
    """What takes the place of a standard output that was closed: nothing is lost in silence."""

    @property
    def buffer(self) -> Self:
        return self

    def write(self, text: Any) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _fill_streams() -> None:
    """Keep files that will be opened from the numbers of standard streams that are closed."""
    missing = [stream for stream in (sys.stdin, sys.stdout, sys.stderr) if stream is None]
    for _ in missing:
        os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _NoOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _drop_output() -> None:
    """Send what is still buffered nowhere: Python would write it when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail_of_system(error: OSError) -> NoReturn:
    if isinstance(error, NoModelFileError):
        _fail(f"{error}{_instead_of(error.path)}")
    if error.strerror and error.filename is not None:
        path = os.fsdecode(error.filename)
        missing = isinstance(error, FileNotFoundError)
        _fail(f"{path}: {error.strerror}" + (_instead_of(path) if missing else ""))
    # What is written to a path is named by it.
    if error.errno in (errno.ENOSPC, errno.EBADF):
        _drop_output()
        _fail(f"standard output cannot be written: {error.strerror}")
    _fail(str(error))


# Files of a folder that are looked at for one of a like name, and named.
_MOST_FILES, _MOST_NAMED = 2_000, 4


def _instead_of(path: str) -> str:
    """Say which files there are in the place of one that is missing, if they can be seen."""
    folder, name = os.path.split(path)
    if folder and not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    try:
        with os.scandir(folder or os.curdir) as entries:
            files = [each.name for each in itertools.islice(entries, _MOST_FILES)]
    except OSError:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(name, files, _MOST_NAMED)
    suffix = os.path.splitext(name)[1]
    near = near or sorted(each for each in files if suffix and each.endswith(suffix))[:_MOST_NAMED]
    return (
        f"; did you mean {', '.join(os.path.join(folder, each) for each in near)}?" if near else ""
    )


def note(message: str) -> None:
    """Print a line on standard error that is worth knowing and no error."""
    with contextlib.suppress(OSError):  # a full disk behind it ends no fit
        click.echo(f"warpfactor: note: {_one_line(message)}", err=True)


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print warnings that are for users without the line of code that gave them."""
    with warnings.catch_warnings():
        # Ours; other packages warn developers, by categories of their own.
        warnings.simplefilter("always", UserWarning)
        show = warnings.showwarning

        def as_note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category is UserWarning:
                note(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = as_note
        yield


def _one_line(message: str) -> str:
    """A message on one line, with what is not printable, such as a tab of a file, as Python writes it."""
    line = " ".join(part.strip() for part in message.strip().splitlines())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _fail(message: str, code: int = 1) -> NoReturn:
    with contextlib.suppress(OSError):
        click.echo(f"warpfactor: error: {_one_line(message)}", err=True)
    raise click.exceptions.Exit(code) from None


@click.group(
    cls=_OneLineErrors,
    no_args_is_help=True,
    context_settings={"show_default": True},
)
@click.version_option(
    _core.__version__, message="warpfactor %(version)s", help="Print the version and exit."
)
def app() -> None:
    """Matrix factorization of ratings: train a model on a file, judge it, recommend.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors

    Example: warpfactor recommend m.safetensors --user 17 -n 10
    """


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command of the program, by its name and docstring."""
    app.command(cls=Command)(function)
    return function
