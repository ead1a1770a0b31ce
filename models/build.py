"""Trains, exports and folds the networks of the zoo, and writes the table of ``models/README.md``.

    python models/build.py               every network, a few minutes on one core
    python models/build.py mlp unet      these; the table is that of all
    python models/build.py --table       none; the table alone
    python models/build.py --check       writes nothing, and exits with 1 where the table is stale

Each network is trained as its entry in ``bnfold/zoo/catalogue.py`` says, into ``models/NAME``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the zoo of this clone, whichever bnfold is installed

from bnfold import exporting, fold, training, zoo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.folding import FoldResult

MODELS = Path(__file__).resolve().parent
PAGE = MODELS / "README.md"

INTRODUCTION = """\
<!-- Written by `python models/build.py` from what it trains. Change that. -->

# Trained networks

One network for each position in which a BatchNormalization is found, trained for real. A folder each: `card.md` (what
it is, on which data, how good), `weights.safetensors`, `model.onnx` (an inference graph with every BatchNormalization
kept), `metrics.json` (every epoch, the command, the versions) and `curve.svg` (its loss and score by epoch).

The recipes are in `bnfold/zoo/catalogue.py`; those of decoder, unet, pointnet, levit and prenorm_mlp were tried a few
times on the held-out rows themselves, so that their scores may flatter.

*Affines* are its BatchNormalizations, and constants that are multiplied or added; one that is used twice counts twice.
"""

REBUILD = """\
Rebuild them, from a clone; it takes a few minutes on one core:

    pip install -e '.[cpu,study,torch]'
    python models/build.py
"""


def build(name: str) -> None:
    """Train a network and export it, into its folder."""
    start = time.perf_counter()
    folder = MODELS / name
    trained = training.train(name, output=folder, overwrite=True, progress=True, **zoo.find(name).recipe)
    exporting.export(name, weights=folder / "weights.safetensors")
    print(f"{name}: {trained.accuracy:.2%}, {time.perf_counter() - start:.0f} s")


def page(names: Sequence[str] = tuple(zoo.NETWORKS)) -> str:
    """The whole page, from the files that are there."""
    folds = {name: fold(MODELS / name / "model.onnx") for name in names}
    table = "\n".join(
        [
            "| network | what it shows | held-out score | parameters | affines | after folding |",
            "|:---|:---|---:|---:|---:|---:|",
            *[_row(name, folded) for name, folded in folds.items()],
        ]
    )
    kept = "\n".join(line for name, folded in folds.items() for line in _kept(name, folded))
    return "\n".join([INTRODUCTION, f"{table}\n", "## What stays, and why\n", f"{kept}\n", "## Rebuild\n", REBUILD])


def _row(name: str, folded: FoldResult) -> str:
    network = zoo.find(name)
    metrics = json.loads((MODELS / name / "metrics.json").read_text(encoding="utf-8"))
    score = f"{metrics['accuracy']:.2%} {network.task.score_name}"
    before, after = len(folded.folded) + len(folded.kept), len(folded.kept)
    return f"| [{name}]({name}/card.md) | {network.summary} | {score} | {metrics['parameters']} | {before} | {after} |"


def _kept(name: str, folded: FoldResult) -> list[str]:
    return [f"- {name}, `{affine.node}`: {affine.reason}" for affine in folded.kept]


def main(arguments: Sequence[str]) -> int:
    """Build what is named and write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a network of the zoo")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--table", action="store_true", help="train nothing, write the table")
    alone.add_argument("--check", action="store_true", help="write nothing, exit with 1 where the table is stale")
    wanted = parser.parse_args(arguments)
    if wanted.check:
        stale = PAGE.read_text(encoding="utf-8") != page()
        if stale:
            print("models/README.md is stale: run python models/build.py --table", file=sys.stderr)
        return int(stale)
    for name in [] if wanted.table else wanted.names or zoo.NETWORKS:
        build(name)
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
