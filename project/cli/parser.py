"""The options of every command, and one line for each mistake in them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, NoReturn, get_args

import lightning.pytorch.callbacks
import lightning.pytorch.loggers  # noqa: F401  what is imported is found by its short name
import yaml
from jsonargparse import ArgumentParser, set_dumper, set_loader
from lightning.pytorch import LightningDataModule, Trainer

import project.data
import project.optim
import project.tasks
from project import __version__
from project.callbacks.averaging import AveragingOptions
from project.callbacks.checkpointing import CheckpointOptions
from project.callbacks.guard import GuardOptions
from project.callbacks.lookahead import LookaheadOptions
from project.callbacks.progress import ProgressStyle
from project.callbacks.watching import Watching
from project.cli.layers import start_anew_with_another_class
from project.cli.mistakes import class_names, explain
from project.data.facts import FACTS
from project.errors import ConfigError
from project.files import OutputPath
from project.runs.budget import Budget, EarlyStoppingOptions
from project.runs.precision import fastest_precision
from project.runs.schema import parameters, subclasses
from project.tasks import Task
from project.yaml_files import dump_yaml, load_option

VERBS = {
    "fit": "train, and validate after each epoch",
    "validate": "measure a checkpoint on the validation split",
    "test": "measure a checkpoint on the test split",
    "predict": "apply a checkpoint to image files",
}
COMPLETED_SHELLS = ("bash", "zsh", "tcsh")
GROUPS: dict[str, Any] = {
    "checkpoint": CheckpointOptions,
    "early_stopping": EarlyStoppingOptions,
    "ema": AveragingOptions,
    "lookahead": LookaheadOptions,
    "guard": GuardOptions,
    "watch": Watching,
    "budget": Budget,
}
"""Groups of training options beside those of model, data and trainer."""
start_anew_with_another_class()

_MODE = "project"
# libyaml, which jsonargparse uses, reads neither escapes such as \ud83d\ude00 of JSON nor names that are not UTF-8
set_loader(_MODE, load_option, (yaml.YAMLError,))
set_dumper(_MODE, dump_yaml)


class Parser(ArgumentParser):
    """jsonargparse's parser, whose mistakes are one line instead of seventy.

    Attributes:
        links: options that follow from others, and those others; given by hand they would have no effect.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.links: dict[str, str] = {}
        super().__init__(*args, **options)

    def link_arguments(self, source: Any, target: str, *args: Any, **options: Any) -> None:
        """See jsonargparse; notes the link."""
        super().link_arguments(source, target, *args, **options)
        self.links[target.replace(".init_args.", ".")] = source.replace(".init_args.", ".")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the mistake as a `ConfigError`."""
        if not self.exit_on_error:  # a parser of one class inside this one, which will explain it whole
            super().error(message, ex)
        options = {action.dest.partition(".")[0] for action in self._actions}
        raise ConfigError(explain(message, options)) from None


def build_parser(verb: str, given: Iterable[str] = ()) -> Parser:
    """The parser of one command. All commands take the same configuration.

    Args:
        verb: which.
        given: required arguments of the task that are not options: the data have them, or a checkpoint.
    """
    parser = Parser(prog=f"python -m project {verb}", description=VERBS[verb].capitalize() + ".", allow_abbrev=False,
                    parser_mode=_MODE)  # fmt: skip
    parser.add_argument("-c", "--config", action="config", help="a YAML file; of several, the later one wins")
    parser.add_argument("--name", type=str | None, help="the run's folder below the root; by default TASK-DATA")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument(
        "--ckpt_path", type=str | None, help="a checkpoint or a run's folder, `best`, `last`, or to train on, `auto`"
    )
    if verb == "predict":
        # without a default, since all commands take the same configuration
        parser.add_argument(
            "--output", type=OutputPath, default=argparse.SUPPRESS, help="a directory to write to; by default the run's"
        )
    parser.add_argument("--progress", type=ProgressStyle, default="auto", help="a bar, or a line each epoch")
    for group, options in GROUPS.items():
        parser.add_argument(f"--{group}", type=options, default=options())
    parser.add_subclass_arguments(Task, "model", required=False)
    parser.add_subclass_arguments(LightningDataModule, "data", required=False)
    _try_whole_numbers_first()
    parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False)
    parser.set_defaults(
        {
            "trainer.precision": fastest_precision(),
            "trainer.enable_model_summary": False,  # the run's own summary has the sizes
            "trainer.num_sanity_val_steps": 0,  # validation that cannot run shows after the first epoch
            "trainer.use_distributed_sampler": False,  # the loaders shard; Lightning would shard their shards again
        }
    )
    parser.link_arguments("seed", "data.init_args.seed")
    for name in given:
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        if name not in FACTS:  # of a checkpoint, and options none the less
            del parser.links[f"model.{name}"]
    return parser


def how_to_set(source: str) -> str:
    """Ends a sentence on an option that follows from another: what is to be set in its place."""
    section, _, name = source.rpartition(".")
    if not section or any(name in parameters(cls) for cls in subclasses(LightningDataModule)):
        return f"follows --{source}; set that, and leave it out"
    return "follows from the data; leave it out"


def _try_whole_numbers_first() -> None:
    """Keeps `--trainer.limit_train_batches 1`, which is one batch, from becoming 1.0, which is all of them.

    `typing` takes the Trainer's Optional[Union[int, float]] for another library's Optional[Union[float, int]] if that was
    made first, as when torchvision was imported before Lightning, and jsonargparse tries types in their order.
    """
    hints = Trainer.__init__.__annotations__
    for name, hint in hints.items():
        kinds = get_args(hint)
        if {int, float} <= set(kinds):
            hints[name] = reduce(or_, sorted(kinds, key=lambda kind: kind is not int))


def root_parser() -> Parser:
    """All commands in one parser, for `--help`."""
    parser = Parser(prog="project", description=project.__doc__, version=f"project {__version__}")
    parser.add_argument("--print_completion", choices=COMPLETED_SHELLS, help="the shell's completion script")
    commands = parser.add_subcommands(required=True, dest="command")
    for verb, text in VERBS.items():
        commands.add_subcommand(verb, build_parser(verb, FACTS if verb == "fit" else ()), help=text)
    return parser


def completion(shell: str) -> str:
    """The completion script of a shell: commands, options, and the names of tasks and data sets.

    Without the options of every class that could be named, whose script would have a hundred megabytes.

    Raises:
        ConfigError: shtab is not installed, or it does not know the shell.
    """
    try:
        import shtab
    except ImportError:
        raise ConfigError("--print_completion: needs shtab; install it with pip install shtab") from None
    if shell not in COMPLETED_SHELLS:
        raise ConfigError(f"--print_completion: '{shell}' is none of {', '.join(COMPLETED_SHELLS)}")
    root = argparse.ArgumentParser(prog="project")
    commands = root.add_subparsers()
    choices = {"--model": class_names(Task), "--data": class_names(LightningDataModule)}
    for verb in VERBS:
        command = commands.add_parser(verb, help=VERBS[verb])
        for option in sorted(build_parser(verb, FACTS if verb == "fit" else ())._option_string_actions):
            if option.startswith("--") and not option.endswith(("+", "help")):
                command.add_argument(option, choices=choices.get(option), help=" ")  # shtab leaves out what has none
    return shtab.complete(root, shell)
