from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from builders import (
    OBJECTIVES,
    make_record,
    make_trial,
    reference_trials,
    small_study,
    tutorial_trials,
)
from sweep.config import METRICS
from sweep.report.curves import MOST, curves_figure, curves_info
from sweep.report.hypervolume import hypervolume_figure, hypervolume_info
from sweep.report.pareto import pareto_figure, pareto_info
from sweep.report.style import house_style, metric_title
from sweep.report.summary import summarise
from sweep.report.weights import weights_figure, weights_info

SMALL = small_study()
RATING_ONLY, RETRIEVAL_ONLY, _ = reference_trials()


def overlapping_labels(figure: Figure, axes: Axes) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [
        (text.get_text(), Text.get_window_extent(text))  # without the line to its point
        for text in axes.texts
        if isinstance(text, Annotation)
    ]
    return [
        (first, second)
        for (first, a), (second, b) in itertools.combinations(boxes, 2)
        if a.overlaps(b)
    ]


@pytest.mark.parametrize(
    ("metric", "unit", "arrows", "title"),
    [
        ("rmse", "stars", "←→", "RMSE (stars, lower is better ←)"),
        ("rmse", "", "↓↑", "RMSE (lower is better ↓)"),
        ("top_100_accuracy", "stars", "↓↑", "top-100 accuracy (higher is better ↑)"),
        ("unseen_top_5_accuracy", "", "  ", "unseen top-5 accuracy (higher is better)"),
    ],
)
def test_axes_name_the_metric_its_unit_and_its_direction(
    metric: str, unit: str, arrows: str, title: str
) -> None:
    assert metric_title(metric, unit, arrows) == title


def test_the_front_is_drawn_as_the_border_of_what_it_dominates() -> None:
    info = pareto_info(summarise(make_record(SMALL)))
    (_, right), (bottom, _) = info.limits
    assert info.front.tolist() == [[1.0, 0.10], [1.1, 0.28], [1.4, 0.30]]
    assert info.dominated.tolist() == [[1.5, 0.20]]
    assert info.staircase.tolist() == [
        [1.0, bottom],
        [1.0, 0.10],
        [1.1, 0.10],
        [1.1, 0.28],
        [1.4, 0.28],
        [1.4, 0.30],
        [right, 0.30],
    ]
    assert info.knee == (1, 1.1, 0.28)


def test_the_border_follows_the_directions_of_the_objectives() -> None:
    info = pareto_info(summarise(make_record(SMALL, objectives=OBJECTIVES[::-1])))
    (left, _), (_, top) = info.limits
    assert info.staircase[0].tolist() == [0.30, top]
    assert info.staircase[-1].tolist() == [left, 1.0]


def test_a_model_that_cannot_rate_does_not_squash_the_picture() -> None:
    info = pareto_info(summarise(make_record(tutorial_trials())))
    (left, right), _ = info.limits
    assert left < info.front[:, 0].min()
    assert info.front[:, 0].max() < right < 1.5
    far = np.array([[mark.x, mark.y] for mark in info.landmarks if mark.name == "retrieval only"])
    assert info.beyond(far).all()
    assert (info.at_edge(far)[:, 0] < right).all()
    assert info.at_edge(far)[:, 1].tolist() == far[:, 1].tolist()


def test_references_and_published_points_are_landmarks() -> None:
    info = pareto_info(summarise(make_record(reference_trials())))
    found = {(mark.name, mark.origin): (mark.x, mark.y) for mark in info.landmarks}
    assert len(found) == 6
    assert found["retrieval only", "published"] == (3.773, 0.235)
    assert found["equal weights", "study"] == (1.1342, 0.2331)


@pytest.mark.parametrize("seed", range(4))
def test_labels_on_the_front_do_not_overlap(seed: int) -> None:
    with house_style():
        figure = pareto_figure(pareto_info(summarise(make_record(tutorial_trials(60, seed=seed)))))
        assert overlapping_labels(figure, figure.axes[0]) == []
        texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "retrieval only →\n3.813 / 0.235" in texts
    assert "rating only, published\n1.113 / 0.060" in texts


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


def test_the_worst_error_that_has_a_colour_of_its_own_is_within_the_picture_of_the_front() -> None:
    unseen = tuple(
        OBJECTIVES[1].model_copy(update={"metric": f"unseen_top_{k}_accuracy", "reference": 0.01})
        for k in (5, 100)
    )
    # Trials 0 and 1 are the front; trial 2 is far below both and rates far worse.
    trials = [make_trial(0, 1.0, 0.2), make_trial(1, 1.1, 0.3), make_trial(2, 3.8, 0.001)]
    panels = weights_info(summarise(make_record(trials, objectives=unseen))).panels
    (rmse,) = [panel for panel in panels if panel.metric == "rmse"]
    assert rmse.colour_limits == (1.0, 1.1)
    assert rmse.clipped
    assert [panel.metric for panel in panels if panel.clipped] == ["rmse"]


def test_the_hypervolume_states_its_reference_point_and_marks_the_references() -> None:
    trials = [make_trial(0, state="failed"), *(reference_trials())[1:], make_trial(5, 1.0, 0.3)]
    info = hypervolume_info(summarise(make_record(trials)))
    assert info.numbers == (1, 2, 5)
    assert "reference point RMSE 2.25, top-100 accuracy 0" in info.reference_point
    # Retrieval only lies beyond the reference point; equal weights adds (2.25 − 1.1342)·0.2331.
    assert info.references == (
        ("retrieval only", 1, 0.0),
        ("equal weights", 2, pytest.approx(0.26009, abs=1e-5)),
    )
    assert info.history[-1] == pytest.approx(0.3 * 1.25)


def test_learning_curves_show_few_members_with_both_ends_and_the_knee() -> None:
    # A front of 20 with its knee at the second member, which even spacing would leave out.
    trials = [make_trial(0, 1.0, 0.1), make_trial(1, 1.01, 0.4)]
    trials += [make_trial(i, 1.0 + 0.05 * i, 0.4 + 0.001 * i) for i in range(2, 20)]
    summary = summarise(make_record(trials))
    assert summary.knee.trial.number == 1
    info = curves_info(summary)
    assert len(info.curves) == MOST
    assert info.curves[0].name.startswith("trial 0\n")
    assert info.curves[1].name.startswith("trial 1 (knee)")
    assert info.curves[-1].name.startswith("trial 19\n")
    assert info.title.endswith("learning curves of 6 of the front's 20 members")


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
            figure.canvas.draw()
            assert overlapping_labels(figure, figure.axes[0]) == []
