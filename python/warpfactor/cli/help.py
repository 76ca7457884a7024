"""The help of the program and its commands: a screen each, and rarely used options in groups."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from .kinds import offered

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "GROUPS", "ScreenCommand", "ScreenGroup", "in_group"]

# The groups of options that `--help GROUP` shows, in the order of the help, and what they are about.
GROUPS = {
    "columns": "which column of the file holds what",
    "reading": "how the file is laid out; found out if not given",
    "titles": "how the file of titles is laid out; found out if not given",
    "splitting": "what is held out",
    "lists": "which items a list may hold, and how it is chosen",
    "measures": "what is measured",
    "model": "loss, penalties, biases and prior means",
    "training": "optimizer, learning rate, batches, early stopping",
    "machine": "threads, device, memory and disk",
    "checkpoints": "a training that goes on after a crash",
}
ALL = "all"

# The commands of the program's help, by what they are for.
COMMANDS = {
    "First steps": ("demo", "doctor", "config", "completion"),
    "Files of ratings": ("peek", "convert", "split"),
    "Models": ("train", "tune", "compare", "fold-in", "info"),
    "Answers": ("recommend", "similar", "predict"),
    "Quality": ("evaluate", "report"),
}
_OTHERS = "Others"

_EXAMPLE = "Example: "
# Where the column of explanations begins, at most. With it most fit on one line of 80 columns.
_WIDEST_FLAGS = 27
_ASKED = f"{__name__}.asked"
_IDS = ("--user", "--item")
_GROUP = "group"


def in_group(option: click.Option, group: str) -> None:
    """Put an option into a group of `GROUPS`, which leaves it out of the usual help."""
    setattr(option, _GROUP, group)


def _group_of(param: click.Parameter) -> str | None:
    return getattr(param, _GROUP, None)


class _Topic(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in new versions
    """What `--help` is asked about: a group, all options, or a part of an option's name."""

    name = "topic"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer the groups that the command has, or the commands of the program."""
        topics = _groups(ctx)
        if isinstance(ctx.command, click.Group):
            topics = list(ctx.command.commands)
        elif topics:
            topics.append(ALL)
        return offered(topic for topic in topics if topic.startswith(incomplete))


def _show(ctx: click.Context, _: click.Parameter, topic: str | None) -> None:
    if topic is None or ctx.resilient_parsing:
        return
    command = ctx.command
    if isinstance(command, click.Group) and topic:
        if topic not in command.commands:
            raise click.UsageError(
                f"--help is {topic!r}; it must be a command: {', '.join(sorted(command.commands))}",
                ctx,
            )
        ctx = click.Context(command.commands[topic], info_name=topic, parent=ctx)
        topic = ""
    if topic and not _asked(ctx, topic):
        groups = _groups(ctx)
        which = f"a group ({', '.join(groups)}), all, or " if groups else ""
        raise click.UsageError(
            f"--help is {topic!r}; it must be {which}a part of an option's name", ctx
        )
    ctx.meta[_ASKED] = topic
    click.echo(ctx.get_help(), color=ctx.color)
    ctx.exit()


def _options(ctx: click.Context) -> list[click.Option]:
    params = ctx.command.get_params(ctx)
    return [each for each in params if isinstance(each, click.Option) and not each.hidden]


def _groups(ctx: click.Context) -> list[str]:
    there = {_group_of(option) for option in _options(ctx)}
    return [name for name in GROUPS if name in there]


def _asked(ctx: click.Context, topic: str) -> list[click.Option]:
    """Return the options that a topic means."""
    options = _options(ctx)
    if topic == ALL:
        return options
    if topic in GROUPS:
        return [each for each in options if _group_of(each) == topic]
    part = topic.strip("-").replace("_", "-")
    flags = [(each, [*each.opts, *each.secondary_opts]) for each in options]
    return [each for each, names in flags if part and any(part in name for name in names)]


class _Helpful(click.Command):
    """What commands and the program have in common: the option --help, and examples that are not wrapped."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return --help, which takes a topic if the user gives one."""
        if self._help_option is None:
            metavar, shown = "", "Show this."
            if isinstance(self, click.Group):
                metavar, shown = "[COMMAND]", "Show this, or the help of a command."
            elif any(_group_of(param) for param in self.params):
                metavar, shown = "[GROUP]", "Show this, a group of options below, or all."
            self._help_option = click.Option(
                ["-h", "--help", "help_topic"],
                is_flag=False,
                flag_value="",
                default=None,
                type=_Topic(),
                metavar=metavar,
                expose_value=False,
                is_eager=True,
                callback=_show,
                help=shown,
            )
        return self._help_option

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, and its examples as they are typed."""
        if ctx.meta.get(_ASKED, ALL) not in ("", ALL):
            return
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(self.help or ""))
        said = [each for each in paragraphs if not each.startswith(_EXAMPLE)]
        examples = [each.removeprefix(_EXAMPLE) for each in paragraphs if each not in said]
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join(said))
        if examples:
            with formatter.section("Example" if len(examples) == 1 else "Examples"):
                for example in examples:
                    # Not wrapped: it is to be copied.
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class ScreenCommand(_Helpful):
    """A command whose help is a screen of the usual options, and groups of the others by --help GROUP."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; where an id stands without its option, say which that is."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            ids = [flag for param in self.params for flag in param.opts if flag in _IDS]
            if not ids or "unexpected extra argument" not in error.message:
                raise
            said = f"{error.message}: give an id as {' ID or '.join(ids)} ID"
            raise click.UsageError(said, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usual options and what groups there are, or the options that were asked for."""
        topic = ctx.meta.get(_ASKED, "")
        asked = _asked(ctx, topic) if topic else [o for o in _options(ctx) if not _group_of(o)]
        by_group: dict[str | None, list[tuple[str, str]]] = {}
        for option in asked:
            record = option.get_help_record(ctx)
            if record is not None:
                by_group.setdefault(_group_of(option), []).append(record)
        for group in (None, *GROUPS):
            if group in by_group:
                title = "Options" if group is None else f"Options, {group}: {GROUPS[group]}"
                with formatter.section(title):
                    formatter.write_dl(by_group[group], col_max=_WIDEST_FLAGS)
        groups = _groups(ctx)
        if groups and not topic:
            with formatter.section(f"More options ({ctx.command_path} --help GROUP)"):
                formatter.write_dl([(name, GROUPS[name]) for name in groups])


class ScreenGroup(_Helpful, click.Group):
    """The program, whose help lists the commands by what they are for."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and the commands below them."""
        click.Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        width = max(map(len, self.commands), default=0)
        listed = [name for names in COMMANDS.values() for name in names]
        others = tuple(name for name in self.commands if name not in listed)
        for heading, names in (COMMANDS | ({_OTHERS: others} if others else {})).items():
            there = [self.commands[name] for name in names if name in self.commands]
            with formatter.section(heading):
                rows: list[tuple[str, str]] = [
                    (f"{command.name:{width}}", command.get_short_help_str(formatter.width))
                    for command in there
                ]
                formatter.write_dl(rows)
