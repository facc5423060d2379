"""Hostile checkpoints, opened by every command in a process that is watched.

    python scripts/fuzz_checkpoints.py [--seconds 60] [--seed 0] [--first N --rounds 1] [--keep fuzz]

Each round changes one place of a real checkpoint: a mapping that names a class, a text of YAML or JSON with escapes,
anchors and merge keys, a dotted name, a place to write to, a value of a wrong type, a huge or deeply nested one. An
audit hook records imports, processes, sockets and files opened for writing. A finding is whatever an unchanged
checkpoint does not cause, an exit status other than 0 and 2, a traceback, or a minute without an end.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the project is found without installing it

TASKS = ("Classifier", "Captioner", "Distiller")
VERBS = ("fit", "validate", "test", "predict", "export")
_SECONDS = 60
_PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
_SOCKETS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "webbrowser.open")
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")


class Outcome(NamedTuple):
    """What a command came to.

    status: its exit status; -14 when it had not ended in time.
    output: what it printed.
    events: what the audit hook recorded: imports, processes and sockets by name, changed files by path.
    """

    status: int
    output: str
    events: set[tuple[str, str]]


# ---- what is hostile


def hostile_values(place: Path) -> dict[str, Any]:
    """Values by their names; those that succeed leave something below `place`."""
    mark = str(place / "exploded")
    call = {"class_path": "os.system", "init_args": {"command": f"touch {mark}"}}
    popen = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", mark]}}
    escaped = json.dumps(call).replace("os.system", "os\\u002esystem")
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    loop: list[Any] = []
    loop.append(loop)
    bomb: Any = ["x"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(place), "name": "", "version": ""},
    }
    saver = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": str(place)}}
    callback = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_fit_start": "os.getcwd"}}
    return {
        "mapping": call, "mapping of Popen": popen, "list of mappings": [call], "nested mapping": {"a": {"b": call}},
        "JSON": json.dumps(call), "JSON with an escaped dot": escaped, "JSON in a list": [escaped],
        "JSON with all escaped": "".join(f"\\u{ord(c):04x}" for c in "os.system"),
        "YAML": f"class_path: os.system\ninit_args: {{command: touch {mark}}}",
        "YAML with an escape": f'{{"class_path": "os\\x2esystem", init_args: {{command: "touch {mark}"}}}}',
        "YAML with an anchor": f"{{a: &a {{class_path: os.system, init_args: {{command: touch {mark}}}}}, <<: *a}}",
        "YAML with a tag": f"!!python/object/apply:os.system ['touch {mark}']",
        "YAML bomb": "a: &a [x,x]\n" + "\n".join(f"{c}: &{c} [*{p},*{p}]" for p, c in zip("abcdefghi", "bcdefghij", strict=True)),
        "dotted name": "os.system", "dotted name of a file here": "evil.Evil", "module here": "evil",
        "module of the standard library": "antigravity.fly", "path of a configuration": "evil.yaml",
        "class here": {"class_path": "evil.Evil"}, "logger": logger, "loggers": [logger], "callback that saves": [saver],
        "callback that calls": [callback], "callback alone": callback, "absolute place": str(place),
        "relative place": f"../{place.name}", "home": "~/exploded", "URI": "http://user:secret@127.0.0.1:9/x",
        "number": 3, "negative": -1, "huge": 10**40, "large": 2**62, "nan": float("nan"), "infinity": float("inf"),
        "true": True, "nothing": None, "text": "x", "empty text": "", "long text": "x" * 100_000, "escapes": "\x1b]0;x\a\n",
        "empty list": [], "empty mapping": {}, "bytes": b"x", "tensor": torch.zeros(2), "set": {1}, "tuple": (1, 2),
        "deep": nested, "in itself": loop, "bomb": bomb, "mapping of numbers": {1: 2}, "expanded": torch.zeros(1).expand(10**12),
    }  # fmt: skip


_KEYS = (
    "callbacks", "callbacks+", "config", "optimizer", "optimizer.class_path", "lr_scheduler", "model", "trainer", "data",
    "model.init_args.optimizer", "init_args", "class_path", "dict_kwargs", "_instantiator", "_class_path", "__path__",
    "logger", "plugins", "profiler", "strategy", "accelerator", "default_root_dir", "name", "cache_dir", "weights",
    "init_from", "teacher", "backbone_options", "pretrained", "checkpoint_path", "model_registry", "<<", "", "a.b",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything in a checkpoint but the weights' own numbers; of long lists only the first items."""
    yield path
    if isinstance(value, dict):
        for key, item in list(value.items())[:60]:
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            yield from places(item, (*path, index))


