"""Progress on the terminal: there where there is one, a line a round where there is none, and text stays text."""

import io
import time

from rich.console import Console

from fedloom.report.live import Live


def watched(terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60, _environ={"TERM": "xterm"})
    with Live(console, "fedavg") as live:
        live.stage("zero-shot")
        live.scored(0, 0.5)
        live.round(1, 2, 2)
        live.reply("[red]a", 1.25, 1000, 500)
        live.left_out("b", "client 'b', round 1: [channel] up = [bold]: " + "no end of words " * 9)
        live.progress.refresh()
        shown = live.progress.get_renderable()
        told = Console(file=io.StringIO(), width=200)
        told.print(shown)
    assert isinstance(console.file, io.StringIO)
    assert isinstance(told.file, io.StringIO)
    return console.file.getvalue() + told.file.getvalue()


def test_without_a_terminal_each_line_has_its_time() -> None:
    said = [line.rstrip() for line in watched(terminal=False).splitlines() if line[:2].isdigit()]
    lines = [line[9:] for line in said]
    assert lines[:2] == ["fedavg: zero-shot", "fedavg: zero-shot: 50.0%"]
    assert lines[2].startswith("left out: client 'b', round 1: [channel] up = [bold]: no end")
    assert lines[2].endswith("words")  # in one line
    assert lines[3].startswith("fedavg: round 1/2: 1 of 2 clients, loss 1.250, 1.5 kB sent, ")
    assert len(lines) == 4


def test_nothing_is_silent_for_long() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Live(console, "fedavg", quiet=0.05) as live:
        live.stage("reading data and model")
        time.sleep(0.3)
    assert isinstance(console.file, io.StringIO)
    assert "still at work: fedavg: reading data and model" in console.file.getvalue()


def test_on_a_terminal_round_client_loss_score_and_bytes_are_shown() -> None:
    text = watched(terminal=True)
    for words in ("fedavg", "2/4", "round 1/2 [red]a loss 1.250 score 50.0% 1.5 kB", "[channel] up = [bold]"):
        assert words in text


def test_what_clients_and_their_errors_say_steers_no_terminal() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=200, _environ={"TERM": "xterm"})
        with Live(console, "fed\x1b]0;avg") as live:
            live.stage("read\x1b]0;ing")
            live.round(1, 2, 2)
            live.reply("a\u202eb\x1b]0;title", 1.0, 1, 1)
            live.left_out("c", "gone\x1b]0;title\n12:00:00 fedavg: round 2/2: 2 of 2 clients")
            live.progress.refresh()
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert "\x1b]" not in text
        assert "\u202e" not in text
        assert "gone\\x1b]0;title\\n12:00:00 fedavg: round 2/2" in text


def test_answers_that_could_not_be_parsed_are_told_where_there_are_any() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Live(console, "fedavg") as live:
        live.scored(0, 0.5, 0.125)
        live.round(1, 2, 1)
        live.scored(1, 0.75, 0.0)
        live.round(2, 2, 1)
        live.scored(2, 0.75, 0.25)
    assert isinstance(console.file, io.StringIO)
    lines = [line[9:] for line in console.file.getvalue().splitlines()]
    assert lines[0] == "fedavg: zero-shot: 50.0%, 12.5% of the answers unparsed"
    assert "score 75.0%, 0 B sent" in lines[1]
    assert "score 75.0%, 25.0% of the answers unparsed, " in lines[2]
