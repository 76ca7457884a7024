from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# A shell's job in the background has Ctrl-C ignored, and so would the tests that press it wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real rating sets, which cannot be part of the project."""
    folder = os.environ.get("WARPFACTOR_DATA")
    if not folder:
        pytest.skip("WARPFACTOR_DATA, the folder of real rating sets, is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def data_path(data_dir: Path) -> Callable[[str], Path]:
    """A function from a file's name in that folder to its path."""

    def path(relative: str) -> Path:
        if not (data_dir / relative).exists():
            pytest.skip(f"{relative} is not in the folder of WARPFACTOR_DATA")
        return data_dir / relative

    return path
