"""The study file: defaults, overrides, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.config import METRICS, Choices, Range, StudyConfig, check_study, list_length, load_study
from sweep.errors import ConfigError

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))

SMALL = """
name = "small"
[dataset]
name = "synthetic"
[search_space]
rating_weight = { low = 0.1, high = 10.0 }
retrieval_weight = { low = 0.1, high = 10.0 }
[budget]
trials = 5
"""


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_what_is_not_given_has_a_default(study):
    config = load_study(study)
    assert config.training.optimizer == "adagrad"
    assert config.search_space.rating_weight.log
    assert [o.metric for o in config.objectives] == ["rmse", "top_100_accuracy"]
    assert config.sampler.name == "tpe"


def test_a_range_or_a_list_in_place_of_a_value_makes_the_key_a_search_variable(study):
    config = load_study(
        study,
        [
            "training.epochs={low=5,high=20}",
            "training.learning_rate=[0.05, 0.1]",
            "model.rating_layers=[[64],[128,64]]",
            "model.embedding_dimension=16",
        ],
    )
    assert config.search_space.variables == {
        "model.rating_layers": Choices(choices=((64,), (128, 64))),
        "training.epochs": Range(low=5, high=20),
        "training.learning_rate": Choices(choices=(0.05, 0.1)),
    }
    assert check_study(config.model_dump(mode="json"), "again") == config
    resolved = config.with_settings({"training.epochs": 7, "model.rating_layers": (64,)})
    assert (resolved.training.epochs, resolved.model.rating_layers) == (7, (64,))
    assert resolved.model.embedding_dimension == 16


def test_a_plain_number_fixes_a_weight(study):
    space = load_study(study, ["search_space.retrieval_weight=0"]).search_space
    assert space.retrieval_weight == Range(low=0, high=0, log=False)
    assert space.retrieval_weight.fixed


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs={low=0,high=9}", "training.epochs: low = 0 has no logarithm"),
        ("training.epochs={low=1.5,high=9}", "training.epochs: found 1.5; allowed: integer"),
        ("training.epochs={low=1,high=99999}", "training.epochs: found 99999; allowed: less than"),
        ("training.epochs={lo=1,high=9}", "training.epochs.lo: unknown key; allowed here: high"),
        ("training.epochs=[]", "training.epochs.choices: found []; allowed: at least 1"),
        ("training.epochz=[1,2]", "training.epochz: unknown key; allowed here: batch_size"),
        ("training.optimizer=['adam','sgd']", "training.optimizer: found 'sgd'; allowed: 'adagr"),
        ("training.optimizer={low=1,high=2}", "training.optimizer: found 1.0; allowed: 'adagrad'"),
        ("model.rating_layers=[[64],[-1]]", "model.rating_layers.0: found -1; allowed: greater"),
        (
            "search_space.ratio=1",
            "allowed: rating_weight and retrieval_weight, or ratio and scale",
        ),
        ("search_space={rating_weight=1,retrieval_weight=2}", "both weights are fixed and there"),
        ("search_space={ratio={low=1,high=2},scale=0}", "scale includes 0; raise low above 0"),
        ("search_space={ratio={low=1,high=2}}", "found ratio; allowed: rating_weight and retrie"),
        ("search_space.retrieval_weight={low=0,high=0}", "retrieval_weight: low = 0 has no logar"),
        ("training.l2={low=0,high=0}", "training.l2: low = 0 has no logarithm"),
        ("model.biases=[true,true]", "model.biases: True, True repeats a value; name each once"),
        ("search_space.variables=3", "search_space.variables: found 3; allowed: "),
        ("search_space.rating_weight=0", None),
    ],
)
def test_a_wrong_variable_is_told_by_the_key_it_stands_for(study, override, told):
    if told is None:
        load_study(study, [override])
        return
    with pytest.raises(ConfigError) as caught:
        load_study(study, [override])
    assert told in str(caught.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_comes_with_sweep_is_valid_and_named_as_its_file(path):
    assert load_study(path).name == path.stem


def test_overrides_replace_keys_and_are_read_as_toml_or_as_text(study):
    config = load_study(
        study,
        [
            "training.epochs=7",
            "training.reshuffle=false",
            "model.rating_layers=[8, 4]",
            "sampler.name=nsga2",
            "budget.minutes=1.5",
            "dataset.synthetic.queries=20",
        ],
    )
    assert config.training.epochs == 7
    assert config.training.reshuffle is False
    assert config.model.rating_layers == (8, 4)
    assert config.sampler.name == "nsga2"
    assert config.budget.minutes == 1.5
    assert config.dataset.synthetic.queries == 20


def test_a_study_survives_the_way_through_json(study):
    config = load_study(study, ["model.rating_layers=[8]", "objectives=[" + OBJECTIVES + "]"])
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config


OBJECTIVES = (
    '{metric="rmse",direction="minimize",reference=1.5},'
    '{metric="unseen_top_10_accuracy",direction="maximize"}'
)


def test_a_dataset_path_is_relative_to_the_study_file(tmp_path):
    text = SMALL.replace(
        'name = "synthetic"', 'name = "d/r.csv"\nquery = "u"\ncandidate = "i"\nlabel = "r"'
    )
    (tmp_path / "s.toml").write_text(text)
    assert load_study(tmp_path / "s.toml").dataset.name == str(tmp_path / "d" / "r.csv")


def test_a_dataset_path_in_an_override_is_relative_to_the_working_directory(
    tmp_path, monkeypatch, study
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    columns = [f"dataset.{key}={key}" for key in ("query", "candidate", "label")]
    config = load_study(study, ["dataset.name=r.csv", *columns])
    assert config.dataset.name == str(tmp_path / "here" / "r.csv")


def test_a_study_cannot_be_changed(study):
    with pytest.raises(ValueError, match="frozen"):
        load_study(study).training.epochs = 4


def test_errors_are_better_lower_and_accuracies_higher():
    assert {METRICS[name] for name in METRICS if name.endswith("rmse")} == {"minimize"}
    assert {METRICS[name] for name in METRICS if not name.endswith("rmse")} == {"maximize"}


def test_every_metric_has_an_average_over_users_with_lists_of_the_same_length():
    over_rows = [name for name in METRICS if not name.startswith("per_user_")]
    assert len(METRICS) == 2 * len(over_rows)
    for name in over_rows:
        assert METRICS[f"per_user_{name}"] == METRICS[name]
        assert list_length(f"per_user_{name}") == list_length(name)
    assert list_length("per_user_unseen_top_10_accuracy") == 10
    assert list_length("per_user_rmse") is None


def message(study: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(study, overrides)
    return str(caught.value)


def test_an_unknown_key_is_told_with_the_allowed_ones_and_the_nearest(study):
    text = message(study, "training.epoch=3")
    assert text.startswith("--set: training.epoch: unknown key; allowed here: batch_size, epochs")
    assert "did you mean 'epochs'?" in text


def test_all_problems_are_told_at_once(study):
    lines = message(study, "training.epochs=0", "sampler.name=annealing").splitlines()
    assert len(lines) == 2
    assert "training.epochs: found 0; allowed: greater than or equal to 1" in lines[0]
    assert "sampler.name: found 'annealing'; allowed: 'tpe'," in lines[1]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs=true", "training.epochs: found True; allowed: integer"),
        ("training.epochs=2.5", "training.epochs: found 2.5; allowed: integer"),
        ("training.learning_rate=nan", "training.learning_rate: found nan; allowed: "),
        ("seeds.model=-1", "seeds.model: found -1; allowed: greater than or equal to 0"),
        ("split.test_fraction=1", "split.test_fraction: found 1; allowed: less than 1"),
        ("model.rating_layers=[0]", "model.rating_layers.0: found 0"),
        ("search_space.rating_weight='3'", "found '3'; allowed: a table with high, log, low"),
        ("search_space.rating_weight={low=2.0,high=1.0}", "low = 2 is not below high = 1"),
        ("search_space.rating_weight={low=0.0,high=1.0}", "low = 0 has no logarithm"),
        ("budget={}", "none of trials, minutes and patience is set"),
        ("dataset.name=movielens/10k", "did you mean 'movielens/100k'?"),
        ("dataset.name=ratings.csv", "its columns must be named; missing: query, candidate, label"),
        ("dataset.query=user", "the synthetic dataset has no columns"),
        ("name=../../etc", "name: found '../../etc'; allowed: letters, digits"),
        ('objectives=[{metric="rmse",direction="minimize"}]', "objectives"),
        (
            'objectives=[{metric="rmse",direction="maximize"},'
            '{metric="top_5_accuracy",direction="maximize"}]',
            'rmse is better when lower; set direction = "minimize"',
        ),
        (
            'objectives=[{metric="rmse",direction="minimize"},'
            '{metric="top100_accuracy",direction="maximize"}]',
            "did you mean 'top_100_accuracy'?",
        ),
        (
            'objectives=[{metric="rmse",direction="minimize"},{metric="rmse",direction="minimize"}]',
            "objectives repeat a metric",
        ),
        (
            'objectives=[{metric="rmse",direction="minimize",reference=0.0},'
            '{metric="top_5_accuracy",direction="maximize"}]',
            "reference = 0 leaves nothing that is better; for rmse it must be above 0",
        ),
        (
            'objectives=[{metric="rmse",direction="minimize"},'
            '{metric="top_5_accuracy",direction="maximize",reference=1.0}]',
            "reference = 1 leaves nothing that is better; for top_5_accuracy it must be below 1",
        ),
        ("training.epochs", "not of the form key=value"),
        ("name.first=x", "name is not a table"),
    ],
)
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(study, override, told):
    text = message(study, override)
    assert told in text
    assert "Tuple" not in text
    assert "dictionary" not in text


def test_files_that_are_no_study_are_told_apart(tmp_path):
    assert "no such study file" in message(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    assert "not valid TOML" in message(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message(tmp_path / "binary.toml")
    assert "cannot be read" in message(tmp_path)
    (tmp_path / "empty.toml").write_text("")
    assert "name: required, but not there" in message(tmp_path / "empty.toml")


def test_a_parsed_document_is_checked_alike():
    with pytest.raises(ConfigError, match="API: budget: required"):
        check_study({"name": "x", "dataset": {"name": "synthetic"}}, source="API")
