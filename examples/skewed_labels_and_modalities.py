"""Labels and modalities skewed together: who holds which labels, and who holds which of picture and text.

    python examples/skewed_labels_and_modalities.py [FOLDER]      FOLDER: where two pictures go; without one, nowhere

Scenario and modality are two axes. Here the labels of the embedded memes lie as Dirichlet(0.5) deals them, and of ten
clients three hold pictures alone and seven captions alone, as in a column of FedMLLM's table (arXiv 2411.14717). No
model is loaded; `fedloom run` trains on the same experiment.
"""

import sys
from collections import Counter
from pathlib import Path

from fedloom.core import config
from fedloom.federation.result import who_holds_what
from fedloom.federation.setup import Setup
from fedloom.federation.written import Holdings
from fedloom.report import holders
from fedloom.report.held import held
from fedloom.report.present import present
from fedloom.report.svg import save

SETS = ["task=icons-memes", "task.train=240", "task.test=60"]
SETS += ["scenario=dirichlet", "scenario.by=label", "scenario.alpha=0.5", "scenario.clients=10"]
SETS += ["modality=cross", "modality.image=3"]


def main(folder: Path | None) -> None:
    """Print who holds what; draw it into ``folder``."""
    holdings = Holdings.model_validate(who_holds_what(Setup(config.load("quickstart", SETS))))
    print(holders.text(holders.rows(holdings)))
    alone = Counter("+".join(client.present[0]) for client in holdings.clients)
    print(f"{alone['image']} clients hold pictures alone, {alone['text']} texts alone")
    if folder:
        save(held(holdings), folder / "labels.svg")
        save(present(holdings), folder / "modalities.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
