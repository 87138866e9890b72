"""`fedloom scenarios show`: who holds what of an experiment, before anything is trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedloom.cli.lists import description, groups
from fedloom.cli.shell import DataPath, Sets, overrides_of, say

if TYPE_CHECKING:
    from fedloom.federation.written import Holdings

DRAWN = Path("scenario.png")
"""The picture of an experiment whose picture is not named."""


@groups["scenarios"].command("show")
def show_scenario(
    name: Annotated[
        str, typer.Argument(help="An experiment: a TOML file or a preset; or a name of `fedloom scenarios`.")
    ],
    source: Annotated[
        str, typer.Option("--for", help="Of a scenario's name: the experiment whose data is dealt.")
    ] = "quickstart",
    sets: Sets = [],  # noqa: B006
    data: DataPath = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The picture (.png or .svg) of who holds which groups; that of modalities lies beside it."),
    ] = None,
) -> None:
    """Show who holds what of an experiment: a table, and pictures of who holds which groups and which modalities. No
    model is loaded.

    Of a scenario's name: say what it does and which options it has, and draw how it deals the data of `--for`.
    """
    from fedloom.core.errors import FedloomError

    if not _is_scenario(name):
        holdings = _holdings(name, overrides_of(sets, data))
        say(_table(holdings))
        _draw(holdings, out or DRAWN)
        return
    if out is None:
        say(description("scenarios", name) + "\n")
    try:
        _draw(_holdings(source, [f"scenario={name}", *overrides_of(sets, data)]), out or DRAWN)
    except FedloomError as error:
        if out is not None or sets or data:
            raise
        say(f"not drawn: {error}")


def _is_scenario(name: str) -> bool:
    """Whether a name is a scenario's, and not an experiment's.

    Raises:
        FedloomError: it is neither.
    """
    from fedloom.core import config, resolve
    from fedloom.core.errors import FedloomError, nearest
    from fedloom.core.files import on_disk

    if name in (scenarios := resolve.known("scenarios")):
        return True
    if name.endswith(".toml") or on_disk(name) or name in (presets := config.presets()):
        return False
    if ":" in name:
        return True
    known = nearest(name, [*scenarios, *presets])
    raise FedloomError(f"{name}: no scenario, experiment file or preset of that name. {known}")


def _holdings(source: str, overrides: list[str]) -> "Holdings":
    """Who holds what of an experiment.

    Raises:
        FedloomError: what is wrong with the experiment or its data, or its data is at sites.
    """
    from fedloom.core import config
    from fedloom.core.errors import FedloomError
    from fedloom.federation.check import check_experiment
    from fedloom.federation.measured import check_halves
    from fedloom.federation.result import who_holds_what
    from fedloom.federation.setup import Setup
    from fedloom.federation.written import Holdings

    experiment = config.load(source, overrides)
    check_experiment(experiment)
    setup = Setup(experiment)
    if setup.scenario.sites:
        raise FedloomError(
            f"scenario {experiment.scenario.name!r}: each site holds data of its own, and what it holds is not known "
            "here. Fix: choose an experiment that deals its data."
        )
    check_halves(setup.task.name, setup.loaded)
    return Holdings.model_validate(who_holds_what(setup))


def _draw(holdings: "Holdings", out: Path) -> None:
    """Write the pictures, and say where they are.

    Raises:
        FedloomError: an ending that is no picture's.
    """
    from fedloom.report import present
    from fedloom.report.held import held
    from fedloom.report.svg import save

    save(held(holdings), out)
    say(str(out))
    if present.told(holdings):
        beside = out.with_name(f"{out.stem}-modalities{out.suffix}")
        save(present.present(holdings), beside)
        say(str(beside))


def _table(holdings: "Holdings") -> str:
    from fedloom.report import holders

    groups = f"groups of training examples: {holdings.by}\n" if holdings.by else ""
    rounds = "modalities: the mean over the rounds\n" if holdings.forms else ""
    return f"{holders.text(holders.rows(holdings))}\n\n{groups}{rounds}"