def mutate(checkpoint: dict[str, Any], draw: random.Random, place: Path) -> tuple[str, dict[str, Any]]:
    """A copy with one hostile change, and what it is."""
    changed = copy.deepcopy(checkpoint)
    known = [path for path in places(changed) if path]
    sections: dict[str, list[tuple[Any, ...]]] = {}
    for path in known:
        sections.setdefault(str(path[0]), []).append(path)
    first = draw.choice(["config", "config", "config", "hyper_parameters", "hyper_parameters", *sections])
    path = draw.choice(sections[first])
    kind, value = draw.choice(list(hostile_values(place).items()))
    parent: Any = changed
    for key in path[:-1]:
        parent = parent[key]
    target = parent[path[-1]]
    if isinstance(target, dict) and draw.random() < 0.6:
        key = draw.choice(_KEYS)
        target[key] = value
        return f"{kind} as {'.'.join(map(str, (*path, key)))}", changed
    if isinstance(target, dict) and target and draw.random() < 0.3:
        key = draw.choice(list(target))
        del target[key]
        return f"without {'.'.join(map(str, (*path, key)))}", changed
    parent[path[-1]] = value
    return f"{kind} at {'.'.join(map(str, path))}", changed


# ---- how it is opened


def arguments(verb: str, checkpoint: Path, place: Path) -> list[str]:
    """The words of a command on a checkpoint, as a user gives them who wants everything below `place`."""
    if verb == "export":
        return [
            "--ckpt_path",
            str(checkpoint),
            "--format",
            "safetensors",
            "--output",
            str(place / "out" / "exported.safetensors"),
        ]
    more = {
        "fit": ["--trainer.max_epochs", "3"],
        "predict": ["--data.predict", str(place / "images" / "cat" / "0.png")],
    }
    return [verb, "--ckpt_path", str(checkpoint), "--trainer.default_root_dir", str(place / "runs"), "--name", "s",
            "--progress", "none", *more.get(verb, [])]  # fmt: skip


def run(words: list[str], place: Path) -> Outcome:
    """Runs a command, or the export, in a forked process that is watched; its working directory is `place/work`."""
    log, record = place / "output.txt", place / "events.txt"
    pid = os.fork()
    if not pid:
        status = 70
        try:
            status = _watched(words, place, log, record)
        finally:
            os._exit(status)
    deadline = time.monotonic() + _SECONDS
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Outcome(-14, log.read_text("utf-8", errors="replace"), set())
        time.sleep(0.01)
    events = {tuple(json.loads(line)) for line in record.read_text("utf-8").splitlines()} if record.exists() else set()
    return Outcome(os.waitstatus_to_exitcode(found[1]), log.read_text("utf-8", errors="replace"), events)


