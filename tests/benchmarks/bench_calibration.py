"""How well the probability of being on the front is calibrated, beside simpler bootstraps.

    python tests/benchmarks/bench_calibration.py [--problems 100]

Synthetic studies with known true fronts, 5 replicates of each member unless it says otherwise.
The first table tells, for each kind of study, method and standard error of a mean (in parts of the
front's extent), how far the observed frequency of being on the front is from the mean prediction,
averaged over the members in tenths of the prediction. The second shows these tenths for errors of
up to 3 %. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "front")]

from noisy_fronts import (  # noqa: E402
    Method,
    Noise,
    Truth,
    bayesian_bootstrap,
    binned,
    blob,
    cloud,
    convex,
    outcomes,
    plain_bootstrap,
    pooled_student,
    searched,
    straight,
    with_references,
)

from sweep.front import probability_on_front  # noqa: E402

METHODS: dict[str, Method] = {
    "sweep": lambda samples, rng: probability_on_front(samples, rng, draws=1000),
    "pooled Student's t": pooled_student,
    "Bayesian bootstrap": bayesian_bootstrap,
    "plain bootstrap": plain_bootstrap,
}
KINDS: dict[str, tuple[Truth, dict[str, float]]] = {
    "convex": (convex, {}),
    "convex, seeds shared": (convex, {"shared": 0.5}),
    "convex, uneven noise": (convex, {"uneven": 0.6}),
    "convex, 3 replicates": (convex, {"replicates": 3}),
    "straight": (straight, {}),
    "with references": (with_references, {}),
    "found by a search": (searched, {}),
    "cloud": (cloud, {}),
    "blob": (blob, {}),
}
ERRORS = (0.005, 0.01, 0.02, 0.03, 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", type=int, default=100, help="of each kind and error")
    options = parser.parse_args()
    found = {}
    print(f"{'':22}{'':20}" + "".join(f"{f'± {error:.1%}':>8}" for error in ERRORS))
    for kind, (truth, more) in KINDS.items():
        for name, method in METHODS.items():
            print(f"{kind:22}{name:20}", end="")
            for error in ERRORS:
                rng = np.random.default_rng(0)
                made = outcomes(truth, Noise(error, **more), method, options.problems, rng)
                found[kind, name, error] = made
                bins = binned([made])
                gap = sum(abs(one.observed - one.predicted) * one.count for one in bins)
                print(f"{gap / len(made[0]):8.3f}", end="", flush=True)
            print()
    for kind in KINDS:
        for name in ("sweep", "plain bootstrap"):
            bins = binned(found[kind, name, error] for error in ERRORS if error <= 0.03)
            print(f"\n{kind}, {name}")
            print("  predicted " + "".join(f"{one.predicted:7.2f}" for one in bins))
            print("  observed  " + "".join(f"{one.observed:7.2f}" for one in bins))
            print("  members   " + "".join(f"{one.count:7}" for one in bins))


if __name__ == "__main__":
    main()
