import io
from pathlib import Path

import pytest
from rich.console import Console

from fedloom.federation.written import WHOLE, Result
from fedloom.report.runs import read
from fedloom.report.table import Row, comma_separated, markdown, rows, stat, summary, terminal
from tests.report.made_up import run_folder


@pytest.fixture
def found(tmp_path: Path) -> list[Row]:
    base = read(run_folder(tmp_path)).result

    def result(final: float, worst: float | None, seconds: float, up: int = 11_400_000) -> Result:
        sent = base.bytes.model_copy(update={"up": up})
        changed = {"final": final, "worst_client": worst, "seconds": {"total": seconds}, "bytes": sent}
        return base.model_copy(update=changed)

    return rows(
        [
            ({"method": "fedavg", "scenario": "iid|x"}, result(0.70, 0.5, 10.0, up=11_200_000)),
            ({"method": "local", "scenario": "iid|x"}, result(0.60, None, 10.0)),
            ({"method": "fedavg", "scenario": "iid|x"}, result(0.73, 0.6, 14.0)),
            ({"method": "fedavg", "scenario": "iid|x"}, result(0.76, 0.7, 12.0, up=11_600_000)),
        ]
    )


def test_mean_and_sample_deviation_by_hand() -> None:
    # deviations -2, 0, 2: the sum of squares 8 over n - 1 = 2 gives variance 4
    one = stat([1.0, 3.0, None, 5.0])
    assert (one.mean, one.spread, one.n) == (3.0, 2.0, 3)
    assert stat([7.0]).spread is None
    assert stat([None]).mean is None


def test_rows_are_combinations_in_order(found: list[Row]) -> None:
    assert [row.axes["method"] for row in found] == ["fedavg", "local"]
    assert found[0].stats["final"].n == 3


def test_markdown(found: list[Row]) -> None:
    header, marks, first, second = markdown(found).splitlines()
    assert header == "| method | scenario | n | zero-shot | final | worst client | up | down | time |"
    assert marks == "| --- | --- | --: | --: | --: | --: | --: | --: | --: |"
    assert first.startswith("| fedavg | iid\\|x | 3 | 41.2% ± 0.0 | 73.0% ± 3.0 | 60.0% ± 10.0 |")
    assert first.endswith("| 11.4 MB ± 200.0 kB | 22.8 MB | 12.0 s ± 2.0 |")
    assert second == "| local | iid\\|x | 1 | 41.2% | 60.0% | \u2013 | 11.4 MB | 22.8 MB | 10.0 s |"


def test_csv_has_full_precision(found: list[Row]) -> None:
    header, first, second = comma_separated(found).splitlines()
    assert header.startswith("method,scenario,n,zero_shot,zero_shot_spread,final,final_spread,worst_client")
    assert first.split(",")[:3] == ["fedavg", "iid|x", "3"]
    assert float(first.split(",")[5]) == pytest.approx(0.73)
    assert float(first.split(",")[6]) == pytest.approx(0.03)
    assert second.split(",")[7:9] == ["", ""]
    assert header.endswith("bytes_up,bytes_up_spread,bytes_down,bytes_down_spread,seconds,seconds_spread")
    assert [float(one) for one in first.split(",")[9:13]] == [11_400_000, 200_000, 22_800_000, 0]


def test_what_goes_to_a_language_model_elsewhere_has_a_column_where_there_is_any(tmp_path: Path) -> None:
    base = read(run_folder(tmp_path)).result
    away = base.model_copy(
        update={
            "bytes": base.bytes.model_copy(update={"split_up": 2_000_000, "split_down": 1_000_000}),
            "parameters": {**base.parameters, "client": 457_000_000},
        }
    )
    found = rows([({"method": "fednano"}, away), ({"method": "fedavg"}, base)])
    header, _, first, second = markdown(found).splitlines()
    assert header.endswith("| up | down | activations | parameters at a client | time |")
    assert first.split(" | ")[7:9] == ["3.0 MB", "457\u202f000\u202f000"]
    assert second.split(" | ")[7:9] == ["\u2013", "\u2013"]
    assert comma_separated(found).splitlines()[0].count("split") == 2


def test_terminal(found: list[Row]) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal(found, "a comparison"))
    text = console.export_text()
    assert "a comparison" in text
    assert "73.0% ± 3.0" in text


FOREIGN = "[bold]a[/bold] [link=https://a.example]b[/link] :skull: \x1b]0;title\x07 c\u202ed"


def test_a_name_is_no_markup_and_steers_no_terminal(found: list[Row]) -> None:
    named = Row({"method": FOREIGN}, found[0].stats)
    console = Console(file=io.StringIO(), force_terminal=True, width=400, _environ={"TERM": "xterm"})
    console.print(terminal([named], title=FOREIGN))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    shown = "[bold]a[/bold] [link=https://a.example]b[/link] :skull: \\x1b]0;title\\x07 c\\u202ed"
    assert text.count(shown) == 2
    assert not {"\x07", "\u202e"} & set(text)
    assert "\x1b]" not in text


def test_a_name_is_no_formula_of_a_spreadsheet(found: list[Row]) -> None:
    named = Row({"method": "=1+2", "client.lr": "-0.3"}, found[0].stats)
    assert comma_separated([named]).splitlines()[1].startswith("'=1+2,-0.3,3,")


def test_the_end_of_a_run_tells_unparsed_answers_always_and_other_figures() -> None:
    result = {
        **{"metric": "auc", "figure": WHOLE, "zero_shot": 0.5, "final": 0.75, "worst_client": 0.6},
        **{"metrics": {"auc": {"before": 0.5, "after": 0.75}, "macro-F1": {"before": 0.25, "after": None}}},
        **{"unparsed": {"before": 0.125, "after": 0.0}, "bytes": {"up": 1, "down": 1}, "seconds": {"total": 1.0}},
    }
    console = Console(file=io.StringIO(), width=120)
    console.print(summary("fedavg", {"fedavg": result}))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "auc (of all examples together) on the test examples" in text
    assert [line.split("│")[4].strip() for line in text.splitlines() if "│" in line] == ["12.5%", "0.0%"]
    assert "macro-F1: 25.0% before, \u2013 after" in text
    old = {key: value for key, value in result.items() if key not in ("metrics", "figure", "unparsed")}
    console.print(summary("fedavg", {"fedavg": old}))
    assert "auc on the test examples" in console.file.getvalue()


def test_what_was_trained_is_told_where_it_differs(tmp_path: Path) -> None:
    base = read(run_folder(tmp_path)).result

    def result(trained: int, shared: int) -> Result:
        return base.model_copy(update={"parameters": {"total": 4_120_000, "trained": trained, "shared": shared}})

    cells = [({"row": "all"}, result(3_000, 3_000)), ({"row": "few"}, result(24, 12))]
    cells.append(({"row": "few"}, result(24, 12)))
    header, _, first, second = markdown(rows(cells)).splitlines()
    assert header.endswith("| parameters trained | parameters sent | time |")
    assert first.endswith("| 3\u202f000 | 3\u202f000 | 143.2 s |")
    assert second.endswith("| 24 | 12 | 143.2 s ± 0.0 |")
    told = comma_separated(rows(cells)).splitlines()[0]
    assert "trained,trained_spread,shared,shared_spread,seconds,seconds_spread" in told
    assert "parameters trained" not in markdown(rows(cells[1:])).splitlines()[0]
