"""The table of what was tried."""

from pathlib import Path

from fedloom.report import tuned
from fedloom.sweep.tuning import Candidate


def test_a_line_a_candidate_says_what_it_scored_and_whether_it_was_taken(tmp_path: Path) -> None:
    tried = [
        Candidate({"method": "fedavg"}, {"client.lr": "0.1"}, [0.0, 0.5], examples=4),
        Candidate({"method": "fedavg"}, {"client.lr": "0.2"}, [0.75], examples=4, taken=True),
        Candidate({"method": "fedavg"}, {"client.lr": "0.3"}, [], reason="it diverged"),
    ]
    tuned.write(tried, tmp_path)
    assert (tmp_path / "tune.csv").read_text().splitlines() == [
        "method,client.lr,n,examples,score,taken,reason",
        "fedavg,0.1,2,4,0.25,no,",
        "fedavg,0.2,1,4,0.75,yes,",
        "fedavg,0.3,0,0,,no,it diverged",
    ]


def test_a_reason_is_no_formula_of_a_spreadsheet() -> None:
    one = Candidate({"method": "@SUM(1)"}, {"client.lr": "-0.3"}, [], reason="=cmd|' /C calc'!A0")
    assert tuned.comma_separated([one]).splitlines()[1] == "'@SUM(1),-0.3,0,0,,no,'=cmd|' /C calc'!A0"