def _watched(words: list[str], place: Path, log: Path, record: Path) -> int:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    events = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(place / "work")
    sys.path.insert(0, "")  # as `python -m` has it
    os.environ |= {"HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    tempfile.tempdir = None
    torch.set_num_threads(1)
    packages = {name.partition(".")[0] for name in sys.modules}

    def note(event: str, given: tuple[Any, ...]) -> None:
        what = None
        if event == "import" and given[0].partition(".")[0] not in packages:
            what = given[0]
        elif event in _PROCESSES or event in _SOCKETS:
            what = event
        elif event in _CHANGES or (
            event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            inside = (
                event in ("os.remove", "os.rmdir") and given[1] != -1
            )  # of a tree whose removal was noted as a whole
            if isinstance(given[0], (str, bytes, os.PathLike)) and not inside:
                what = os.path.realpath(os.fsdecode(given[0]))
        if what is not None:
            os.write(events, json.dumps([event, what]).encode() + b"\n")

    sys.addaudithook(note)
    try:
        if words[0] == "--ckpt_path":
            sys.argv = ["export.py", *words]
            runpy.run_path(str(ROOT / "scripts" / "export.py"), run_name="__main__")
        else:
            from project.cli import main

            main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def findings(outcome: Outcome, clean: Outcome, place: Path) -> list[str]:
    """What a hostile checkpoint has caused that a clean one does not."""
    own = [str(place / name) for name in ("runs", "cache", "out", "base", "tmp")]
    found = [f"{event} {what}" for event, what in sorted(outcome.events - clean.events)
             if not (os.path.isabs(what) and (what.startswith((*own, "/dev/"))))]  # fmt: skip
    if outcome.status not in (0, 2):
        found.append(f"status {outcome.status}")
    if "Traceback" in outcome.output:
        found.append("a traceback")
    lines = [line for line in outcome.output.splitlines() if line.startswith("error: ")]
    if outcome.status == 2 and (len(lines) != 1 or len(lines[0]) > 2100 or "\x1b" in outcome.output):
        found.append(f"{len(lines)} lines of error")
    if (place / "exploded").exists() or (place / "home" / "exploded").exists():
        found.append("it exploded")
    return found


def prepare(place: Path) -> None:
    """Images, captions, and a working directory with modules and configurations that nothing may open."""
    for name in ("work", "home", "images/cat", "images/dog", "runs", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    rows = ["path\tcaption\tsplit"]
    for index in range(12):
        for name in ("cat", "dog"):
            path = place / "images" / name / f"{index}.png"
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
            rows.append(
                f"images/{name}/{index}.png\ta {name} number {index}\t{('train', 'train', 'val', 'test')[index % 4]}"
            )
    (place / "captions.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (place / "work" / "evil.py").write_text(
        f"open({str(place / 'exploded')!r}, 'w')\nclass Evil: pass\n", encoding="utf-8"
    )
    text = f"class_path: evil.Evil\ntrainer: {{callbacks: [evil.Evil]}}\nroot: {place}\n"
    (place / "work" / "evil.yaml").write_text(text, encoding="utf-8")


def train(task: str, place: Path) -> Path:
    """The `last.ckpt` of a tiny run of a task."""
    images = ["--data", "ImageFolder", "--data.root", str(place / "images"), "--model.backbone", "simple_cnn"]
    captions = ["--data", "CaptionTable", "--data.table", str(place / "captions.tsv"), "--model.backbone", "simple_cnn",
                "--model.decoder.embedding_size", "4", "--model.decoder.hidden_size", "4"]  # fmt: skip
    teacher = place / "base" / "classifier" / "version_0"
    own = {"Classifier": images, "Captioner": captions, "Distiller": [*images, "--model.teacher", str(teacher),
           "--model.allowed_drop", "1"]}[task]  # fmt: skip
    words = ["fit", "--model", task, *own, "--data.image_size", "16", "--trainer.max_epochs", "2", "--data.batch_size", "4",
             "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(place / "base"), "--name", task.lower(),
             "--progress", "none", "--watch.pictures", "0"]  # fmt: skip
    outcome = run(words, place)
    assert outcome.status == 0, outcome.output
    return place / "base" / task.lower() / "version_0" / "checkpoints" / "last.ckpt"


def main() -> None:
    """Rounds until the time is over; a table of what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, help="in place of the time")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="where findings are kept")
    options = parser.parse_args()
    import project.export.build  # noqa: F401  forked processes have imported everything

    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        place = Path(folder).resolve()
        prepare(place)
        paths = {task: train(task, place) for task in TASKS}
        checkpoints = {task: torch.load(path, weights_only=True) for task, path in paths.items()}
        clean = {
            (task, verb): run(arguments(verb, path, place), place) for task, path in paths.items() for verb in VERBS
        }
        for (task, verb), outcome in clean.items():
            assert outcome.status == 0, f"{task} {verb}: {outcome.output}"
        number, deadline = options.first, time.monotonic() + options.seconds
        while number - options.first < options.rounds if options.rounds else time.monotonic() < deadline:
            draw = random.Random(f"{options.seed} {number}")  # noqa: S311 (nothing secret)
            task, verb = draw.choice(TASKS), draw.choice(VERBS)
            what, content = mutate(checkpoints[task], draw, place)
            path = place / "work" / "stranger.ckpt"
            torch.save(content, path)
            outcome = run(arguments(verb, path, place), place)
            found = findings(outcome, clean[task, verb], place)
            counts["found" if found else "accepted" if outcome.status == 0 else "refused"] += 1
            if found:
                options.keep.mkdir(parents=True, exist_ok=True)
                again = f"python scripts/fuzz_checkpoints.py --seed {options.seed} --first {number} --rounds 1"
                text = f"{again}\n{verb} of a {task}, {what}\n{found}\n{outcome.output}"
                (options.keep / f"checkpoint-{options.seed}-{number}.txt").write_text(
                    text, encoding="utf-8", errors="replace"
                )
                print(f"{verb} of a {task}, {what!r:.200}: {found}\n  {again}", file=sys.stderr)
                (place / "exploded").unlink(missing_ok=True)
            number += 1
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    raise SystemExit(bool(counts["found"]))


if __name__ == "__main__":
    main()
