"""One command as the user gave it: options, and under them what its checkpoint says.

Precedence: command line, then the later config, then the earlier one, then the checkpoint, then defaults. So what a
checkpoint says is parsed as one more `--config` before all others.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.cli.arguments import Arguments
from project.cli.parser import VERBS, Parser, build_parser, completion, root_parser
from project.cli.restored import RestoredOptions
from project.data.facts import FACTS
from project.errors import CheckpointError, ConfigError, did_you_mean
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import checkpoint_of, find_checkpoint, find_unfinished
from project.runs.precision import evaluation_device, precision_of, usable_precision
from project.runs.schema import import_path, is_object, parameters
from project.tasks import Task
from project.tasks.fine_tuning import check_same
from project.yaml_files import dump_yaml

DEFAULT_ROOT = "runs"
_WORDS = ("last", "best", "auto")


@dataclass
class Command:
    """What is to be done.

    verb: fit, validate, test or predict.
    args: the arguments as given.
    parser: of this verb.
    config: all options, resolved.
    checkpoint_path: where to start from, if anywhere.
    checkpoint: its content, without weights.
    task: of a trained network, its class; `config.model` has its arguments, which are no options of `parser`.
    """

    verb: str
    args: list[str]
    parser: Parser
    config: Namespace
    checkpoint_path: str | None = None
    checkpoint: dict[str, Any] | None = None
    task: type[Task] | None = None

    @property
    def root(self) -> str:
        """The folder of all runs."""
        return self.config.trainer.default_root_dir or DEFAULT_ROOT

    @property
    def name(self) -> str:
        """The run's folder below the root."""
        if self.config.name:
            return self.config.name
        task = self.config.model.class_path.rpartition(".")[2]
        data = "predict" if self.verb == "predict" else self.config.data.class_path.rpartition(".")[2]
        return f"{task}-{data}".lower()

    def dump(self) -> str:
        """The configuration as YAML, as `--print_config` prints it."""
        return dump_yaml(self.plain_config())

    def plain_config(self) -> dict[str, Any]:
        """The configuration as plain types."""
        config = self.config.clone()
        config.pop("ckpt_path", None)
        config.pop("output", None)
        if self.task is None:
            return yaml.safe_load(self.parser.dump(config, skip_unset=False))
        model = config.pop("model").as_dict()
        plain: dict[str, Any] = yaml.safe_load(self.parser.dump(config, skip_unset=False))
        return {
            key: model if key == "model" else plain[key] for key in self.config.as_dict() if key in (*plain, "model")
        }


