"""One joint model against two tuned specialists, on the test rows.

    python tests/benchmarks/bench_specialists.py [--seeds 10]

Runs the default study three times with the same budget: as it is, with the retrieval weight fixed
at 0, and with the rating weight fixed at 0. The knee of the first, the lowest RMSE of the second
and the highest accuracy of the third are trained again on training and validation rows together,
with the same seeds, and scored on the test rows. The tests are paired over seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from sweep import pipeline
from sweep.config import load_study
from sweep.front.selection import choose
from sweep.front.uncertainty import estimate

STUDY = Path(__file__).parents[2] / "studies" / "movielens-100k.toml"
ACCURACY = "unseen_top_100_accuracy"
MARGIN = 0.005
MODELS = {
    "joint": ("knee", []),
    "rating only": ("min:rmse", ["name=rating-only", "search_space.retrieval_weight=0"]),
    "retrieval only": (
        f"max:{ACCURACY}",
        ["name=retrieval-only", "search_space.rating_weight=0"],
    ),
}


say = partial(print, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--storage", help="goes on with the studies there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = options.storage or f"sqlite:///{folder}/specialists.db"
        scores = {
            name: score(rule, overrides, storage, options.seeds)
            for name, (rule, overrides) in MODELS.items()
        }
    report(scores)


def score(
    rule: str, overrides: Sequence[str], storage: str, seeds: int
) -> list[Mapping[str, float]]:
    """The test metrics of the best model of a study, one for each seed."""
    config = load_study(STUDY, overrides)
    record = pipeline.launch(config, storage, say=say)
    choice = choose(record, rule)
    say(choice.reason)
    asked = config.model_copy(
        update={"budget": config.budget.model_copy(update={"replicates": seeds})}
    )
    record = replace(record, config=asked)
    final = pipeline.score_final(record, choice.trial, say=say)
    return [replicate.metrics for replicate in final.replicates]


def report(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    n = len(scores["joint"])
    print(f"\nTest rows, mean ± 90 % half-width over {n} seeds\n")
    print(f"{'model':16} {'RMSE':>18} {'unseen top-100':>18}")
    for name, metrics in scores.items():
        cells = []
        for metric in ("rmse", ACCURACY):
            found = estimate([one[metric] for one in metrics])
            cells.append(f"{found.mean:.4f} ± {found.half_width:.4f}")
        print(f"{name:16} {cells[0]:>18} {cells[1]:>18}")

    def values(name: str, metric: str) -> np.ndarray:
        return np.array([one[metric] for one in scores[name]])

    rmse = values("joint", "rmse") - values("rating only", "rmse")
    test = stats.ttest_1samp(rmse, 0.0, alternative="less")
    verdict = "better" if test.pvalue < 0.05 else "NOT shown to be better"
    print(f"\nRMSE, joint − rating only: {rmse.mean():+.4f} (p = {test.pvalue:.2g}): {verdict}")
    accuracy = values("joint", ACCURACY) - values("retrieval only", ACCURACY)
    worse = stats.ttest_1samp(accuracy, -MARGIN, alternative="greater")
    better = stats.ttest_1samp(accuracy, 0.0, alternative="greater")
    verdict = (
        "better"
        if better.pvalue < 0.05
        else f"no worse (margin {MARGIN})"
        if worse.pvalue < 0.05
        else f"NOT shown to be no worse (margin {MARGIN})"
    )
    print(
        f"unseen top-100, joint − retrieval only: {accuracy.mean():+.4f} "
        f"(p = {better.pvalue:.2g} against 0, {worse.pvalue:.2g} against −{MARGIN}): {verdict}"
    )


if __name__ == "__main__":
    main()
