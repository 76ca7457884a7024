# SPDX-License-Identifier: Apache-2.0
"""What every kernel runs before the cells of a page; conf.py copies it into the kernels' profile.

ipykernel tells programs to colour what they print, and lets `!` run them in a terminal, with progress bars. On a page
stands what a pipe would carry, a warning is a line, and where a command fails, so does the page.
"""

import os
import subprocess
import warnings

for name in ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"):
    os.environ.pop(name, None)
warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"
warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # a bar of tqdm, which no page shows


def bash(line: str, cell: str) -> None:
    """Run the lines of a cell that begins with %%bash, and print what they print."""
    command = ["bash", "-e", "-o", "pipefail", "-c", cell]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"bash ended with {done.returncode}")


shell = get_ipython()  # type: ignore[name-defined] # noqa: F821
shell.register_magic_function(bash, "cell", "bash")
shell.system = lambda command: bash("", command)
del name, shell
