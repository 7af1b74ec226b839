"""Feed mutated files to all readers: each file must be read, or refused in one line.

python benchmarks/fuzz.py [--count 20000] [--minutes 20] [--seed 0] [--only FORMAT]

Prints the options that repeat each failure, one line for each format, and one JSON line. Exits with
1 after a failure. A failure is an exception other than TpifuError, an error message of several
lines, printed output, a Python warning, more than 2 s of CPU time, no answer within 20 s, more than
1.5 GB of memory, or a crash.

Files are read in a child process, which is replaced if it crashes, hangs or grows too large. The
limit applies to resident memory, because libraries map more than they use; some builds of torch map
up to 30 GB.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from memory import forget_peak, peak_mb
from mutations import mutated_file

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.seed_files import Format, write_formats

from tpifu.errors import TpifuError

REFUSED = ("jpg", "net_G")
"""Formats whose seed files are refused: JPEG has no mask, and a complete net_G would be large."""
CPU_SECONDS, WALL_SECONDS = 2.0, 20.0
MEMORY_MB = 1500


class Attempt(NamedTuple):
    outcome: str
    """read, refused or failed."""
    message: str
    ms: float


def attempt(read: Callable[[Path], Any], path: Path, printed: TextIO) -> Attempt:
    """Read a file. `printed`: the file that receives the output of the process."""
    printed.seek(0)
    printed.truncate()
    outcome, message = "read", ""
    forget_peak()
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read(path)
        except TpifuError as error:
            outcome, message = "refused", str(error)
            if len(message.splitlines()) != 1:
                outcome = "failed"
        except BaseException as error:
            place = _place(error)
            outcome, message = "failed", f"{place}: {type(error).__name__}: {error}"
    ms, peak = 1000 * (time.process_time() - start), peak_mb()
    printed.seek(0)
    found = [f"warning: {warning.message}" for warning in caught]
    found += [f"printed: {text}"] if (text := printed.read()) else []
    found += [f"{ms:.0f} ms"] if ms > 1000 * CPU_SECONDS else []
    found += [f"{peak:.0f} MB"] if peak > MEMORY_MB else []
    return Attempt("failed", found[0], ms) if found else Attempt(outcome, message, ms)


def _place(error: BaseException) -> str:
    """The innermost line of a traceback that lies in tpifu/."""
    place, step = "", error.__traceback__
    while step:
        if "/tpifu/" in (file := step.tb_frame.f_code.co_filename):
            place = f"{file.rpartition('/tpifu/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return place


def serve(pipe: Connection, formats: dict[str, Format], output: Path) -> None:
    """For each (format, seed) received, read the mutated file and send the Attempt."""
    printed = output.open("w+", errors="replace")
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    # Read the seed files first, which imports all modules.
    for name, form in formats.items():
        for seed in form.seeds:
            form.path.write_bytes(seed)
            found = attempt(form.read, form.path, printed)
            if found.outcome == "failed" or (found.outcome == "refused" and name not in REFUSED):
                pipe.send(f"{name}: {found}")
    pipe.send("")
    while True:
        name, seed = pipe.recv()
        form, rng = formats[name], random.Random(f"{name} {seed}")
        form.path.write_bytes(mutated_file(rng.choice(form.seeds), rng))
        pipe.send(attempt(form.read, form.path, printed))


class Reader:
    """A child process that reads files."""

    def __init__(self, formats: dict[str, Format], output: Path) -> None:
        self._formats, self._output = formats, output
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = theirs, self._formats, self._output
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        if error := self._pipe.recv():
            raise RuntimeError(error)

    def read(self, name: str, seed: int) -> Attempt:
        self._pipe.send((name, seed))
        end, message = time.monotonic() + WALL_SECONDS, ""
        try:
            while not message:
                if self._pipe.poll(0.05):
                    return self._pipe.recv()
                if time.monotonic() > end:
                    message = f"no answer after {WALL_SECONDS:g} s"
                elif self._resident_mb() > MEMORY_MB:
                    message = f"more than {MEMORY_MB} MB"
        except EOFError:
            self._process.join()
            last = self._output.read_text(errors="replace").strip().rpartition("\n")[2]
            message = f"the process ended with {self._process.exitcode}: {last}"
        self._process.kill()
        self._process.join()
        self._start()
        return Attempt("failed", message, 0.0)

    def _resident_mb(self) -> float:
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def attempts(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, Attempt]]:
    """Format, seed and outcome of each mutated file; the formats alternate."""
    end = time.monotonic() + 60 * options.minutes
    formats = write_formats(folder)
    reader = Reader(formats, folder / "printed.txt")
    names = [options.only] if options.only else list(formats)
    for number in range(options.count):
        if time.monotonic() > end:
            break
        name, seed = names[number % len(names)], options.seed + number // len(names)
        yield name, seed, reader.read(name, seed)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="FORMAT")
    options = parser.parse_args()
    counts: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"read": 0, "refused": 0, "failed": 0, "slowest_ms": 0.0}
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, seed, found in attempts(options, Path(folder)):
            own = counts[name]
            own[found.outcome] += 1
            own["slowest_ms"] = max(own["slowest_ms"], round(found.ms, 1))
            if found.outcome == "failed":
                print(f"--only {name} --seed {seed} --count 1: {found.message[:300]!r}", flush=True)
    for name, own in counts.items():
        print(f"{name:16}" + "".join(f"{key} {value:<8}" for key, value in own.items()))
    totals = {
        key: sum(own[key] for own in counts.values()) for key in ("read", "refused", "failed")
    }
    slowest = max(own["slowest_ms"] for own in counts.values())
    print(json.dumps({"files": sum(totals.values()), **totals, "slowest_ms": slowest}))
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
