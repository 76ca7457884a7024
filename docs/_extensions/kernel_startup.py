# SPDX-License-Identifier: Apache-2.0
"""What every kernel runs before the cells of a page; conf.py copies it into the kernels' profile."""

import os
import subprocess

# ipykernel tells programs to colour what they print, and lets `!` run them in a terminal, with progress bars. On a page
# stands what a pipe would carry; and where a command fails, so does the page.
for name in ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"):
    os.environ.pop(name, None)


def piped(command: str) -> None:
    """Run a command line of `!`, and print what it prints."""
    done = subprocess.run(
        command,
        shell=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"{command!r} ended with {done.returncode}")


get_ipython().system = piped  # type: ignore[name-defined] # noqa: F821
del name, piped
