#!/usr/bin/env python3
"""Fuzz the readers of files, the model file and formulas, guided by coverage: python tests/fuzz/fuzz.py

It needs atheris (``pip install atheris``). Each round is a process of libFuzzer; the parent counts
inputs, starts the next round, and puts what went wrong into ``--out``: an input, and beside it what
it did. ``--replay FILE...`` shows that again, without atheris. Exit status: 1 if anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# A round is a process of its own, as memory of the fuzzer grows with its inputs.
ROUND_S = 40
MOST_INPUTS = 8000
TIMEOUT_S = 5
RSS_MB = 1024
# Every so manieth round of the readers takes longer inputs.
LONG_EVERY = 4
MOST_FINDINGS = 200
_SHOWN = 3000


def main() -> None:
    arguments = _arguments()
    if arguments.replay:
        _replay(arguments.replay)
    elif arguments.child:
        _fuzz(arguments)
    else:
        sys.exit(_drive(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    parser.add_argument("--runs", type=int, help="end after so many inputs, even if time is left")
    parser.add_argument(
        "--target",
        choices=("readers", "model", "formulas", "both"),
        default="both",
        help="both: readers and model",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random changes (0: by time)")
    parser.add_argument("--work", type=Path, help="folder of the grown corpus (default: temporary)")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    parser.add_argument(
        "--replay", nargs="+", type=Path, metavar="FILE", help="inputs to try again"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--max-len", type=int, default=4096, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the parent --------------------------------------------------------------------------------


def _drive(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="warpfactor-fuzz-") as temporary:
        work = arguments.work or Path(temporary)
        out = arguments.out
        begin, slowest, peak, n_deaths = time.monotonic(), 0.0, 0, 0
        targets = ["readers", "model"] if arguments.target == "both" else [arguments.target]
        counts = dict.fromkeys(targets, 0)
        at = 0
        while True:
            left = arguments.seconds - (time.monotonic() - begin)
            runs_left = None if arguments.runs is None else arguments.runs - sum(counts.values())
            if left < 1 or (runs_left is not None and runs_left <= 0):
                break
            target = targets[at % len(targets)]
            # The model file is small: a sixth of the time.
            share = {"both": {"readers": 5 / 6, "model": 1 / 6}}.get(
                arguments.target, {target: 1.0}
            )
            seconds = min(left, share[target] * min(arguments.seconds, len(targets) * ROUND_S))
            long = target == "readers" and at // len(targets) % LONG_EVERY == LONG_EVERY - 1
            stats, died = _round(arguments, target, work, out, seconds, runs_left, at, long=long)
            counts[target] += stats["inputs"]
            slowest, peak = max(slowest, stats["slowest_s"]), max(peak, stats["peak_mb"])
            n_deaths += died
            at += 1
            print(
                f"{time.monotonic() - begin:6.0f} s  {target:8}  {stats['inputs']:>8,} inputs, "
                f"{stats['inputs'] / max(stats['seconds'], 1e-9):,.0f}/s, slowest "
                f"{stats['slowest_s']:.2f} s, peak {stats['peak_mb']:,} MiB, "
                f"{counts[target]:,} so far" + ("  DIED" if died else ""),
                flush=True,
            )
            if not stats["inputs"]:
                print("the fuzzer takes no input", file=sys.stderr)
                return 1
        found = sorted(out.glob("*.txt"))
        for path in found:
            print(f"\n{path}: {path.read_text(errors='replace')[:_SHOWN]}")
        for path in sorted(out.glob("*-*-" + "[0-9a-f]" * 40)):
            print(f"\n{path}: {path.read_bytes()[: _SHOWN // 4]!r}")
        told = ", ".join(f"{count:,} of the {target}" for target, count in counts.items())
        print(
            f"\n{told} in {time.monotonic() - begin:,.0f} s: {len(found)} kinds of findings, "
            f"{n_deaths} times a crash, a hang or too much memory; the slowest input took "
            f"{slowest:.2f} s, the peak was {peak:,} MiB"
        )
        return int(bool(found) or n_deaths > 0)


def _round(
    arguments: argparse.Namespace, target: str, work: Path, out: Path, seconds: float,
    runs: int | None, at: int, *, long: bool,
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """Run libFuzzer once in a process of its own; its numbers, and whether it died."""
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    stats_file = work / "stats.json"
    stats_file.unlink(missing_ok=True)
    command = [
        *(sys.executable, __file__, "--child", "--target", target, "--work", work, "--out", out),
        *(
            "--seconds",
            str(max(int(seconds), 1)),
            "--seed",
            str(arguments.seed + at if arguments.seed else 0),
        ),
        *("--max-len", "65536" if long else "4096", *(("--runs", str(runs)) if runs else ())),
    ]
    with (work / "log").open("wb") as log:
        process = subprocess.run(
            [str(each) for each in command], stdout=log, stderr=log, check=False
        )
    blank = {"inputs": 0, "slowest_s": 0.0, "peak_mb": 0, "seconds": seconds}
    stats = json.loads(stats_file.read_text()) if stats_file.exists() else blank
    if process.returncode:
        # Without what it says of each input that reached something new.
        lines = (work / "log").read_text(errors="replace").splitlines()
        lines = [line for line in lines if not line.startswith(("#", "INFO: "))]
        print("\n".join(lines[-60:]), file=sys.stderr)
    return stats, process.returncode != 0


# --- a round -----------------------------------------------------------------------------------


def _fuzz(arguments: argparse.Namespace) -> None:
    import atheris

    sys.path.insert(0, str(HERE))
    import pyarrow.csv  # so that only warpfactor is instrumented
    import sklearn.base  # noqa: F401

    with atheris.instrument_imports(include=["warpfactor"]):
        import seed_corpus
        import targets

        _import_all()
    import mutate

    # One thread does as well for small files, and is quicker.
    pyarrow.set_cpu_count(1)
    is_model = arguments.target == "model"
    run, change, given = {
        "readers": (targets.read_file, mutate.mutate_file, seed_corpus.seeds),
        "model": (targets.load_model, mutate.mutate_model, seed_corpus.model_seeds),
        "formulas": (targets.train_formula, mutate.mutate_formula, seed_corpus.formula_seeds),
    }[arguments.target]
    corpus, seeds = (arguments.work / f"{kind}-{arguments.target}" for kind in ("corpus", "seeds"))
    for folder in (corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(given()):
        (seeds / f"{at:03}").write_bytes(seed)
    record = _Record(arguments)

    def one(data: bytes) -> None:
        begin = time.process_time()
        try:
            run(data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            record.keep(data, error)
        record.count(data, time.process_time() - begin)

    def changed(data: bytes, size: int, seed: int) -> bytes:
        return change(data, size, random.Random(seed), atheris.Mutate)[:size] or b"\0"

    # The model file's inputs are small, and take no more memory with their number.
    most = arguments.runs if is_model else min(arguments.runs or MOST_INPUTS, MOST_INPUTS)
    flags = [
        *(
            f"-max_len={arguments.max_len}",
            f"-timeout={TIMEOUT_S * (6 if arguments.target == 'formulas' else 1)}",
            f"-rss_limit_mb={RSS_MB}",
        ),
        *(f"-max_total_time={int(arguments.seconds)}", f"-seed={arguments.seed}"),
        *(f"-artifact_prefix={arguments.out}/{arguments.target}-", "-print_final_stats=1"),
        *((f"-runs={most}",) if most else ()),
    ]
    atheris.Setup(
        [sys.argv[0], *flags, str(corpus), str(seeds)], one,
        custom_mutator=changed, enable_python_coverage=True,
    )  # fmt: skip
    atheris.Fuzz()


def _import_all() -> None:
    """Import what the package would import when first used, so that it is instrumented."""
    import importlib
    import pkgutil

    import warpfactor

    for module in pkgutil.walk_packages(warpfactor.__path__, "warpfactor."):
        if module.name.split(".")[1] in ("data", "model", "serving", "formulas", "training"):
            importlib.import_module(module.name)


class _Record:
    """Counts inputs, and keeps the first input of each kind of finding."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._out, self._target = arguments.out, arguments.target
        self._stats = arguments.work / "stats.json"
        self._begin = time.perf_counter()
        self._n, self._slowest, self._n_kept = 0, 0.0, 0

    def count(self, data: bytes, seconds: float) -> None:
        self._n += 1
        if seconds > self._slowest:
            self._slowest = seconds
            (self._stats.parent / f"slowest-{self._target}.bin").write_bytes(data)
        if self._n % 64 == 1:
            self._write()

    def _write(self) -> None:
        stats = {
            "inputs": self._n,
            "slowest_s": self._slowest,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "seconds": time.perf_counter() - self._begin,
        }
        temporary = self._stats.with_suffix(".tmp")
        temporary.write_text(json.dumps(stats))
        os.replace(temporary, self._stats)

    def keep(self, data: bytes, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        path = self._out / f"{self._target}-{_kind_of(error)}"
        if path.with_suffix(".txt").exists():
            return
        path.with_suffix(".bin").write_bytes(data)
        shown = "".join(traceback.format_exception(error))
        first = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        path.with_suffix(".txt").write_text(
            f"{first}\n\n{data[:600]!r}\n\n{shown}", errors="replace"
        )
        self._n_kept += 1
        if self._n_kept > MOST_FINDINGS:
            raise error


def _kind_of(error: BaseException) -> str:
    """One name for all errors of a type from a place."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "warpfactor" in Path(frame.filename).parts]
    place = ours[-1] if ours else frames[-1]
    # Our own checks are told apart by what they say, without numbers and names.
    what = type(error).__name__
    said = "".join(c for c in str(error)[:24] if c.isalpha()) if what == "Finding" else ""
    where = f"{Path(place.filename).stem}-{place.name}-{place.lineno}-{frames[-1].name}-{said}"
    return f"{what}-{where}-{hashlib.sha1(where.encode()).hexdigest()[:6]}".replace(
        "<", ""
    ).replace(">", "")


def _replay(paths: list[Path]) -> None:
    sys.path.insert(0, str(HERE))
    import targets

    for path in paths:
        kinds = {"model": targets.load_model, "formulas": targets.train_formula}
        run = kinds.get(path.name.partition("-")[0], targets.read_file)
        data = path.read_bytes()
        if run is targets.read_file:
            options, content = targets.decode(data)
            print({k: v for k, v in options.items() if v != targets.CHOICES[k][0]}, content[:300])
        try:
            run(data)
            print(f"{path}: nothing is wrong")
        except Exception:  # noqa: BLE001 - shown, whatever it is
            traceback.print_exc()


if __name__ == "__main__":
    main()
