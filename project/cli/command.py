"""One command as the user gave it: options, and under them what its checkpoint says.

Precedence: command line, then the later config, then the earlier one, then the checkpoint, then defaults. So what a
checkpoint says is parsed as one more `--config` before all others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from project.cli.arguments import Arguments
from project.cli.parser import FACTS, VERBS, Parser, build_parser, completion, root_parser
from project.errors import CheckpointError, ConfigError, did_you_mean
from project.runs.checkpoints import check_no_new_classes, read_checkpoint
from project.runs.directory import checkpoint_of, find_checkpoint, find_unfinished

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
    """

    verb: str
    args: list[str]
    parser: Parser
    config: Namespace
    checkpoint_path: str | None = None
    checkpoint: dict[str, Any] | None = None

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
        config = self.config.clone()
        config.pop("ckpt_path", None)
        return self.parser.dump(config, skip_unset=False)

    def plain_config(self) -> dict[str, Any]:
        """The configuration as plain types."""
        return yaml.safe_load(self.dump())


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
    parser = build_parser(verb, facts_from_data=verb == "fit" or (path is None and verb != "predict"))
    if path is None:
        command = Command(verb, args, parser, parser.parse_args(arguments.ordered))
        if verb != "fit" and not (command.config.get("model") and command.config.model.init_args.get("weights")):
            raise CheckpointError(untrained)
    else:
        checkpoint = read_checkpoint(path)
        if verb == "fit" and not {"loops", "optimizer_states"} <= checkpoint.keys():
            raise CheckpointError(f"ckpt_path: {path}: holds weights and no state of training to go on with; start a new "
                                  "run from them with --model.init_from")  # fmt: skip
        del checkpoint["state_dict"]
        kept = checkpoint.get("config") or {}
        needed = {"model": kept.get("model")} if verb == "predict" else kept
        check_no_new_classes(needed, path, arguments.texts)
        under = _config_of(checkpoint, verb)
        check_no_new_classes(under, path, arguments.texts)
        config = parser.parse_args(["--config", json.dumps(under), *arguments.ordered])
        command = Command(verb, args, parser, config, str(path), checkpoint)
    _check_complete(command)
    return command


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
    parser = build_parser("fit", facts_from_data=True)
    command = Command("fit", arguments.ordered, parser, parser.parse_args(arguments.ordered))
    for section in ("model", "data"):
        if command.config.get(section) is None:
            raise ConfigError(f"ckpt_path: to find '{given}', add the run's --config or its --name; or give a path")
    if given == "auto":
        return find_unfinished(command.plain_config(), command.root, command.name)
    return find_checkpoint(given, command.root, command.name)


def _config_of(checkpoint: dict[str, Any], verb: str) -> dict[str, Any]:
    """What a checkpoint says of the options of `verb`."""
    kept = checkpoint.get("config") or {}
    facts = checkpoint["hyper_parameters"]
    model = kept.get("model") or {"class_path": f"project.tasks.{checkpoint['task']}"}
    given = model.get("init_args", {})
    options = {**given, **facts}
    if verb == "fit":
        # what was left out stays so: made {}, say, it would be another configuration, and `auto` would not find its run
        options |= {name: None for name, value in given.items() if value is None}
        # the data say the facts again, and must agree
        options = {name: value for name, value in options.items() if name not in FACTS}
        return {**kept, "model": {**model, "init_args": options}}
    under = {"model": {**model, "init_args": {**options, "init_from": None}}}
    looks = {name: facts[name] for name in ("image_size", "center_crop") if name in facts}
    if verb == "predict":
        under["data"] = {"class_path": "project.data.ImageDataModule", "init_args": looks}
    elif kept.get("data"):
        data = kept["data"]
        under["data"] = {**data, "init_args": {**data.get("init_args", {}), **looks}}
    return under
