"""What nvcc makes of the device's training kernels: registers, occupancy, and a rating's way through the code.

    python benchmarks/device_code.py [--source FOLDER] [--storage NAME ...] [--tiles LANESxQUADS ...] [--kinds KIND ...]
                                     [--arch sm_90] [--disassembler PATH] [--ratings N]

It measures no time: no GPU is needed, and none is asked. It compiles the passes for one architecture, reads what
ptxas reports, and disassembles. FOLDER is a checkout, by default the one that this script is in,
so that two versions can be compared. TILES are by default those of ranks 32, 64 and 128. It needs nvcc on the PATH, and nvdisasm (the package nvidia-cuda-nvdisasm has it).

registers, spills: of a thread, as ptxas -v tells; spills are bytes stored. blocks: thread blocks that fit onto a
multiprocessor of 65,536 registers and 64 warps. in flight: ratings whose rows a multiprocessor has on their way or at work
at once: the tiles of those blocks, times the rows of the other side that a tile has read or asked for.

The next columns are of the shortest way round the loop over ratings: the shortest cycle of the disassembly's basic blocks
that holds the dot product's sum, the loads and stores of a row, and a bias's store. That is a rating whose segment goes on.
instructions: of a warp; a rating: divided by the tiles of a warp. shuffles, votes, barriers: SHFL, VOTE, and WARPSYNC and
BAR. loads, stores: LDG and STG. wait: instructions from a row's load to the first that needs what it read, over the loop's
end if it must be. Few of them mean that the warp stands still for about as long as an access takes.

bytes: counted from what a rating's step must read and write beyond first-level caches if every access goes to memory, by
kind of pass and rank, in 32-byte sectors for what lies alone (a bias, numbers of a row). "own" is what a segment's row costs
once, to be divided by the segment's ratings.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import re
import shutil
import subprocess
import tempfile
from datetime import date
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
TYPES = {
    "float16": ("Half", "float"),
    "float32": ("float", "float"),
    "float64": ("double", "double"),
}
# For ranks 32, 64 and 128.
TILES = {"float16": ["4x2", "8x2", "16x2"], "float32": ["8x1", "16x1", "32x1"]}
TILES["float64"] = TILES["float32"]
STORED_BYTES = {"float16": 2, "float32": 4, "float64": 8}
THREADS, REGISTERS, WARPS, GRANULE = 128, 65536, 64, 8
SECTOR, ENTRY = 32, 8

PASS = re.compile(r"6global4passI.*?Li(\d+)ELi(\d+)ELNS_8PassKindE(\d)E")
REPORT = re.compile(
    r"Compiling entry function '(\S+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", re.DOTALL
)
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(.*?);")
BRANCH = re.compile(r"^(?:@!?U?P\w+\s+)?(?:BRA|JMP)\S*\s+.*?`\((\S+)\)")
REGISTER = re.compile(r"\bR(\d+)\b")


class Kernel(NamedTuple):
    """A pass: its tile, its kind, and what ptxas says of it."""

    name: str
    lanes: int
    quads: int
    kind: str
    registers: int
    spills: int

    @property
    def blocks(self) -> int:
        of_warp = -(-self.registers // GRANULE) * GRANULE * 32
        return min(WARPS, REGISTERS // of_warp) // (THREADS // 32)


class Way(NamedTuple):
    """The instructions of the shortest way round the loop over ratings."""

    code: list[str]

    def count(self, *names: str) -> int:
        return sum(operation(text).startswith(names) for text in self.code)

    def waits(self, width: int) -> list[int]:
        """Of each load of a row's quad: the instructions until what it read is needed."""
        twice, found = self.code * 2, []
        for at, text in enumerate(self.code):
            if not is_row_load(text, width):
                continue
            into = written(text)
            used = (n for n in range(at + 1, len(twice)) if into & read(twice[n]))
            found.append(next(used, len(twice)) - at)
        return found


def operation(text: str) -> str:
    """The instruction's name, without what it depends on."""
    return re.sub(r"^@!?U?P\w+\s+", "", text)


def operands(text: str) -> list[str]:
    return operation(text).partition(" ")[2].split(",")


def is_row_load(text: str, width: int) -> bool:
    """Whether an instruction reads a quad of a row: by its width, past the first-level cache."""
    name = operation(text).split(" ")[0]
    return name.startswith("LDG") and f".{width}" in name and "STRONG" in name


def written(text: str) -> set[int]:
    """The registers that a load writes."""
    first = REGISTER.search(operands(text)[0])
    width = re.search(r"\.(64|128)\b", operation(text).split(" ")[0])
    n = int(width.group(1)) // 32 if width else 1
    return set(range(int(first.group(1)), int(first.group(1)) + n)) if first else set()


def read(text: str) -> set[int]:
    """The registers that an instruction needs; of a store all are."""
    parts = operands(text)
    stores = operation(text).startswith(("STG", "STS", "STL", "RED"))
    return {int(r) for part in (parts if stores else parts[1:]) for r in REGISTER.findall(part)}


