from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from builders import (
    BASELINES,
    OBJECTIVES,
    make_record,
    make_replicates,
    make_trial,
    reference_trials,
    replicated,
    small_study,
    tutorial_trials,
    whole_record,
)
from sweep.config import METRICS
from sweep.report.curves import MOST, MOST_PRUNED, curves_figure, curves_info
from sweep.report.hypervolume import hypervolume_figure, hypervolume_info
from sweep.report.importance import (
    ablation_figure,
    ablation_info,
    importances_figure,
    importances_info,
)
from sweep.report.pareto import Spot, baseline_lines, pareto_figure, pareto_info
from sweep.report.style import house_style, metric_title
from sweep.report.summary import summarise
from sweep.report.weights import weights_figure, weights_info
from sweep.results import Ablation, Baseline
from sweep.search.importance import Importances, ScaleVerdict

SMALL = small_study()
RATING_ONLY, RETRIEVAL_ONLY, _ = reference_trials()


def overlapping_labels(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    return [
        (first.get_text(), second.get_text())
        for axes in figure.axes
        for first, second in itertools.combinations(
            [text for text in axes.texts if isinstance(text, Annotation)], 2
        )
        # Without the lines to their points.
        if Text.get_window_extent(first).overlaps(Text.get_window_extent(second))
    ]


@pytest.mark.parametrize(
    ("metric", "unit", "arrows", "title"),
    [
        ("rmse", "stars", "←→", "RMSE (stars, lower is better ←)"),
        ("rmse", "", "↓↑", "RMSE (lower is better ↓)"),
        ("per_user_rmse", "stars", "←→", "per-user RMSE (stars, lower is better ←)"),
        (
            "per_user_unseen_top_5_accuracy",
            "stars",
            "  ",
            "per-user unseen top-5 accuracy (higher is better)",
        ),
        ("top_100_accuracy", "stars", "↓↑", "top-100 accuracy (higher is better ↑)"),
        ("unseen_top_5_accuracy", "", "  ", "unseen top-5 accuracy (higher is better)"),
    ],
)
def test_axes_name_the_metric_its_unit_and_its_direction(
    metric: str, unit: str, arrows: str, title: str
) -> None:
    assert metric_title(metric, unit, arrows) == title


def spots(found: Iterable[Spot]) -> list[tuple[float, float]]:
    return [(spot.x, spot.y) for spot in found]


def test_the_front_is_drawn_as_the_border_of_what_it_dominates() -> None:
    info = pareto_info(summarise(make_record(SMALL)))
    assert info.overview is not None  # the published points are far away
    (_, right), (bottom, _) = info.overview
    assert spots(info.front) == [(1.0, 0.10), (1.1, 0.28), (1.4, 0.30)]
    assert info.single.tolist() == [[1.5, 0.20]]
    assert info.staircase.tolist() == [
        [1.0, bottom],
        [1.0, 0.10],
        [1.1, 0.10],
        [1.1, 0.28],
        [1.4, 0.28],
        [1.4, 0.30],
        [right, 0.30],
    ]
    assert (info.knee.trial, info.knee.x, info.knee.y) == (1, 1.1, 0.28)


def test_the_border_follows_the_directions_of_the_objectives() -> None:
    info = pareto_info(summarise(make_record(SMALL, objectives=OBJECTIVES[::-1])))
    (left, _), (_, top) = info.overview or info.limits
    assert info.staircase[0].tolist() == [0.30, top]
    assert info.staircase[-1].tolist() == [left, 1.0]


def test_replicated_trials_are_drawn_at_their_means_with_intervals() -> None:
    trials = [
        make_trial(0, 0.80, 0.60, replicates=[(0.90, 0.40), (0.92, 0.44)]),
        make_trial(1, 0.90, 0.30, replicates=[(0.95, 0.30), (0.95, 0.30)]),
        make_trial(2, 0.70, 0.70),
    ]
    info = pareto_info(summarise(make_record(trials)))
    (member,) = info.front
    assert (member.x, member.y) == (pytest.approx(0.91), pytest.approx(0.42))
    # Two values d apart: t(0.95, 1) = 6.3138 times a standard error of d/2.
    assert member.half_widths == (
        pytest.approx(0.063138, rel=1e-4),
        pytest.approx(0.12628, rel=1e-4),
    )
    assert spots(info.behind) == [(0.95, 0.30)]
    assert info.single.tolist() == [[0.70, 0.70]]  # one lucky seed is not compared with means
    assert "Bars: ± 90 % interval of the mean over 2 seeds." in info.notes[0]


def test_pruned_trials_are_counted_not_drawn() -> None:
    pruned = [make_trial(4, 0.5, 0.9, state="pruned"), make_trial(5, 0.4, 0.9, state="pruned")]
    info = pareto_info(summarise(make_record([*SMALL, *pruned])))
    assert len(info.front) + len(info.single) == len(SMALL)
    assert info.notes[1] == "Trials that are not shown: 2 pruned."


def test_each_baseline_is_a_line_on_the_axis_of_the_metric_that_it_has() -> None:
    baselines = (*BASELINES, Baseline("too large", {}, "Left out."))
    found = baseline_lines(summarise(make_record(SMALL, baselines=baselines)))
    assert [(line.name, line.axis, line.value) for line in found] == [
        ("global mean", 0, 1.125),
        ("user and item bias", 0, 0.943),
        ("popularity", 1, 0.298),
        ("EASE", 1, 0.44),
    ]
    swapped = baseline_lines(
        summarise(make_record(objectives=OBJECTIVES[::-1], baselines=baselines))
    )
    assert {line.name: line.axis for line in swapped}["EASE"] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_far_references_and_baselines_do_not_squash_the_front(size: int) -> None:
    front = [make_trial(3 + i, 0.90 + 0.004 * i, 0.55 + 0.003 * i) for i in range(size)]
    far = make_trial(1, 1.72, 0.60, weights=(0, 1), reference="retrieval only")
    rating = make_trial(0, 0.93, 0.09, weights=(1, 0), reference="rating only")
    info = pareto_info(summarise(make_record([rating, far, *front], baselines=BASELINES)))
    assert len(info.front) == size + 1
    (left, right), (bottom, top) = info.limits
    assert right - left < 0.25
    assert top - bottom < 0.25
    # Trials are on both sides of none of these lines, or the line is within the axes.
    assert left < 0.90 < 0.943 < right
    assert info.beyond(np.array([[1.72, 0.60], [0.93, 0.09], [1.0, 0.298]])).all()
    assert not info.beyond(np.array(spots(info.front[:-1]))).any()
    assert info.overview is not None
    (left, right), (bottom, top) = info.overview
    assert left < 0.90 < 1.72 < right
    assert bottom < 0.09 < 0.60 < top


def test_what_is_near_the_front_needs_no_overview() -> None:
    trials = [make_trial(i, 0.90 + 0.01 * i, 0.40 + 0.02 * i) for i in range(4)]
    baselines = [BASELINES[1], BASELINES[3]]
    other = {"name": "movielens/1m"}  # without published points
    info = pareto_info(summarise(make_record(trials, baselines=baselines, dataset=other)))
    assert info.overview is None
    (_, right), (_, top) = info.limits
    assert right > 0.943
    assert top > 0.46


def test_members_of_the_robust_front_are_told_apart_where_replicates_allow() -> None:
    summary = summarise(make_record(SMALL))
    assert [spot.robust for spot in pareto_info(summary).front] == [None, None, None]
    # A trial may be robust without being on the front: it is not counted among the members.
    summary = replace(summary, robust=frozenset({1, 3}), probability={0: 0.4, 1: 0.9, 3: 0.2})
    info = pareto_info(summary)
    assert [spot.robust for spot in info.front] == [False, True, None]
    assert info.title.endswith("3 of 4 trials are on the Pareto front, 1 of them robust")


def test_references_and_published_points_are_landmarks() -> None:
    info = pareto_info(summarise(make_record(reference_trials())))
    found = {(mark.name, mark.origin): (mark.x, mark.y) for mark in info.landmarks}
    assert len(found) == 6
    assert found["retrieval only", "published"] == (3.773, 0.235)
    assert found["equal weights", "study"] == (1.1342, 0.2331)


@pytest.mark.parametrize("seed", range(4))
def test_labels_on_the_front_do_not_overlap(seed: int) -> None:
    trials = replicated(tutorial_trials(60, seed=seed), range(0, 60, 6))
    record = make_record(trials, baselines=BASELINES)
    with house_style():
        figure = pareto_figure(pareto_info(summarise(record)))
        assert len(figure.axes) == 2
        assert overlapping_labels(figure) == []
    named = {text.get_text().partition("\n")[0] for axes in figure.axes for text in axes.texts}
    assert named >= {"retrieval only", *(baseline.name for baseline in BASELINES)}


def test_a_weight_of_zero_has_a_place_below_the_searched_range() -> None:
    info = weights_info(summarise(make_record(reference_trials())))
    horizontal, vertical = info.axes
    assert horizontal.position(0.0) == horizontal.zero < math.log10(0.01)
    assert horizontal.ticks[0] == (horizontal.zero, "0")
    assert [text for _, text in horizontal.ticks[1:]] == ["0.01", "0.1", "1", "10", "100"]
    assert info.positions.tolist() == [[0, vertical.zero], [horizontal.zero, 0], [0, 0]]
    assert dict(info.names) == {0: "rating only", 1: "retrieval only", 2: "equal weights"}


def test_weights_outside_the_search_space_are_still_within_the_axes() -> None:
    info = weights_info(summarise(make_record([make_trial(0, weights=(1e-5, 1e4))])))
    (low, _), (_, high) = info.axes[0].limits, info.axes[1].limits
    assert low < -5
    assert high > 4


def test_colours_span_the_values_near_the_front_and_say_when_they_are_clipped() -> None:
    rmse, accuracy, *_ = weights_info(summarise(make_record(tutorial_trials()))).panels
    assert rmse.lower_is_better
    assert rmse.clipped
    assert rmse.colour_limits[1] < 1.5 < rmse.values.max()
    assert not accuracy.lower_is_better
    assert not accuracy.clipped
    assert accuracy.colour_limits == (accuracy.values.min(), accuracy.values.max())


def test_there_is_a_panel_for_every_metric_and_the_objectives_come_first() -> None:
    panels = weights_info(summarise(make_record(SMALL, objectives=OBJECTIVES[::-1]))).panels
    assert [panel.metric for panel in panels[:3]] == ["top_100_accuracy", "rmse", "top_1_accuracy"]
    assert {panel.metric for panel in panels} == set(METRICS)
    assert len(panels) == len(METRICS)
    assert panels[0].values.tolist() == [0.10, 0.28, 0.30, 0.20]
    assert panels[1].values.tolist() == [1.00, 1.10, 1.40, 1.50]


def test_only_an_error_far_worse_than_most_has_no_colour_of_its_own() -> None:
    unseen = tuple(
        OBJECTIVES[1].model_copy(update={"metric": f"unseen_top_{k}_accuracy", "reference": 0.01})
        for k in (5, 100)
    )
    # The middle error is 1.1, and 3.8 is more than three times as far from the best.
    trials = [make_trial(0, 1.0, 0.2), make_trial(1, 1.1, 0.3), make_trial(2, 3.8, 0.001)]
    panels = weights_info(summarise(make_record(trials, objectives=unseen))).panels
    (rmse,) = [panel for panel in panels if panel.metric == "rmse"]
    assert rmse.colour_limits == (1.0, 1.1)
    assert rmse.clipped
    assert [panel.metric for panel in panels if panel.clipped] == ["rmse", "per_user_rmse"]


def test_without_specialists_there_is_no_margin_for_a_weight_of_zero() -> None:
    horizontal, _ = weights_info(summarise(make_record(SMALL))).axes
    assert [text for _, text in horizontal.ticks] == ["0.01", "0.1", "1", "10", "100"]
    assert horizontal.borders == ()


def test_a_search_of_ratio_and_scale_has_places_for_the_ratios_of_specialists() -> None:
    span = {"low": 0.01, "high": 100.0}
    space = {"ratio": span, "scale": span}
    trials = [*reference_trials(), make_trial(3, weights=(20, 0.2))]
    info = weights_info(summarise(make_record(trials, search_space=space)))
    ratio, scale = info.axes
    assert ratio.title.startswith("ratio (rating weight / retrieval weight)")
    assert ratio.ticks[0] == (ratio.zero, "0")
    assert ratio.ticks[-1] == (ratio.infinity, "∞")
    assert ratio.zero < -2 < 2 < ratio.infinity
    assert info.positions.tolist() == [
        [ratio.infinity, scale.zero],
        [ratio.zero, scale.zero],
        [0, 0],
        [pytest.approx(2), pytest.approx(math.log10(2))],
    ]
    assert info.ratios == ()


def test_lines_of_constant_ratio_cross_the_plane_of_two_searched_weights() -> None:
    assert weights_info(summarise(make_record(SMALL))).ratios == (-2, -1, 0, 1, 2)


def test_with_one_weight_fixed_another_variable_is_on_the_second_axis() -> None:
    tables = {
        "search_space": {"rating_weight": {"low": 0.01, "high": 100.0}, "retrieval_weight": 1.0},
        "training": {"epochs": {"low": 5, "high": 20, "log": False}, "batch_size": [512, 1024]},
    }
    trials = [
        make_trial(i, weights=(1, 1), settings={"training.epochs": e, "training.batch_size": 512})
        for i, e in enumerate((5, 12, 20))
    ]
    info = weights_info(summarise(make_record(trials, **tables)))
    assert [axis.title for axis in info.axes] == ["rating weight", "training.epochs"]
    assert info.positions.tolist() == [[0, 5], [0, 12], [0, 20]]
    assert all(float(text).is_integer() for _, text in info.axes[1].ticks)


def test_the_axis_of_a_weight_fixed_at_0_has_no_other_value() -> None:
    space = {"rating_weight": {"low": 0.01, "high": 100.0, "log": True}, "retrieval_weight": 0}
    trials = [make_trial(i, 1 + i / 10, 0.1 + i / 10, weights=(1 + i, 0)) for i in range(3)]
    _, vertical = weights_info(summarise(make_record(trials, search_space=space))).axes
    assert [text for _, text in vertical.ticks] == ["0"]


def test_where_one_weight_alone_is_searched_the_other_is_on_the_second_axis() -> None:
    space = {"rating_weight": {"low": 0.01, "high": 100.0}, "retrieval_weight": 2.0}
    trials = [make_trial(i, weights=(10.0**i, 2.0)) for i in range(3)]
    info = weights_info(summarise(make_record(trials, search_space=space)))
    assert info.axes[1].title == "retrieval weight (fixed at 2)"
    assert info.positions.tolist() == [[i, math.log10(2)] for i in range(3)]
    assert info.ratios == ()


def test_choices_stand_in_the_order_of_the_study_file() -> None:
    tables = {
        "search_space": {"rating_weight": 1.0, "retrieval_weight": 1.0},
        "training": {"optimizer": ["adam", "adagrad"]},
        "model": {"rating_layers": [[64], [256, 128]]},
    }
    trials = [
        make_trial(i, settings={"training.optimizer": name, "model.rating_layers": layers})
        for i, (name, layers) in enumerate([("adagrad", (64,)), ("adam", (256, 128))])
    ]
    info = weights_info(summarise(make_record(trials, **tables)))
    texts = {axis.title: [text for _, text in axis.ticks] for axis in info.axes}
    assert texts == {
        "training.optimizer": ["adam", "adagrad"],
        "model.rating_layers": ["64", "256-128"],
    }
    column = [axis.title for axis in info.axes].index("training.optimizer")
    assert info.positions[:, column].tolist() == [1, 0]


def test_the_hypervolume_states_its_reference_and_ideal_and_marks_the_references() -> None:
    trials = [make_trial(0, state="failed"), *(reference_trials())[1:], make_trial(5, 1.0, 0.3)]
    info = hypervolume_info(summarise(make_record(trials)))
    assert info.numbers == (1, 2, 5)
    assert info.reference_point == (
        "0 is the reference point (RMSE 2.25, top-100 accuracy 0), "
        "1 the ideal point (RMSE 0, top-100 accuracy 1)"
    )
    # Retrieval only is beyond the reference point; then (2.25 − 1.1342)·0.2331 of a box of 2.25·1.
    assert info.references == (
        ("retrieval only", 1, 0.0),
        ("equal weights", 2, pytest.approx(0.115597, abs=1e-6)),
    )
    assert info.history[-1] == pytest.approx(0.3 * 1.25 / 2.25)


def test_the_window_of_the_convergence_rule_holds_the_last_trials_pruned_ones_too() -> None:
    trials = [make_trial(i, 1.0, 0.3) for i in range(6)]
    trials += [
        make_trial(6, state="failed"),
        make_trial(7, state="pruned"),
        make_trial(8, 1.0, 0.3),
    ]
    budget = {"trials": 9, "patience": 3}
    info = hypervolume_info(summarise(make_record(trials, budget=budget)))
    assert info.window == (5, 8)
    assert info.sentence.startswith("The search had converged")
    short = hypervolume_info(summarise(make_record(trials[:3], budget=budget)))
    assert short.window is None


def test_learning_curves_show_few_members_with_both_ends_and_the_knee() -> None:
    # A front of 20 with its knee at the second member, which even spacing would leave out.
    trials = [make_trial(0, 1.0, 0.1), make_trial(1, 1.01, 0.4)]
    trials += [make_trial(i, 1.0 + 0.05 * i, 0.4 + 0.001 * i) for i in range(2, 20)]
    summary = summarise(make_record(trials))
    assert summary.knee.trial.number == 1
    info = curves_info(summary)
    assert len(info.curves) == MOST
    assert info.curves[0].name.startswith("trial 0\n")
    assert info.curves[1].name.startswith("trial 1 (chosen)")
    assert info.curves[-1].name.startswith("trial 19\n")
    assert "learning curves of 6 of the front's 20 members" in info.title


def test_pruned_trials_are_short_curves_and_at_most_some_dozens() -> None:
    stopped = [make_trial(i, 1.2, 0.1, state="pruned", epochs=2) for i in range(1, 101)]
    info = curves_info(summarise(make_record([make_trial(0, epochs=5), *stopped])))
    assert len(info.pruned) == MOST_PRUNED
    assert {curve.epochs for curve in info.pruned} == {(1, 2)}
    assert (info.pruned[0].name, info.pruned[-1].name) == ("trial 1", "trial 100")
    assert "30 of the 100 pruned trials" in info.title


def test_a_baseline_is_drawn_beside_the_curves_only_where_it_is_near_them() -> None:
    # RMSE falls from 1.067 to 1.0 and top-100 accuracy rises from 0.073 to 0.1.
    info = curves_info(summarise(make_record([make_trial(0, 1.0, 0.1)], baselines=BASELINES)))
    assert info.baselines == ()
    near = Baseline("near", {"rmse": 0.98, "top_100_accuracy": 0.105}, "")
    info = curves_info(summarise(make_record([make_trial(0, 1.0, 0.1)], baselines=[near])))
    assert [(line.axis, line.value) for line in info.baselines] == [(0, 0.98), (1, 0.105)]
    assert info.limits[0][0] < 0.98
    assert info.limits[1][1] > 0.105


def test_a_learning_curve_holds_objectives_and_losses_by_epoch() -> None:
    trial = make_trial(3, 1.1, 0.2, epochs=4)
    assert trial.result is not None
    info = curves_info(summarise(make_record([trial])))
    (curve,) = info.curves
    assert curve.epochs == (1, 2, 3, 4)
    assert curve.series[0] == tuple(e.metrics["rmse"] for e in trial.result.history)
    assert curve.series[1][-1] == 0.2
    assert curve.series[2] == tuple(e.rating_loss for e in trial.result.history)
    assert curve.series[3] == tuple(e.retrieval_loss for e in trial.result.history)
    assert info.titles[0] == "RMSE (stars, lower is better ↓)"
    assert "sum over a batch" in info.titles[3]
    assert info.logarithmic == (False, False, False, False)


def test_a_specialist_among_the_members_makes_error_and_loss_logarithmic() -> None:
    info = curves_info(summarise(make_record([make_trial(0, 1.0, 0.1), make_trial(1, 3.8, 0.3)])))
    assert info.logarithmic == (True, False, True, False)


def made_importances(**shares: Mapping[str, float]) -> Importances:
    return Importances(25, shares, ScaleVerdict(None, 25, {}, {}, (), "it was not asked"))


def test_importances_begin_with_what_mattered_most_over_all_targets() -> None:
    found = made_importances(
        rmse={"rating_weight": 0.9, "training.epochs": 0.1},
        top_100_accuracy={"training.epochs": 0.5, "retrieval_weight": 0.4, "rating_weight": 0.1},
        hypervolume={"training.epochs": 0.7, "retrieval_weight": 0.3},
    )
    info = importances_info(summarise(make_record(SMALL), found))
    assert info is not None
    assert info.targets == ("RMSE", "top-100 accuracy", "hypervolume")
    assert info.variables == ("training.epochs", "rating weight", "retrieval weight")
    assert info.shares == ((0.1, 0.9, 0.0), (0.5, 0.1, 0.4), (0.7, 0.0, 0.3))
    assert info.notes[1].endswith("Cannot be told: it was not asked.")


def test_without_importances_or_an_ablation_there_is_no_picture_of_them() -> None:
    summary = summarise(make_record(SMALL))
    assert importances_info(summary) is None
    assert importances_info(replace(summary, importances=made_importances())) is None
    assert ablation_info(summary) is None
    whole = Ablation(1, None, None, None, make_replicates((1.0, 0.2)))
    assert ablation_info(summarise(make_record(SMALL, ablation=[whole]))) is None


def test_the_ablation_shows_changes_on_the_same_seeds_what_helps_most_first() -> None:
    whole = make_replicates((0.90, 0.50), (0.94, 0.52))
    worse = make_replicates((0.92, 0.50), (0.96, 0.50))
    better = make_replicates((0.89, 0.51), (0.93, 0.54))
    ablation = [
        Ablation(1, None, None, None, whole),
        Ablation(1, "training.epochs", 20, 3, better),
        Ablation(1, "model.biases", True, False, worse),
    ]
    info = ablation_info(summarise(make_record(SMALL, ablation=ablation)))
    assert info is not None
    assert info.levers == ("model.biases\nyes → no", "training.epochs\n20 → 3")
    (rmse, accuracy), (other_rmse, other_accuracy) = info.effects
    # RMSE is 0.02 higher on both seeds, however far these are apart.
    assert (rmse.change, rmse.half_width) == (pytest.approx(0.02), pytest.approx(0, abs=1e-9))
    assert rmse.certain
    assert rmse.harm == pytest.approx(0.02)
    # Accuracy changes by 0 and by −0.02: t(0.95, 1) = 6.3138 times 0.01.
    assert (accuracy.change, accuracy.half_width) == (
        pytest.approx(-0.01),
        pytest.approx(0.063138, rel=1e-4),
    )
    assert accuracy.harm == pytest.approx(0.01)
    assert not accuracy.certain
    assert (other_rmse.harm, other_accuracy.harm) == (pytest.approx(-0.01), pytest.approx(-0.015))
    assert info.mirrored == (False, True)


@pytest.mark.parametrize(
    "trials",
    [
        [make_trial(0, 1.1, 0.2)],
        [make_trial(i, 1.1, 0.2) for i in range(4)],
        [make_trial(0, 1.1, 0.0), make_trial(1, 1.1, 0.0)],
        [make_trial(0, 9.0, 0.2), make_trial(1, 8.0, 0.1)],  # all beyond the reference point
        reference_trials(),
        [RATING_ONLY],
        [RETRIEVAL_ONLY],
        [RATING_ONLY, RETRIEVAL_ONLY],
        [make_trial(0, 1.1, 0.2, epochs=1), make_trial(1, 1.0, 0.1, epochs=200)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_small_equal_and_distant_studies_can_be_drawn(trials: list) -> None:
    summary = summarise(make_record(trials))
    with house_style():
        for figure in (
            pareto_figure(pareto_info(summary)),
            weights_figure(weights_info(summary)),
            hypervolume_figure(hypervolume_info(summary)),
            curves_figure(curves_info(summary)),
        ):
            assert overlapping_labels(figure) == []


@pytest.mark.filterwarnings("error")
def test_a_study_with_everything_can_be_drawn() -> None:
    found = made_importances(rmse={"rating_weight": 0.9, "training.epochs": 0.1})
    summary = summarise(whole_record(), found)
    importances, ablation = importances_info(summary), ablation_info(summary)
    assert importances is not None
    assert ablation is not None
    with house_style():
        for figure in (
            pareto_figure(pareto_info(summary)),
            weights_figure(weights_info(summary)),
            hypervolume_figure(hypervolume_info(summary)),
            curves_figure(curves_info(summary)),
            importances_figure(importances),
            ablation_figure(ablation),
        ):
            assert overlapping_labels(figure) == []