def _without_empty_options(content: Any) -> Any:
    """Without `init_args: {}`, which a class that is given without options does not have either."""
    if isinstance(content, list):
        return [_without_empty_options(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {k: _without_empty_options(v) for k, v in content.items() if not (k == "init_args" and v == {})}


def read_command(args: list[str]) -> Command:
    """Parses the arguments, with the checkpoint's configuration under them.

    Raises:
        UserError: they cannot be understood, or contradict the checkpoint.
        SystemExit: 0 after `--help`, `--print_config` and the like.
    """
    if args and args[0].startswith("--print_completion"):
        print(completion(args[0].partition("=")[2] or "".join(args[1:2])))
        raise SystemExit(0)
    verb = args[0] if args else ""
    if verb not in VERBS:
        if verb and not verb.startswith("-"):
            raise ConfigError(f"there is no command '{verb}'; {did_you_mean(verb, VERBS)}")
        root_parser().parse_args(args or ["--help"])
        raise ConfigError(f"{' '.join(args)}: name a command first: {', '.join(VERBS)}")
    arguments = Arguments(verb, args[1:])
    path = _find_path(verb, arguments)
    # pretrained weights can be measured on data that name the classes; predicting has none
    untrained = f"ckpt_path: {verb} needs trained weights; add --ckpt_path RUN, or best, or last"
    if path is None and verb == "predict" and not {"-h", "--help"} & set(args):
        raise CheckpointError(untrained)
    if path is not None:
        return _resumed(verb, args, arguments, path) if verb == "fit" else _evaluated(verb, args, arguments, path)
    parser = build_parser(verb, FACTS if verb != "predict" else ())
    arguments.check_links(parser.links)
    command = Command(verb, args, parser, parser.parse_args(arguments.ordered))
    if verb != "fit" and not (command.config.get("model") and command.config.model.init_args.get("weights")):
        raise CheckpointError(untrained)
    _check_complete(command)
    return command


def _resumed(verb: str, args: list[str], arguments: Arguments, path: Path) -> Command:
    """A `fit` that continues a run: the user's options over those that its checkpoint restores."""
    checkpoint = read_checkpoint(path)
    if not {"loops", "optimizer_states"} <= checkpoint.keys():
        raise CheckpointError(f"ckpt_path: {path}: holds weights and no state of training to go on with; start a new "
                              "run from them with --model.init_from")  # fmt: skip
    restored = RestoredOptions(checkpoint, path, arguments)
    under = {**restored.training(), "model": restored.model(), "data": restored.data()}
    del checkpoint["state_dict"]
    parser = build_parser(verb, FACTS)
    arguments.check_links(parser.links)
    under = _without_empty_options({name: value for name, value in under.items() if value})
    config = parser.parse_args(arguments.over(under))
    command = Command(verb, args, parser, config, str(path), checkpoint)
    _check_complete(command)
    restored.check_teachers(config.model.init_args.get("teacher"))  # as the parser has understood it
    restored.name_places()
    return command


def _evaluated(verb: str, args: list[str], arguments: Arguments, path: Path) -> Command:
    """A command on a trained network: the task is built from the checkpoint, without a parser.

    What the user gives over it is parsed by itself.
    """
    checkpoint = read_checkpoint(path)
    restored = RestoredOptions(checkpoint, path, arguments)
    task_class = restored.task_class()
    facts = task_class.check_hyper_parameters(
        checkpoint["hyper_parameters"], f"ckpt_path: {path}", checkpoint.pop("state_dict")
    )
    looks: dict[str, Any] = {name: facts[name] for name in ("image_size", "center_crop") if name in facts}
    if verb != "predict" and facts.get("tokenizer") not in (None, "ptb"):
        looks["tokenizer"] = facts["tokenizer"]
    init_args: dict[str, Any] = {"on_bad_image": "skip"}
    predicting = {"class_path": "project.data.ImageDataModule", "init_args": init_args}
    data: dict[str, Any] | None = predicting if verb == "predict" else restored.data()
    under: dict[str, Any] = {"model": {"class_path": import_path(task_class)}}
    if data:
        under["data"] = {"class_path": data["class_path"], "init_args": data["init_args"] | looks}
    parser = build_parser(verb, {*FACTS, *parameters(task_class, required=True)})
    # those of the task are the checkpoint's, and compared with it
    arguments.check_links(
        {option: source for option, source in parser.links.items() if not option.startswith("model.")}
    )
    ordered = arguments.over(under)
    parsed = [argument for argument in ordered if not argument.startswith("--print_config")]
    config = parser.parse_args(parsed)
    given = parser.parse_args(["--seed", "0", *parsed], defaults=False).as_dict()
    if (given.get("trainer") or {}).get("precision") is None:
        own, device = precision_of(checkpoint), evaluation_device(config.trainer.accelerator)
        config.trainer.precision = usable_precision(own, device)
        if config.trainer.precision != own:
            rank_zero_info(f"precision: this device has no {own}, which the run was trained in; {verb} computes in "
                           f"{config.trainer.precision}")  # fmt: skip
    options = _overridden(task_class, facts, (given.get("model") or {}).get("init_args") or {})
    check_contradictions(task_class, options, facts)
    config.model.init_args = options
    command = Command(verb, args, build_parser(verb), config, str(path), checkpoint, task_class)
    _check_complete(command)
    restored.name_places()
    if len(parsed) < len(ordered):
        sys.stdout.write(command.dump())
        raise SystemExit(0)
    return command


def check_contradictions(task: type[Task], options: Any, saved: dict[str, Any]) -> None:
    """Raises where options of a task contradict what a checkpoint's weights go with.

    Args:
        task: its class.
        options: its hyper-parameters as they are now.
        saved: those of the checkpoint.
    """
    for name in task.identity:
        ours, theirs = options.get(name), saved.get(name)
        if _contradicts(name, ours, theirs, task.free_options):
            raise CheckpointError(f"model.{name}: {_brief(ours)} contradicts the checkpoint's {_brief(theirs)}; "
                                  "leave it out, or start a new run from its weights with --model.init_from")  # fmt: skip


def check_resumable(task: Task, options: Any, checkpoint: dict[str, Any]) -> None:
    """Raises where a checkpoint's state of training is not one of a task with its options as they are now.

    Args:
        task: as made of the options.
        options: its arguments.
        checkpoint: with the configuration of its run; without one nothing is known.

    Raises:
        CheckpointError: it is not.
    """
    earlier = (checkpoint.get("config") or {}).get("model")
    if earlier is None:
        return
    earlier = earlier.get("init_args") or {}
    ours, theirs = options.get("optimizer"), earlier.get("optimizer")
    if isinstance(theirs, dict) and ours.class_path.rpartition(".")[2] != theirs["class_path"].rpartition(".")[2]:
        check_same("optimizer", ours.class_path, theirs["class_path"])
    task.check_resumable(earlier)


def _contradicts(name: str, ours: Any, theirs: Any, free: tuple[str, ...]) -> bool:
    """Whether options are others than a checkpoint's, in which those are missing that are newer than it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return any(f"{name}.{key}" not in free and ours.get(key) != value for key, value in theirs.items()) or (
            # options of a network that is named, such as its width, are its own defaults where they are not given
            name == "backbone_options" and ours.keys() != theirs.keys()
        )
    return theirs is not None and ours != theirs and bool(ours or theirs)  # none is an empty mapping, too


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _overridden(task_class: type[Task], facts: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters with what the user gives over them; options of training, such as the optimizer's, are none."""
    known = parameters(task_class)
    options = {name: value for name, value in given.items() if not is_object(known.get(name, Any))}
    for name, value in options.items():
        if dataclasses.is_dataclass(known.get(name)) and isinstance(facts.get(name), dict):
            options[name] = facts[name] | value
    return facts | options


def _check_complete(command: Command) -> None:
    for section, example in (("model", "Classifier"), ("data", "ImageFolder --data.root DIR")):
        if command.config.get(section) is None:
            raise ConfigError(f"{section}: none is given; add --config configs/TASK/NAME.yaml, "
                              f"or --{section} {example}")  # fmt: skip


def _find_path(verb: str, arguments: Arguments) -> Path | None:
    """The checkpoint that the arguments or a configuration file name, if any."""
    given = arguments.last("ckpt_path")
    if given is None:
        return None
    if given not in _WORDS:
        return checkpoint_of(Path(given), "last" if verb == "fit" else "best")
    if given == "auto" and verb != "fit":
        raise ConfigError("ckpt_path: 'auto' goes on with an unfinished fit; here use best, last or a path")
    if given != "auto" and (name := arguments.last("name")):
        return find_checkpoint(given, arguments.last("trainer.default_root_dir") or DEFAULT_ROOT, name)
    # the run was named by its fit
    parser = build_parser("fit", FACTS)
    command = Command("fit", arguments.ordered, parser, parser.parse_args(arguments.ordered))
    for section in ("model", "data"):
        if command.config.get(section) is None:
            raise ConfigError(f"ckpt_path: to find '{given}', add the run's --config or its --name; or give a path")
    if given == "auto":
        return find_unfinished(command.plain_config(), command.root, command.name)
    return find_checkpoint(given, command.root, command.name)