def compiled(
    source: Path, storage: str, tiles: list[str], kinds: list[str], arch: str, folder: Path
) -> tuple[Path, str]:
    """The binary of some passes, and what ptxas reports."""
    stored, number = TYPES[storage]
    lines = ['#include "global_kernels.cuh"', "namespace warpfactor::global {"]
    for tile, kind in itertools.product(tiles, kinds):
        lanes, quads = tile.split("x")
        lines.append(
            f"template __global__ void pass<{stored}, {number}, {lanes}, {quads}, PassKind::{kind}>"
            f"(const __grid_constant__ PassArgs<{stored}, {number}>);"
        )
    code, cubin = folder / f"{storage}.cu", folder / f"{storage}.cubin"
    code.write_text("\n".join([*lines, "}\n"]))
    command = ["nvcc", "-std=c++20", "-O3", "-DNDEBUG", f"-arch={arch}", "-cubin", "-Xptxas", "-v"]
    command += [f"-I{source / part}" for part in ("cuda", "cpp/src", "cpp/include")]
    done = subprocess.run(
        [*command, str(code), "-o", str(cubin)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return cubin, done.stderr


def kinds_of(source: Path) -> list[str]:
    """The names of PassKind, in order."""
    text = (source / "cpp/src/device/kernel_args.hpp").read_text()
    names = re.search(r"enum class PassKind \{([^}]*)\}", text)
    if names is None:
        raise SystemExit("kernel_args.hpp has no PassKind")
    return [name.strip() for name in names.group(1).split(",")]


def kernels_in(report: str, kinds: list[str]) -> list[Kernel]:
    found = []
    for name, spills, registers in REPORT.findall(report):
        if tile := PASS.search(name):
            lanes, quads, kind = map(int, tile.groups())
            found.append(Kernel(name, lanes, quads, kinds[kind], int(registers), int(spills)))
    return sorted(found, key=lambda kernel: (kernel.lanes * kernel.quads, kinds.index(kernel.kind)))


def functions_of(listing: str) -> dict[str, list[str]]:
    """The lines of each function of a disassembly."""
    functions: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in listing.splitlines():
        if begin := re.match(r"\s*\.text\.(\S+):", line):
            lines = functions.setdefault(begin.group(1), [])
        lines.append(line)
    return functions


def blocks_of(lines: list[str]) -> tuple[list[list[str]], list[list[int]]]:
    """The instructions of a function by basic block, and the blocks that may follow each."""
    blocks: list[list[str]] = [[]]
    starts: dict[str, int] = {}
    for line in lines:
        if label := re.match(r"\s*(\.L_\S+):", line):
            if blocks[-1]:
                blocks.append([])
            starts[label.group(1)] = len(blocks) - 1
        elif instruction := INSTRUCTION.search(line):
            blocks[-1].append(instruction.group(2).strip())
            if operation(blocks[-1][-1]).startswith(("BRA", "EXIT", "BRX", "RET")):
                blocks.append([])
    after: list[list[int]] = []
    for number, block in enumerate(blocks):
        nexts = [number + 1] if number + 1 < len(blocks) else []
        last = block[-1] if block else ""
        conditional = (
            last.startswith("@") or re.match(r"BRA\S* !?U?P\d", operation(last)) is not None
        )
        if branch := BRANCH.match(last):
            nexts = [starts[branch.group(1)], *(nexts if conditional else [])]
        elif operation(last).startswith(("EXIT", "BRX", "RET")) and not conditional:
            nexts = []
        after.append(nexts)
    return blocks, after


def shortest_way(lines: list[str], quads: int, width: int) -> Way | None:
    """The shortest cycle with the dot product's sum, a row's loads and stores, and a bias's store."""
    blocks, after = blocks_of(lines)

    def held(number: int) -> tuple[int, int, int]:
        block = blocks[number]
        stores = [operation(text) for text in block if operation(text).startswith("STG")]
        return (
            sum(is_row_load(text, width) for text in block),
            sum(f".{width}" in text.split(" ")[0] for text in stores),
            sum(
                "64" not in text.split(" ")[0] and "128" not in text.split(" ")[0]
                for text in stores
            ),
        )

    wanted = (quads, quads, 1)
    best: Way | None = None
    for sum_at, block in enumerate(blocks):
        if not any(operation(text).startswith("SHFL.BFLY") for text in block):
            continue
        queue: list[tuple[int, int, tuple[int, int, int], tuple[int, ...]]] = [
            (0, sum_at, (0, 0, 0), ())
        ]
        known: set[tuple[int, tuple[int, int, int]]] = set()
        while queue:
            length, number, so_far, way = heapq.heappop(queue)
            if number == sum_at and way:
                if so_far == wanted and (best is None or length < len(best.code)):
                    best = Way([text for n in way for text in blocks[n]])
                if so_far == wanted:
                    break
                continue
            if (number, so_far) in known:
                continue
            known.add((number, so_far))
            here = tuple(
                min(w, f + h) for w, f, h in zip(wanted, so_far, held(number), strict=True)
            )
            for following in after[number]:
                step = (length + len(blocks[number]), following, here, (*way, number))
                heapq.heappush(queue, step)
    return best


def traffic(storage: str, kind: str, k: int) -> tuple[int, int, int]:
    """Bytes of a rating, of a segment, and of a rating where the own row's state is not kept in registers."""
    stored = STORED_BYTES[storage]
    number = max(4, stored)
    states = {"momentum": 1, "adagrad_element": 1, "adam": 2}.get(kind, 0)
    row, state, bias = 2 * k * stored, 2 * states * k * number, 2 * SECTOR
    prior = SECTOR + k * number if kind == "pulled" else 0
    own = row + state + bias + prior
    more = state + (2 * SECTOR if kind not in ("plain", "pulled", "general") else 0)
    return row + state + bias + prior + ENTRY, own, row + state + bias + prior + ENTRY + more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, default=ROOT, metavar="FOLDER")
    parser.add_argument("--storage", nargs="+", choices=TYPES, default=["float16", "float32"])
    parser.add_argument("--tiles", nargs="+", metavar="LANESxQUADS")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="by default all that there are")
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--disassembler", default="nvdisasm", metavar="PATH")
    parser.add_argument("--ratings", type=float, default=26, help="of a segment, for the bytes")
    options = parser.parse_args()
    for tool in ("nvcc", options.disassembler):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not on the PATH; see the text at the top of this script")
    console = Console(width=150)
    version = subprocess.run(
        ["nvcc", "--version"], capture_output=True, text=True, check=True
    ).stdout
    release = re.search(r"V[\d.]+", version)
    console.print(
        f"{date.today()}, nvcc {release.group() if release else '?'}, {options.arch}; no time was measured, no GPU "
        "was asked\n",
        highlight=False,
    )
    all_kinds = kinds_of(options.source)
    kinds = options.kinds or all_kinds
    with tempfile.TemporaryDirectory() as folder:
        for storage in options.storage:
            tiles = options.tiles or TILES[storage]
            cubin, report = compiled(
                options.source, storage, tiles, kinds, options.arch, Path(folder)
            )
            listing = subprocess.run(
                [options.disassembler, "-c", str(cubin)], capture_output=True, text=True, check=True
            ).stdout
            console.print(code_table(storage, kernels_in(report, all_kinds), functions_of(listing)))
            console.print(traffic_table(storage, kinds, options.ratings))


