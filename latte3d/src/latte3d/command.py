"""The command line of every project of the house, the same text in each: LightningCLI's verbs and the project's own.

`--config NAME` takes a packaged config by name or any path. Own verbs are typed functions that return an exit status:
their parameters before `*` are positional arguments, those after it options, and a bool one is a flag.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import docstring_parser
from jsonargparse import ArgumentParser
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

CONFIGS = Path(__file__).parent / "configs"


def config_path(name: str) -> str:
    """The path of a packaged config, by name, or of any other file.

    Raises:
        ValueError: neither exists; the message lists the packaged ones.
    """
    packaged = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    if name in packaged:
        return str(packaged[name])
    if not Path(name).is_file():
        raise ValueError(f"no config {name!r}: it is neither a file nor one of the packaged {', '.join(packaged)}")
    return name


def with_config_paths(args: Sequence[str]) -> list[str]:
    """The same arguments with every `--config NAME` made a path."""
    resolved = list(args)
    for i, argument in enumerate(resolved):
        if argument.startswith("--config="):
            resolved[i] = f"--config={config_path(argument.removeprefix('--config='))}"
        elif argument in ("--config", "-c") and i + 1 < len(resolved):
            resolved[i + 1] = config_path(resolved[i + 1])
    return resolved


class VerbParser(LightningArgumentParser):
    """Adds the project's verbs beside fit, validate, test and predict."""

    verbs: ClassVar[dict[str, Callable[..., int]]] = {}

    def add_subcommands(self, **kwargs):
        subcommands = super().add_subcommands(**kwargs)
        for name, verb in self.verbs.items():
            documented = docstring_parser.parse(verb.__doc__)
            help_of = {p.arg_name: p.description for p in documented.params}
            parser = ArgumentParser(description=documented.short_description)
            parameters = inspect.signature(verb, eval_str=True).parameters.values()
            positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
            flags = [p for p in parameters if p.annotation is bool]
            for p in positional:
                optional = {} if p.default is p.empty else {"nargs": "?", "default": p.default}
                parser.add_argument(p.name, type=p.annotation, help=help_of.get(p.name), **optional)
            parser.add_function_arguments(verb, as_group=False, skip={p.name for p in [*positional, *flags]})
            for p in flags:  # a bool parameter would be `--fast true`
                parser.add_argument(f"--{p.name}", action="store_true", help=help_of.get(p.name))
            subcommands.add_subcommand(name, parser, help=documented.short_description)
        return subcommands


class CommandLine(LightningCLI):
    """LightningCLI with the verbs of its parser class; weights that were never trained are not tested."""

    def parse_arguments(self, parser, args):
        with warnings.catch_warnings():  # it would wonder why sys.argv is not used: names of configs were resolved
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)
        verb = self.config.get("subcommand")
        if verb and verb in parser.verbs:  # no model, no trainer
            raise SystemExit(parser.verbs[verb](**self.config[verb]))

    def instantiate_trainer(self, **kwargs):
        """Without a subcommand none until one is asked for: a config for GPUs can be read where there is none."""
        return super().instantiate_trainer(**kwargs) if self.subcommand or kwargs else None

    def before_instantiate_classes(self):
        if self.subcommand not in (None, "fit") and self.config[self.subcommand].ckpt_path is None:
            self.parser.error("--ckpt_path is missing: the weights would be untrained")


def run(
    command_line: type[CommandLine],
    prog: str,
    verbs: dict[str, Callable[..., int]],
    args: Sequence[str] | None,
    **kwargs,
) -> None:
    """The console script. Bad input is one line on stderr and status 2; `python -X dev` shows where it was found."""
    parser_class = type("Parser", (VerbParser,), {"verbs": verbs})
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 beside torch 2.13, at every fit
    try:
        arguments = with_config_paths(sys.argv[1:] if args is None else args)
        command_line(args=arguments, parser_class=parser_class, parser_kwargs={"prog": prog}, **kwargs)
    except (ValueError, OSError) as error:
        if sys.flags.dev_mode:
            raise
        sys.stderr.write(f"{prog}: error: {plain_message(error)}\n")
        raise SystemExit(2) from error


def plain_message(error: Exception) -> str:
    """What a class said when it refused its arguments; jsonargparse buries it among all that it tried and was given."""
    _, found, tried = str(error).partition("\nErrors:\n  - ")
    return tried.partition("\n  - Expected a ")[0] if found else str(error)
