from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import optuna
import pytest

from builders import make_record, make_trial
from sweep.results import LossWeights, StudyRecord, Trial
from sweep.search.importance import LEAST, Explained, ScaleVerdict, importances

Surface = Callable[[float, float], tuple[float, float]]
"""RMSE and top-100 accuracy of log ratio and log scale."""


def drawn(count: int = 40) -> list[tuple[float, float]]:
    """Weights all over the tutorial's search space."""
    return [
        (float(rating), float(retrieval))
        for rating, retrieval in 10 ** np.random.default_rng(0).uniform(-2, 2, (count, 2))
    ]


def planted(surface: Surface, count: int = 40) -> StudyRecord:
    """A study of weights all over the tutorial's search space."""
    trials = []
    for number, pair in enumerate(drawn(count)):
        weights = LossWeights(*pair)
        figures = surface(math.log(weights.ratio), math.log(weights.scale))
        trials.append(make_trial(number, *figures, weights=weights))
    return make_record(trials)


def sampled(surface: Surface) -> StudyRecord:
    """A study whose weights are drawn as a real one's are: by TPE, from results with noise."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(
        directions=["minimize", "maximize"],
        sampler=optuna.samplers.TPESampler(seed=0, multivariate=True),
    )
    trials = []
    for number in range(40):
        trial = study.ask()
        weights = LossWeights(
            trial.suggest_float("rating_weight", 0.01, 100, log=True),
            trial.suggest_float("retrieval_weight", 0.01, 100, log=True),
        )
        rmse, accuracy = surface(math.log(weights.ratio), math.log(weights.scale))
        figures = rmse + rng.normal(0, 0.003), accuracy + rng.normal(0, 0.003)
        study.tell(trial, figures)
        trials.append(make_trial(number, *figures, weights=weights))
    return make_record(trials)


def adam(log_ratio: float, log_scale: float) -> tuple[float, float]:  # noqa: ARG001
    """What Adam makes of the tutorial: two smooth steps in the ratio."""
    rating, retrieval = (1 / (1 + math.exp(-k * (log_ratio - x))) for k, x in ((1, 3), (1.5, 4.5)))
    return 1.12 - 0.15 * rating, 0.26 - 0.18 * retrieval


def adagrad(log_ratio: float, log_scale: float) -> tuple[float, float]:
    """The same, where what is small against the initial accumulator learns slowly as well."""
    rmse, accuracy = adam(log_ratio, log_scale)
    return rmse + 0.3 / (1 + math.exp(log_scale + 2)), accuracy - 0.02 * log_scale


def test_the_only_variable_that_moves_an_objective_has_nearly_all_of_its_importance() -> None:
    trials = [
        make_trial(i, 1 + 0.1 * math.log(a), 0.3 + 0.02 * math.log(b), weights=(a, b))
        for i, (a, b) in enumerate(drawn())
    ]
    found = importances(make_record(trials))
    assert found is not None
    assert found.trials == 40
    assert found.parameters["rmse"]["rating_weight"] > 0.9
    assert found.parameters["top_100_accuracy"]["retrieval_weight"] > 0.9
    for shares in found.parameters.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_every_decade_of_a_log_range_counts_alike() -> None:
    # Below 1 are two of the four decades of the rating weight, but a hundredth of its range; above
    # 50 is a thirteenth of the decades of the retrieval weight, but half of its range.
    trials = [
        make_trial(i, 1 + 1.0 * (a < 1) + 0.3 * (b > 50), weights=(a, b))
        for i, (a, b) in enumerate(drawn(60))
    ]
    found = importances(make_record(trials))
    assert found is not None
    assert found.parameters["rmse"]["rating_weight"] > 0.9


def test_the_hypervolume_is_that_of_each_trial_alone() -> None:
    # Against a reference of 2 and 0, all boxes have the size 0.2; RMSE and accuracy vary.
    trials = [
        make_trial(i, 2 - (a / 100) ** 0.1, 0.2 / (a / 100) ** 0.1, weights=(a, b))
        for i, (a, b) in enumerate(drawn(LEAST))
    ]
    same = make_record(trials)
    bound = same.config.objectives[0].model_copy(update={"reference": 2.0})
    same = make_record(trials, objectives=(bound, same.config.objectives[1]))
    beyond = make_trial(40, 2.1, 0.1, weights=(100.0, 0.01))
    found = importances(same)
    other = importances(replace(same, trials=(*trials, beyond)))
    assert found is not None
    assert other is not None
    assert found.parameters.keys() == {"rmse", "top_100_accuracy"}
    assert other.parameters.keys() == {"rmse", "top_100_accuracy", "hypervolume"}


def test_only_the_ratio_matters_where_it_alone_moves_the_objectives() -> None:
    found = importances(sampled(adam))
    assert found is not None
    assert found.scale.scale_matters is False
    assert found.scale.sentence.startswith("Only the ratio matters: the ratio alone explains ")
    for target in ("rmse", "top_100_accuracy"):
        assert found.scale.explained[target].ratio > 0.7
        assert found.scale.importances[target]["ratio"] > 0.9


def test_the_scale_matters_where_it_moves_an_objective_too() -> None:
    found = importances(sampled(adagrad))
    assert found is not None
    assert found.scale.scale_matters is True
    assert found.scale.sentence.startswith("The scale matters, not only the ratio: ")
    assert found.scale.importances["rmse"]["scale"] > 0.2


def test_it_cannot_be_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    found = importances(planted(lambda *_: (1 + rng.normal(0, 0.1), 0.2 + rng.normal(0, 0.02))))
    assert found is not None
    assert found.scale.scale_matters is None
    assert found.scale.sentence.endswith(", which is too little to judge by.")


def test_explained_variance_is_of_trials_predicted_from_the_others() -> None:
    rng = np.random.default_rng(3)
    record = planted(lambda x, y: (1 + 0.1 * x + 0.03 * x * y + rng.normal(0, 0.2), 0.2))
    found = importances(record)
    assert found is not None
    weights = [trial.weights for trial in record.trials if trial.weights]
    x, y = (np.log([getattr(w, name) for w in weights]) for name in ("ratio", "scale"))
    rmse = np.array([trial.metrics["rmse"] for trial in record.trials])
    designs = {
        "mean": [x**0],
        "ratio": [x**0, x, x**2],
        "scale": [x**0, y, y**2],
        "both": [x**0, x, x**2, y, y**2, x * y],
    }
    errors = {}
    for name, columns in designs.items():
        design = np.stack(columns, axis=1)
        left = []
        for i in range(len(rmse)):
            others = np.arange(len(rmse)) != i
            fit = np.linalg.lstsq(design[others], rmse[others], rcond=None)[0]
            left.append(rmse[i] - design[i] @ fit)
        errors[name] = np.square(left).sum()
    explained = found.scale.explained["rmse"]
    assert explained.ratio == pytest.approx(1 - errors["ratio"] / errors["mean"], abs=1e-6)
    assert explained.scale == pytest.approx(max(0, 1 - errors["scale"] / errors["mean"]), abs=1e-6)
    assert explained.both == pytest.approx(1 - errors["both"] / errors["mean"], abs=1e-6)


def with_others() -> StudyRecord:
    """RMSE hangs on the epochs, accuracy on the biases, both a little on the ratio alone."""
    rng = np.random.default_rng(5)
    trials = []
    for number, pair in enumerate(drawn(50)):
        epochs, biases, layers = int(rng.integers(2, 21)), number % 2 == 0, (64,)
        if number == 7:
            layers = (128, 64)  # the only one
        log_ratio = math.log(pair[0] / pair[1])
        trials.append(
            make_trial(
                number,
                1 - 0.3 * math.log(epochs) + 0.01 * log_ratio,
                0.3 + 0.15 * biases + 0.005 * log_ratio,
                weights=pair,
                settings={
                    "training.epochs": epochs,
                    "model.biases": biases,
                    "model.rating_layers": layers,
                    "training.temperature": 1.0,
                },
            )
        )
    return make_record(
        trials,
        model={"biases": [False, True], "rating_layers": [[64], [128, 64]]},
        training={"epochs": {"low": 2, "high": 20}, "temperature": {"low": 1, "high": 1}},
    )


def test_ranges_and_choices_beside_the_weights_have_their_share() -> None:
    found = importances(with_others())
    assert found is not None
    assert found.parameters["rmse"]["training.epochs"] > 0.9
    assert found.parameters["top_100_accuracy"]["model.biases"] > 0.9
    # The temperature has a range, but one without width.
    others = {"training.epochs", "model.biases", "model.rating_layers"}
    assert found.parameters["rmse"].keys() == {"rating_weight", "retrieval_weight", *others}
    assert found.scale.importances["rmse"].keys() == {"ratio", "scale", *others}
    # What the others explain is not held against the ratio.
    assert set(found.scale.others) == others
    assert found.scale.scale_matters is False
    assert found.scale.explained["rmse"].ratio > 0.95


def test_a_fit_beside_many_choices_wants_more_trials() -> None:
    record = with_others()
    few = replace(record, trials=record.trials[:25])  # for 9 coefficients
    found = importances(few)
    assert found is not None
    assert found.scale.scale_matters is None
    assert found.scale.sentence == (
        "Cannot be told: with model.biases, model.rating_layers and training.epochs searched as "
        "well, quadratic fits need 27 trials, and there are 25."
    )
    assert found.parameters["rmse"]["training.epochs"] > 0.9


def test_the_verdict_is_the_same_whichever_pair_is_searched() -> None:
    of_weights = planted(adagrad, LEAST)
    space = {"ratio": {"low": 1e-5, "high": 1e5}, "scale": {"low": 1e-3, "high": 1e3}}
    of_ratio = make_record(of_weights.trials, search_space=space)
    first, second = importances(of_weights), importances(of_ratio)
    assert first is not None
    assert second is not None
    assert first.scale.explained == second.scale.explained
    assert first.scale.sentence == second.scale.sentence
    assert first.parameters["rmse"].keys() == {"rating_weight", "retrieval_weight"}
    assert second.parameters["rmse"].keys() == {"ratio", "scale"}


@pytest.mark.parametrize("every", [2, 4])
def test_a_ratio_of_two_values_has_no_curve_to_fit(every: int) -> None:
    # The square of such a ratio is a constant if both come equally often, else a second ratio.
    sizes = [2.0 ** (i // 4 - 5) for i in range(40)]
    trials = [
        make_trial(i, 1.1, weights=(size, 4 * size))
        if i % every
        else make_trial(i, 1.3, weights=(4 * size, size))
        for i, size in enumerate(sizes)
    ]
    found = importances(make_record(trials))
    assert found is not None
    assert found.scale.explained["rmse"].ratio == pytest.approx(1)


def test_a_fixed_weight_has_no_importance_and_leaves_the_scale_untold() -> None:
    trials = [
        make_trial(i, 1 + b / 100, 0.2 + b, weights=(0.3, b)) for i, (_, b) in enumerate(drawn())
    ]
    weight = {"low": 0.01, "high": 100.0}
    found = importances(
        make_record(trials, search_space={"rating_weight": 0.3, "retrieval_weight": weight})
    )
    assert found is not None
    assert found.parameters["rmse"] == {"retrieval_weight": 1.0}
    assert found.scale.sentence == (
        "Cannot be told: rating_weight is fixed, so ratio and scale do not vary apart from each "
        "other."
    )


def test_a_fixed_scale_is_not_missed_by_a_rounding() -> None:
    pairs = [LossWeights.from_ratio(a / b, 1.0) for a, b in drawn()]
    assert {pair.scale for pair in pairs} > {1.0}
    trials = [make_trial(i, 1 + 0.01 * i, weights=pair) for i, pair in enumerate(pairs)]
    found = importances(
        make_record(trials, search_space={"ratio": {"low": 1e-4, "high": 1e4}, "scale": 1.0})
    )
    assert found is not None
    assert found.trials == 40


def test_a_study_of_one_specialist_has_importances() -> None:
    trials = [
        make_trial(i, 1 + 0.01 * i, weights=(1.0, 0.0), settings={"training.epochs": i + 1})
        for i in range(LEAST)
    ]
    found = importances(
        make_record(
            trials,
            search_space={"rating_weight": 1.0, "retrieval_weight": 0.0},
            training={"epochs": {"low": 1, "high": 20}},
        )
    )
    assert found is not None
    assert found.parameters["rmse"] == {"training.epochs": 1.0}
    assert found.scale.scale_matters is None


def test_an_objective_that_never_changes_is_left_out() -> None:
    found = importances(planted(lambda x, _: (1.1, 0.3 + 0.01 * x)))
    assert found is not None
    assert found.parameters.keys() == {"top_100_accuracy", "hypervolume"}
    assert found.scale.scale_matters is False
    assert "RMSE" not in found.scale.sentence
    nothing = importances(planted(lambda *_: (1.1, 0.3)))
    assert nothing is not None
    assert nothing.parameters == {}
    assert nothing.scale.sentence == (
        "Cannot be told: each objective is the same in all 40 trials."
    )


OUTSIDE = {
    "a specialist": make_trial(99, weights=(1.0, 0.0), reference="rating only"),
    "outside of today's bounds": make_trial(99, weights=(101.0, 1.0)),
    "pruned": make_trial(99, weights=(1.0, 1.0), state="pruned"),
    "failed": make_trial(99, weights=(1.0, 1.0), state="failed"),
}


@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE)
def test_only_complete_trials_within_the_search_space_count(outside: Trial) -> None:
    record = planted(adam, LEAST - 1)
    assert importances(replace(record, trials=(*record.trials, outside))) is None


def test_what_does_not_count_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.enable_default_handler()
    record = planted(adam, LEAST)
    found = importances(record)
    assert found is not None
    assert found.trials == LEAST
    assert importances(replace(record, trials=(*OUTSIDE.values(), *record.trials))) == found
    assert json.loads(json.dumps(asdict(found)))["parameters"] == found.parameters
    assert capfd.readouterr() == ("", ""), "Optuna reports its studies"


def verdict(scale_matters: bool | None, rmse: Explained, **changes: object) -> ScaleVerdict:
    fits = {"rmse": rmse, "top_100_accuracy": Explained(0.62, 0.1, 0.9)}
    shares = {"ratio": 0.6, "scale": 0.2, "training.epochs": 0.2}
    whole = ScaleVerdict(
        scale_matters,
        37,
        importances={"rmse": shares, "top_100_accuracy": {"ratio": 1.0, "scale": 0.0}},
        explained={**fits, "hypervolume": Explained(0.1, 0.1, 0.1)},
        others=(),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_the_sentence_gives_both_figures_of_each_objective() -> None:
    assert verdict(True, Explained(0.41, 0.2, 0.83)).sentence == (
        "The scale matters, not only the ratio: the ratio alone explains 41 % of the variance of "
        "RMSE and 62 % of that of top-100 accuracy, ratio and scale together 83 % and 90 % "
        "(quadratic fits of 37 trials, each predicted from the others)."
    )


def test_the_sentence_names_what_is_accounted_for() -> None:
    others = ("training.epochs", "model.biases")
    assert verdict(False, Explained(0.81, 0, 0.8), others=others).sentence == (
        "Only the ratio matters: the ratio alone explains 81 % of the variance of RMSE and 62 % of "
        "that of top-100 accuracy, ratio and scale together 80 % and 90 % (quadratic fits of 37 "
        "trials, each predicted from the others, training.epochs and model.biases accounted for)."
    )


@pytest.mark.parametrize(
    ("rmse", "end"),
    [
        (Explained(0.3, 0, 0.3), "the others), which is too little to judge by."),
        (
            Explained(0.8, 0, 0.8),
            "the others), but a random forest gives the scale 20 % of the importance for RMSE.",
        ),
    ],
)
def test_the_sentence_says_why_it_cannot_be_told(rmse: Explained, end: str) -> None:
    sentence = verdict(None, rmse).sentence
    assert sentence.startswith("Cannot be told: the ratio alone explains ")
    assert sentence.endswith(end)