def code_table(storage: str, kernels: list[Kernel], functions: dict[str, list[str]]) -> Table:
    table = Table(title=f"{storage}: the passes' code")
    for column in ("tile", "kind", "registers", "spills", "blocks", "in flight"):
        table.add_column(column, justify="left" if column in ("tile", "kind") else "right")
    for column in (
        "instructions",
        "a rating",
        "shuffles",
        "votes",
        "barriers",
        "loads",
        "stores",
        "wait",
    ):
        table.add_column(column, justify="right")
    width = min(128, 32 * STORED_BYTES[storage])
    for kernel in kernels:
        tiles_of_warp = 32 // kernel.lanes
        way = shortest_way(functions[kernel.name], kernel.quads, width)
        cells = [""] * 8
        at_once = "?"
        if way is not None:
            waits, length = way.waits(width), len(way.code)
            # A load that is needed no sooner than most of a way round later is of the next rating.
            ahead = bool(waits) and max(waits) > length / 2
            at_once = str(kernel.blocks * (THREADS // 32) * tiles_of_warp * (2 if ahead else 1))
            cells = [
                str(length),
                f"{length / tiles_of_warp:.0f}",
                str(way.count("SHFL")),
                str(way.count("VOTE")),
                str(way.count("WARPSYNC", "BAR")),
                str(way.count("LDG")),
                str(way.count("STG")),
                str(min(waits, default=0)),
            ]
        table.add_row(
            f"{kernel.lanes}x{kernel.quads}",
            kernel.kind,
            str(kernel.registers),
            str(kernel.spills),
            str(kernel.blocks),
            at_once,
            *cells,
        )
    return table


def traffic_table(storage: str, kinds: list[str], ratings: float) -> Table:
    table = Table(
        title=f"{storage}: bytes of a rating, in segments of {ratings:g}, and plain's share of them"
    )
    table.add_column("kind")
    ranks = (32, 64, 128)
    for k in ranks:
        table.add_column(f"k = {k}", justify="right")
        table.add_column("share", justify="right")
        table.add_column("own state in memory", justify="right")
    plain = {k: traffic(storage, "plain", k) for k in ranks}
    for kind in kinds:
        cells = []
        for k in ranks:
            (rating, own, before), (of_plain, own_plain, _) = traffic(storage, kind, k), plain[k]
            share = (of_plain + own_plain / ratings) / (rating + own / ratings)
            cells += [
                f"{rating + own / ratings:.0f}",
                f"{share:.0%}",
                f"{before + own / ratings:.0f}",
            ]
        table.add_row(kind, *cells)
    return table


if __name__ == "__main__":
    main()
