"""Mutation testing: small mistakes are made in the code, one at a time, and the tests are to notice each of them.

    python scripts/mutate.py --rooms decoding losses metrics --sample 120 --output mutants.json
    python scripts/mutate.py --rooms losses --again mutants.json     # what survived there, and no more

A mutant is tested by its module's tests and then by those of its room, in a process that is forked from one that has
imported everything but the project, and in a copy of the tree. What survives is printed with its diff, and is to be
read: a test is missing, or the code does too much, or the mutant does the same. mutmut, which forks too, leaves out what
is decorated, as most losses and searches are, and whatever lies outside of functions.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# so that `python scripts/mutate.py` finds the project without installing it
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from mutation.mistakes import Mutant, mutants

from project.errors import ConfigError, DataError, one_line_for_mistakes
from project.files import write_text
from project.yaml_files import dump_json

_TREE = ("project", "tests", "scripts", "configs", "pyproject.toml")
_FOR_TESTS = ("torch", "torchmetrics.classification", "hypothesis", "scipy.stats", "sklearn.metrics", "jsonargparse")


def all_mutants(room: str) -> list[Mutant]:
    """Those of each module of a room, in order.

    Raises:
        ConfigError: there is no such room.
    """
    paths = sorted((ROOT / "project" / room).rglob("*.py"))
    if not paths:
        raise ConfigError(f"--rooms: project/{room} holds no code; name a folder of project/")
    return [mutant for path in paths for mutant in mutants(str(path.relative_to(ROOT)), path.read_bytes())]


def sampled(room: str, count: int, seed: int) -> list[Mutant]:
    """So many mutants of a room, or all where there are fewer."""
    found = all_mutants(room)
    draw = random.Random(f"{room} {seed}")  # noqa: S311 (nothing secret)
    return [found[place] for place in sorted(draw.sample(range(len(found)), min(count, len(found))))]


def surviving(room: str, path: Path) -> list[Mutant]:
    """Those of a room that survived in an earlier `--output`, as far as the code is the same.

    Raises:
        DataError: the file is absent, or is none.
    """
    try:
        known = [Mutant(**each) for each in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"--again: {path}: is no --output of this script ({error})") from None
    return [mutant for mutant in all_mutants(room) if replace(mutant, outcome="survived") in known]


# ---- tests


def tried(mutant: Mutant, others: str, seconds: float) -> Mutant:
    """What the tests say: killed, survived, or timed out. A process of its own is forked for it."""
    tree = Path(tempfile.mkdtemp(prefix="mutant-"))
    try:
        for name in _TREE:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, tree / name)
        path = tree / mutant.module
        path.write_bytes(mutant.source(path.read_bytes()))
        process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(tree, mutant.module, others))
        process.start()
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return replace(mutant, outcome="timed out")
        return replace(mutant, outcome="killed" if process.exitcode else "survived")
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _run_tests(tree: Path, module: str, others: str) -> None:
    """Ends the process with status 0 where all tests of the module and of its room pass."""
    import pytest

    os.setsid()  # so that the processes of a test end with it
    os.chdir(tree)
    sys.path[:] = [str(tree), *(folder for folder in sys.path if folder != str(ROOT))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "project"]:
        del sys.modules[name]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    room = tree / "tests" / Path(module).parts[1]
    path = Path("tests", *Path(module).parts[1:])
    mirror = tree / path.with_name(f"test_{path.name}")
    rest = [str(test) for test in sorted(room.rglob("test_*.py")) if test != mirror]
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-m", "not slow and not faults and not nightly", "--basetemp", str(tree / "pytest")]
    status = pytest.main([*options, str(mirror)]) if mirror.is_file() else 0
    os._exit(int(status or pytest.main([*options, "-k", others, *rest])))


# ---- the command


def main(arguments: list[str] | None = None) -> None:
    """Tries a sample, and prints what survived and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", required=True, metavar="ROOM", help="folders of project/")
    parser.add_argument("--sample", type=int, default=120, help="mutants a room (120)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="an --output, of which only survivors are tried")
    parser.add_argument(
        "--others", default="", metavar="EXPRESSION", help="pytest's -k for the room's other tests (all)"
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="the longest that a mutant is tested (300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time (one a core)")
    parser.add_argument("--output", type=Path, default=Path("mutants.json"), metavar="FILE", help="(mutants.json)")
    options = parser.parse_args(arguments)
    with one_line_for_mistakes():
        again = options.again
        chosen = [
            mutant
            for room in options.rooms
            for mutant in (surviving(room, again) if again else sampled(room, options.sample, options.seed))
        ]
        attempt = partial(tried, others=options.others, seconds=options.seconds)
        for name in _FOR_TESTS:  # once, and not by each process
            import_module(name)
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
            whole = [Mutant(f"project/{room}/__init__.py", 1, 0, 0, "") for room in options.rooms]  # with no mistake
            for room, found in zip(options.rooms, pool.map(attempt, whole), strict=True):
                if found.outcome != "survived":
                    raise DataError(
                        f"tests/{room}: {found.outcome} as it is; see `pytest tests/{room}`, or raise --seconds"
                    )
            waiting = [pool.submit(attempt, mutant) for mutant in chosen]
            for done in as_completed(waiting):
                print(line(done.result()), flush=True)
        outcomes = [done.result() for done in waiting]
        write_text(options.output, dump_json([asdict(mutant) for mutant in outcomes], indent=1))
        print(table(outcomes))


def line(mutant: Mutant) -> str:
    """What came of it, and of a survivor the diff."""
    survived = mutant.outcome == "survived"
    diff = f"\n{mutant.diff((ROOT / mutant.module).read_bytes())}" if survived else ""
    return f"{mutant.outcome:9} {mutant.module}:{mutant.line}{diff}"


def table(outcomes: list[Mutant]) -> str:
    """How many of each room were noticed."""
    counts: dict[str, Counter[str]] = {}
    for mutant in outcomes:
        counts.setdefault(Path(mutant.module).parts[1], Counter())[mutant.outcome] += 1
    lines = [f"{'room':12} {'mutants':>9} {'killed':>9} {'timed out':>9} {'survived':>9}"]
    for room, count in counts.items():
        numbers = (count.total(), count["killed"], count["timed out"], count["survived"])
        lines.append(f"{room:12} " + " ".join(f"{number:9}" for number in numbers))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
