"""What the help of every command has, whichever version of Typer and Click draws it."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from fedloom.core.errors import nearest

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose arguments keep their help: Click 8.5 forgets it, as its own arguments have none."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        parameters = inspect.signature(self.callback).parameters if self.callback else {}
        for argument in self.params:
            if argument.name in parameters and not getattr(argument, "help", None):
                told = [one.help for one in get_args(parameters[argument.name].annotation) if _is_argument(one)]
                if told:
                    argument.help = told[0]


def _is_argument(one: object) -> bool:
    return isinstance(one, ArgumentInfo)


class Commands(TyperGroup):
    """A group of commands that names the nearest one, once, where there is none of that name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with; a wrong one is a usage error."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"There is no command {args[0]!r}. {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """An application, or a group of its commands, of these two kinds."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Commands, rich_markup_mode="markdown", **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """As Typer's."""
        return super().command(name, **{"cls": Command, **settings})
