"""The command line's program: its commands, and a user's mistake as one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .. import _core
from ..exceptions import CudaError, DivergedError

__all__ = ["app"]


class _OneLineErrors(TyperGroup):
    """Turns a user's mistake into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            # A closed pipe should show here, not when the interpreter shuts down.
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader (head, less) has all it wanted. What is still buffered must go somewhere.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + getattr(signal, "SIGPIPE", 13)) from None
        except KeyboardInterrupt:
            _fail("interrupted", code=128 + signal.SIGINT)
        except OSError as error:
            named = error.strerror and error.filename is not None
            _fail(f"{os.fsdecode(error.filename)}: {error.strerror}" if named else str(error))
        except MemoryError as error:
            _fail(f"out of memory {error}")
        except (ValueError, DivergedError, CudaError) as error:
            _fail(str(error))


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"warpfactor: error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code) from None


app = typer.Typer(
    cls=_OneLineErrors,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warpfactor {_core.__version__}")
        raise typer.Exit


@app.callback()
def _warpfactor(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Factorize rating matrices: train a model on a file of ratings, predict and recommend.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """
