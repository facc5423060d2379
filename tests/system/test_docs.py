"""What the README and the pages of docs say is so: commands, code, options, links.

A command of `python -m project` is parsed with `--print_config`, a script's by its own parser, a target is looked up. Those
that a newcomer types first are run too, one page after another in an empty folder, with an epoch in place of many and
drawings in place of photographs (`test_a_page_from_top_to_bottom`). Left to parsing: what wants a GPU, a download or hours.
The pages of docs/how-to have `test_how_to.py`, the notebooks `make notebooks`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from project import __version__
from project.cli import main
from project.data import Digits
from project.export.build import export
from project.losses.distillation import LossTerm
from project.models.captioning import DecoderOptions
from project.tasks import Captioner, Classifier

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if not {"_build", "notebooks", "how-to", "reference"} & set(path.relative_to(ROOT).parts)
}
LINKED = {
    path: path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}
OTHERS = {"mlflow", "source", "tensorboard"}
"""Programs that are not ours."""
STAND_INS = {"...": None, "…": None, "DIR": "images", "IMAGES": "photos/", "A.yaml": "configs/distiller/digits.yaml",
             "B.yaml": "configs/classifier/digits.yaml", "YOURS.yaml": "configs/classifier/digits.yaml"}  # fmt: skip


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def words(line: str) -> list[str]:
    """A command's, with something in the place of what its reader fills in, and without variables and redirection."""
    given = shlex.split(line.partition(" > ")[0].removesuffix(" &"), comments=True)
    while given and re.match(r"[A-Z_]+=", given[0]):
        del given[0]
    filled = [stand_in for word in given if (stand_in := STAND_INS.get(word, word))]
    return [*filled, "configs/classifier/digits.yaml"] if filled[-1:] == ["--config"] else filled


def commands(text: str) -> list[list[str]]:
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [found for line in lines if (found := words(line))]


def inline_commands(text: str) -> list[list[str]]:
    """Those in a running text or in a table."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(
        r"`((?:python -m project (?:fit|validate|test|predict)|python scripts/|sbatch |make )[^`]*)`", text
    )
    return [words(" ".join(line.split())) for line in lines]


COMMANDS = {
    " ".join(map(shlex.quote, found)): found
    for text in PAGES.values()
    for found in (*commands(text), *inline_commands(text))
}


# ---- a folder in which they can be read


def checkpoint(task: Classifier | Captioner, data: str, folder: Path) -> None:
    """A run of an untrained network, which can be tested, predicted with and resumed as far as parsing goes."""
    content = {"task": type(task).__name__, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict(),
               "loops": {}, "optimizer_states": [], "config": {"data": {"class_path": f"project.data.{data}"}}}  # fmt: skip
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        torch.save(content, folder / "checkpoints" / f"{name}.ckpt")
    (folder / "config.yaml").write_text("{}")


@pytest.fixture(scope="module")
def reading_room(tmp_path_factory) -> Path:
    """Configurations, scripts and a run under each name that the pages know."""
    folder = tmp_path_factory.mktemp("docs")
    for part in ("configs", "scripts", "Makefile"):
        (folder / part).symlink_to(ROOT / part)
    classifier = Classifier(Digits().class_names, 16, "simple_cnn")
    small = DecoderOptions(hidden_size=8, embedding_size=8)
    captioner = Captioner(["a", "b"], 8, 16, "small_resnet", {"width": 4}, decoder=small)
    for name in ("classifier-digits", "classifier-imagefolder", "distiller-digits"):
        checkpoint(classifier, "Digits", folder / "runs" / name / "version_0")
    for name in ("captioner-emoji", "captioner-captiontable", "no-attention"):
        checkpoint(captioner, "Emoji", folder / "runs" / name / "version_0")
    torch.save({"config": None}, folder / "other.ckpt")
    trial = folder / "runs" / "sweep-classifier-digits" / "trial_007" / "version_0"
    trial.mkdir(parents=True)
    (trial / "config.yaml").symlink_to(ROOT / "configs" / "classifier" / "digits.yaml")
    (folder / "exports").mkdir()
    (folder / "exports" / "caption.py").symlink_to(ROOT / "project" / "export" / "caption.py")
    (folder / "mine.yaml").write_text((ROOT / "configs/captioner/emoji.yaml").read_text())
    return folder


VERBS = {"sweep.py": "fit", "report.py": "test"}  # whose options these scripts pass on


class _Parsed(Exception):  # noqa: N818  no error: a script got as far as it should
    """`found`: what its parser gave."""

    def __init__(self, found: object) -> None:
        self.found = found


def parse(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads a command as it would be read, and starts nothing."""
    program, *arguments = command
    for word in arguments:
        assert not word.startswith(("configs/", "scripts/")) or Path(word).exists(), f"there is no {word}"
    if program == "sbatch":
        script = next(place for place, word in enumerate(arguments) if word.endswith(".sh"))
        assert Path(arguments[script]).is_file()
        program, arguments = "python", ["-m", "project", "fit", *arguments[script + 1 :]]
    if program in ("python", "torchrun") and arguments[:2] == ["-m", "project"]:
        helps = any(word == "--help" or word.endswith(".help") for word in arguments)
        with pytest.raises(SystemExit) as stop:
            main([*arguments[2:], *([] if helps else ["--print_config"])])
        assert not stop.value.code
    elif program == "python" and arguments[0] == "-m":
        assert shutil.which(arguments[1]) or __import__(arguments[1])
    elif program == "python":
        with monkeypatch.context() as patch:
            for name in ("parse_args", "parse_known_args"):
                original = getattr(argparse.ArgumentParser, name)

                def parsed(self, *given, original=original, **options):
                    raise _Parsed(original(self, *given, **options))

                patch.setattr(argparse.ArgumentParser, name, parsed)
            patch.setattr(sys, "argv", arguments)
            with pytest.raises(_Parsed) as raised:
                runpy.run_path(arguments[0])["main"]()
        if (verb := VERBS.get(Path(arguments[0]).name)) and isinstance(raised.value.found, tuple):
            known, rest = raised.value.found
            source = ["--ckpt_path", known.ckpt_path] if verb == "test" else []
            with pytest.raises(SystemExit) as stop:
                main([verb, *source, *rest, "--print_config"])
            assert not stop.value.code
    elif program == "make":
        targets = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in " ".join(targets).split()
    else:
        assert program in OTHERS


def test_commands_are_found():
    assert len(COMMANDS) > 50
    assert {command[0] for command in COMMANDS.values()} <= {"python", "make", "sbatch", "torchrun", *OTHERS}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one(reading_room, monkeypatch, line):
    monkeypatch.chdir(reading_room)
    parse(COMMANDS[line], monkeypatch)


# ---- code and options


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")
@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page, tmp_path, monkeypatch, captioned, run, caption_options, trained):
    """In a folder with runs under the names that the pages know, and with photographs."""
    code = blocks(PAGES[page], "python")
    if not code:
        return
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "classifier-imagefolder" / "version_0")
    if "captioner-captiontable" in "".join(code):
        assert run(*caption_options(captioned, tmp_path / "runs", "--name", "captioner-captiontable")) == 0
    if "photos/1.jpg" in "".join(code):
        (tmp_path / "photos").mkdir()
        shutil.copy(next(captioned.glob("*.png")), tmp_path / "photos" / "1.jpg")
    if "digits.onnx" in "".join(code):
        for file_format in ("onnx", "safetensors"):
            export(str(trained), file_format, tmp_path / f"digits.{file_format}")
        shutil.copy(next(captioned.glob("*.png")), tmp_path / "photo.png")
    names: dict[str, object] = {"images": np.zeros((2, 3, 12, 12), np.uint8)}
    for block in code:
        exec(compile(block, page, "exec"), names)


def test_yaml_is_yaml_and_losses_are_losses():
    found = [yaml.safe_load(block) for text in PAGES.values() for block in blocks(text, "yaml")]
    assert found
    losses = [LossTerm(**term) for content in found if "losses" in content for term in content["losses"]]
    assert len(losses) == 3


def printed(*options: str) -> dict:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([*options, "--print_config"])
    return yaml.safe_load(out.getvalue())


def flat(config: object, prefix: str = "") -> set[str]:
    """Dotted names of options, and of groups of them, as the command line spells them."""
    names = {prefix}
    for key, inside in config.items() if isinstance(config, dict) else ():
        names |= flat(inside, prefix if key in ("init_args", "class_path") else f"{prefix}.{key}".lstrip("."))
    return names


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option of every task, with the data sets that it goes with."""
    captions = "captioner/karpathy.yaml", "--data.annotations", "x", "--data.images", "x"
    given = (
        ("classifier/imagefolder.yaml", "--data.root", "x"),
        ("classifier/digits.yaml", "--config", str(ROOT / "configs/trainer/mlflow.yaml")),
        ("classifier/digits.yaml", "--config", str(ROOT / "configs/trainer/wandb.yaml")),
        ("distiller/digits.yaml",),
        ("distiller/emoji_captioner.yaml",),
        captions,
        (captions[0], "--data", "CaptionTable", "--data.table", "x.csv"),
        (*captions, "--data", "COCOCaptions"),
    )
    return {
        name
        for config, *more in given
        for name in flat(printed("fit", "--config", str(ROOT / "configs" / config), *more))
    }


def test_options_in_the_text_exist(known_options):
    sections = "model|data|trainer|checkpoint|early_stopping|ema|guard|watch|budget"
    found = {name for text in LINKED.values() for name in re.findall(rf"--((?:{sections})(?:\.\w+)+)", text)}
    # of one class or network, and a mistake that is shown
    own = {"data.count", "model.backbone_options.width", "model.backbone_options.stem", "model.backbon"}
    wrong = {name for name in found - own if name not in known_options and not name.endswith(".help")}
    assert len(found) > 60
    assert not wrong


def test_options_in_the_tables_exist(known_options):
    """The first column of a table of options: the first has its whole name, the others begin like it."""
    found = []
    for table in re.findall(r"^\| option \|.*?(?=^$)", PAGES["README.md"], re.DOTALL | re.MULTILINE):
        for row in table.splitlines()[2:]:
            names = [re.split("[: ]", name)[0] for name in re.findall(r"(?:^|, )`([^`]*)`", row.split("|")[1].strip())]
            group = ""
            for name in names:
                group = name.rpartition(".")[0] if "." in name else group
                found.append(name if "." in name else f"{group}.{name}")
    assert len(found) > 40
    assert [name for name in found if name not in known_options] == []


# ---- links


def slugs(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", LINKED[path], flags=re.DOTALL | re.MULTILINE)
    ):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in slugs(target.read_text()), link


def test_the_root_files_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what CFF 1.2.0 requires
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert f"## {__version__}\n" in PAGES["CHANGELOG.md"]


# ---- from top to bottom


SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2"]
AFTER = ["--trainer.limit_test_batches", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1",
         "--watch.pictures", "0", "--progress", "none"]  # fmt: skip
LEFT_OUT = ("finetune.yaml", "ddp.yaml", "--help", "--model.help", "emoji_captioner", "scripts/compare.py", "scripts/sweep.py", "captions_val2014.json",
            "scripts/make_runs.py", "sphinx", "pytest")  # fmt: skip
"""Of the README: a download, several processes, and what other tests run."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_page_from_top_to_bottom(page, tmp_path, monkeypatch, images, captioned):
    """In an empty folder; `fit` has an epoch of two batches and what is resumed one more, other words are the page's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    if page == "README.md":
        shutil.copytree(captioned, tmp_path / "photos")
        start = [["python", "-m", "project", *line.split("-m project ")[1].split()] for line in demo()]
    else:
        (drawing, *_) = blocks(PAGES[page], "python")
        exec(compile(drawing, page, "exec"), {})
        start = []
    for program, *arguments in (*start, *commands(PAGES[page])):
        if program != "python" or any(part in " ".join(arguments) for part in LEFT_OUT):
            continue
        if arguments[0] != "-m":
            more = ["--sections", "accuracy,cost"] if arguments[0] == "scripts/report.py" else []
            monkeypatch.setattr(sys, "argv", [*arguments, *more])
            runpy.run_path(arguments[0], run_name="__main__")
            continue
        verb, *given = arguments[2:]
        if "--print_config" in given:
            Path("mine.yaml").write_text(yaml.safe_dump(printed(verb, *given[:-1])))
            continue
        short = ["--trainer.max_epochs", "2"] if "--ckpt_path" in given else SHORT
        main([verb, *given, *(short if verb == "fit" else ()), *AFTER])
    finished = {path.parts[-4] for path in tmp_path.glob("runs/*/version_*/checkpoints/best.ckpt")}
    expected = {"README.md": {"classifier-digits", "classifier-imagefolder", "captioner-emoji", "distiller-digits",
                              "teacher-digits"},
                "docs/tutorial.md": {"captioner-captiontable", "no-attention"}}  # fmt: skip
    assert finished == expected[page]
    assert list(tmp_path.glob("runs/*/version_0/index.html"))


def demo() -> list[str]:
    """What `make demo` runs."""
    text = (ROOT / "Makefile").read_text()
    return re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1].splitlines()


# ---- the pages


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_pages_are_made_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", ROOT / "docs", tmp_path]
    subprocess.run([*map(str, command)], check=True)
    for page in ("index", "tutorial", "how-to/dataset", "reference/tasks", "notebooks/captioning"):
        assert (tmp_path / f"{page}.html").stat().st_size > 10_000
    assert "project.tasks.captioner.Captioner" in (tmp_path / "reference" / "tasks.html").read_text()
