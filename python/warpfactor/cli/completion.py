"""``warpfactor completion``."""

from __future__ import annotations

import click

from .app import app, command
from .kinds import Names

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@command
@click.argument("shell", metavar="SHELL", type=Names(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete commands, names and files.

    \b
    bash  add to ~/.bashrc:   eval "$(warpfactor completion bash)"
    zsh   add to ~/.zshrc, after compinit:
          eval "$(warpfactor completion zsh)"
    fish  warpfactor completion fish > ~/.config/fish/completions/warpfactor.fish

    Example: warpfactor completion bash
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell) if shell in _SHELLS else None
    if made is None:
        raise ValueError(
            f"SHELL is {shell!r}; it must be {', '.join(_SHELLS[:-1])} or {_SHELLS[-1]}"
        )
    name = "warpfactor"
    click.echo(made(app, {}, name, f"_{name.upper()}_COMPLETE").source(), nl=False)
