from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from typing import Any

import pytest

from builders import (
    BASELINES,
    make_record,
    make_trial,
    reference_trials,
    replicated,
    small_study,
    tutorial_trials,
    whole_record,
)
from sweep.config import METRICS
from sweep.report.answer import headline, specialists_sentence
from sweep.report.page import page, script_json
from sweep.report.summary import summarise
from sweep.search.importance import importances


class Text(HTMLParser):
    """The elements of a page and the text between them, scripts left out."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style") and data.strip():
            self.texts.append(data.strip())


def constant_of(source: str, name: str) -> Any:
    found = re.search(f"^const {name} = (.*);$", source, flags=re.MULTILINE)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def source() -> str:
    return page(summarise(make_record()))


@pytest.fixture(scope="module")
def whole() -> str:
    return page(summarise(whole_record()))


def test_the_page_begins_with_what_was_found(source: str) -> None:
    texts = Text(source).texts
    start = texts.index("Study tutorial")
    assert texts[start + 1] == headline(summarise(make_record()))
    assert specialists_sentence(summarise(make_record())) in texts[start + 2]
    assert any("trained on 80,000 rows, scored on 20,000 test rows" in text for text in texts)


def test_the_first_screen_says_what_the_weights_buy_and_how_sure_that_is(whole: str) -> None:
    first = whole[: whole.index("Members of the front")]
    text = " ".join(Text(first).texts)
    assert "Rating weight 30, retrieval weight 20 and training.epochs 12" in text
    for name in ("rating only", "retrieval only", "equal weights", "EASE", "popularity"):
        assert f">{name}</td>" in first
    assert "truly on the front" in text
    assert "The search had not converged" in text
    assert "On the test rows" in text


def test_sections_come_in_the_order_in_which_a_reader_asks(whole: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", whole)
    assert titles == [
        "Members of the front",
        "Pareto front",
        "What was searched",
        "The chosen trial",
        "On the test rows",
        "What mattered in the search",
        "What each setting is worth",
        "Had the search converged?",
        "Trials stopped early",
        "How this was measured",
    ]


def test_a_model_that_loses_to_a_baseline_is_marked_so() -> None:
    record = make_record(replicated(tutorial_trials(), range(40)), baselines=BASELINES)
    page_of_it = page(summarise(record))
    found = dict(re.findall(r"<tr><td>([^<]*)</td>.*?<td class=\"(\w+)\"", page_of_it))
    assert found["user and item bias"] == found["EASE"] == "worse"
    assert found["global mean"] == "better"


def test_a_trial_that_may_be_on_the_front_follows_it_in_grey(whole: str) -> None:
    table = whole[whole.index("Members of the front") : whole.index("Pareto front<")]
    models = re.findall(r"<tr(.*?)><td>(.*?)</td>", table)
    assert [model for _, model in models][:5] == [
        "trial 5", "★ trial 3, chosen", "trial 7", "trial 4", "trial 0, rating only",
    ]  # fmt: skip
    assert [kind for kind, _ in models][3] == ' class="other"'


def test_what_does_not_apply_is_a_dash_in_the_table_of_the_front(whole: str) -> None:
    (row,) = re.findall(r"<tr class=\"other\"><td>EASE \(baseline\)</td>.*?</tr>", whole)[:1]
    assert re.findall(r"<td>(.*?)</td>", row) == [
        "EASE (baseline)", "–", "–", "–", "–", "–", "0.4400", "–", "–", "–",
    ]  # fmt: skip


def test_replicated_trials_have_error_bars_and_baselines_dashed_lines(whole: str) -> None:
    front = constant_of(whole, "figures")["front"]
    traces = {trace.get("name"): trace for trace in front["data"]}
    knee = summarise(whole_record()).estimates[3]
    assert traces["chosen"]["error_x"]["array"] == [knee["rmse"].half_width]
    assert traces["chosen"]["error_y"]["array"] == [knee["top_100_accuracy"].half_width]
    assert "error_x" not in traces["trained once"]
    lines = {(line.get("x0"), line.get("y0")) for line in front["layout"]["shapes"]}
    assert {(0.943, 0), (1.125, 0), (0, 0.298), (0, 0.44)} == lines
    assert {line["line"]["dash"] for line in front["layout"]["shapes"]} == {"dash"}
    names = [label["text"] for label in front["layout"]["annotations"]]
    assert "EASE 0.4400" in names


def test_what_mattered_is_bars_the_sentence_and_the_data_behind_it() -> None:
    record = make_record()
    found = importances(record)
    assert found is not None
    text = page(summarise(record, found))
    section = text[text.index("What mattered") : text.index("What each setting is worth")]
    assert section.count('<td class="bar">') == 6  # two weights by two objectives and hypervolume
    assert escape(found.scale.sentence) in section.replace("\u00a0", " ")
    assert "ratio alone" in section
    assert "Not known" in page(summarise(record))


def test_the_ablation_and_the_commands_are_on_the_page(whole: str) -> None:
    assert "yes, for RMSE and top-100 accuracy" in whole
    assert "sweep export whole --pick knee --output best.json" in whole
    assert "no epoch is picked by its score" in whole
    assert "keeps the tutorial&#x27;s protocol" in page(summarise(make_record(small_study())))


def test_the_page_holds_all_it_needs_and_forbids_requests(source: str) -> None:
    elements = Text(source).elements
    assert not [tag for tag, _ in elements if tag in ("link", "img", "iframe")]
    assert not [attributes for _, attributes in elements if attributes.keys() & {"src", "href"}]
    policies = [a["content"] for tag, a in elements if tag == "meta" and "http-equiv" in a]
    assert len(policies) == 1
    assert "default-src 'none'" in (policies[0] or "")
    assert "http" not in (policies[0] or "")
    assert "plotly.js v" in source


def test_hover_shows_the_weights_and_every_metric(source: str) -> None:
    traces = {trace.get("name"): trace for trace in constant_of(source, "figures")["front"]["data"]}
    (hover,) = traces["equal weights"]["hovertext"]
    assert hover.startswith(
        "<b>trial 2 (equal weights)</b><br>rating weight 1<br>retrieval weight 1"
    )
    assert "RMSE 1.1342" in hover
    assert "unseen top-100 accuracy" in hover
    assert traces["retrieval only, published"]["x"] == [3.773]


def test_the_table_has_the_front_with_the_objectives_first() -> None:
    trials = [make_trial(0, 1.0, 0.1, weights=(1, 0)), *small_study()[1:]]
    source = page(summarise(make_record(trials)))
    table = source[source.index("Members of the front") : source.index("Pareto front<")]
    rows = re.findall(r"<tr.*?</tr>", table)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0] == [
        "model", "rating weight", "retrieval weight", "ratio", "RMSE ↓", "top-100 accuracy ↑", "n",
        "P(on the front)", "robust",
    ]  # fmt: skip
    assert cells[1] == ["trial 0", "1", "0", "∞", "1.0000", "0.1000", "1", "–", "–"]
    assert [row[0] for row in cells[1:]] == ["trial 0", "★ trial 1, chosen", "trial 2"]


def test_each_plane_of_the_weights_has_a_labelled_choice_of_every_metric(source: str) -> None:
    elements = Text(source).elements
    labels = {attributes["for"] for tag, attributes in elements if tag == "label"}
    choices = [attributes["id"] for tag, attributes in elements if tag == "select"]
    assert choices == ["metric0", "metric1"]
    assert labels == set(choices)
    options = [attributes for tag, attributes in elements if tag == "option"]
    rows = [str(row) for row in range(len(METRICS))]
    assert [option["value"] for option in options] == [*rows, *rows]
    selected = [row for row, option in enumerate(options) if "selected" in option]
    assert selected == [0, len(METRICS) + 1]  # the two objectives
    assert source.count(">unseen top-5 accuracy (higher is better)</option>") == 2


def test_the_colours_of_a_choice_are_the_metric_that_it_names(source: str) -> None:
    colours, figures = constant_of(source, "colours"), constant_of(source, "figures")
    titles = re.findall(r"<option[^>]*>([^<]*)</option>", source)
    row = titles.index("unseen top-5 accuracy (higher is better)")
    measured = [t.result.metrics["unseen_top_5_accuracy"] for t in tutorial_trials() if t.result]
    assert colours[row]["color"] == measured
    assert not colours[row]["reversescale"]
    assert colours[0]["reversescale"]
    for chosen in range(2):
        marker = figures[f"weights{chosen}"]["data"][0]["marker"]
        assert marker.items() >= colours[chosen].items()


def test_members_at_the_edge_of_the_search_space_are_named_beside_the_planes() -> None:
    trials = [make_trial(0, 1.0, 0.1, weights=(98, 1)), *small_study()[1:]]
    texts = Text(page(summarise(make_record(trials)))).texts
    (note,) = [text for text in texts if text.startswith("Brighter is better.")]
    assert note.endswith(
        "Trial 0 (rating weight 98 of at most 100) is at the edge of the search space: "
        "a wider range may do better."
    )


def test_what_lies_beyond_the_axes_is_said(source: str) -> None:
    assert "retrieval only at 3.813 / 0.235; double-click shows all" in source
    assert "beyond the axes" not in page(summarise(make_record([make_trial(0), make_trial(1)])))


def test_published_points_are_named_only_where_they_are_shown(source: str) -> None:
    note = "Hollow markers are the figures that the TensorFlow Recommenders"
    assert note in source
    other = make_record(reference_trials(), dataset={"name": "movielens/1m"})
    assert note not in page(summarise(other))


def test_text_from_outside_cannot_become_markup() -> None:
    assert "</script" not in script_json({"name": "</script><script>alert(1)</script>"})
    dataset = {"name": "<b>&.csv", "query": "q", "candidate": "c", "label": "l"}
    source = page(summarise(make_record(reference_trials(), dataset=dataset, summary=None)))
    assert "Dataset: &lt;b&gt;&amp;.csv" in source
    assert "<b>&.csv" not in source


def test_the_same_study_gives_the_same_page(source: str) -> None:
    assert page(summarise(make_record())) == source


def test_a_study_of_many_trials_stays_one_page() -> None:
    source = page(summarise(make_record(tutorial_trials(300))))
    assert len(source) < 7_000_000


def test_where_the_front_has_no_knee_the_page_calls_no_trial_the_knee() -> None:
    trials = [make_trial(0, 1.0, 0.2), make_trial(1, 1.2, 0.3)]
    text = page(summarise(make_record(trials, name="straight")))
    body = text[: text.index("<script>")].replace("--pick knee", "")
    assert "Trial 0 has the best RMSE of a front of 2 that has no knee between its ends (2 " in body
    assert "★ trial 0, chosen" in body
    assert body.count("knee") == body.count("no knee between its ends") + body.count('"knee"') + (
        body.count("tr.knee")
    )
