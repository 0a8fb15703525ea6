from __future__ import annotations

import pytest

from builders import OBJECTIVES
from sweep.config import Objective
from sweep.errors import SelectionError
from sweep.front import parse_rule
from sweep.front.rules import Best, Bound, Knee, Numbered, Reference, Utility


def refusal(text: str) -> str:
    with pytest.raises(SelectionError) as error:
        parse_rule(text, OBJECTIVES)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "rule", "canonical"),
    [
        ("knee", Knee(), "knee"),
        (" Knee ", Knee(), "knee"),
        ("min:rmse", Best("rmse"), "min:rmse"),
        ("max : top_5_accuracy", Best("top_5_accuracy"), "max:top_5_accuracy"),
        ("min:per_user_rmse", Best("per_user_rmse"), "min:per_user_rmse"),
        ("trial:17", Numbered(17), "trial:17"),
        ("rmse<=1.1", Bound("rmse", "<=", 1.1), "rmse<=1.1"),
        ("RMSE  <  1.10", Bound("rmse", "<", 1.1), "rmse<1.1"),
        (
            "top_100_accuracy >= 3e-1",
            Bound("top_100_accuracy", ">=", 0.3),
            "top_100_accuracy>=0.3",
        ),
        (
            "unseen_top_1_accuracy>0",
            Bound("unseen_top_1_accuracy", ">", 0),
            "unseen_top_1_accuracy>0",
        ),
        (
            "reference:rmse=0.93,top_100_accuracy=0.4",
            Reference((("rmse", 0.93), ("top_100_accuracy", 0.4))),
            "reference:rmse=0.93,top_100_accuracy=0.4",
        ),
        (
            "Reference : top_100_accuracy = .4 , rmse = -1e-1",
            Reference((("rmse", -0.1), ("top_100_accuracy", 0.4))),
            "reference:rmse=-0.1,top_100_accuracy=0.4",
        ),
        (
            "utility:rmse=3,top_100_accuracy=7",
            Utility((("rmse", 3.0), ("top_100_accuracy", 7.0))),
            "utility:rmse=3,top_100_accuracy=7",
        ),
        (
            "utility: top_100_accuracy=1",
            Utility((("top_100_accuracy", 1.0),)),
            "utility:top_100_accuracy=1",
        ),
    ],
)
def test_a_rule_is_read_and_written_back(text: str, rule: object, canonical: str) -> None:
    assert parse_rule(text, OBJECTIVES) == rule
    assert str(rule) == canonical
    assert parse_rule(canonical, OBJECTIVES) == rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not understood; allowed: knee, min:rmse, max:top_100_accuracy, trial:17"),
        ("kne", "did you mean 'knee'?"),
        ("best", "is not understood"),
        ("rmse=1.1", 'such as "rmse<=1.1"'),
        ("rmse", "is not understood"),
        ("min:rsme", "did you mean 'rmse'?"),
        ("max:top_100_acuracy", "did you mean 'top_100_accuracy'?"),
        ("min:", "'' is not a recorded metric"),
        ("min:top_100_accuracy", "use max:top_100_accuracy"),
        ("max:rmse", "better when lower, so this would pick the worst trial; use min:rmse"),
        ("trial:", "'' is not the number of a trial"),
        ("trial:-1", "'-1' is not the number"),
        ("trial:1.5", "'1.5' is not the number"),
        ("trial:²", "is not the number"),
        ("rmse<=", "'' is not a finite number; write for example rmse<=1.1"),
        ("rmse<=nan", "'nan' is not a finite number"),
        ("rmse<inf", "'inf' is not a finite number"),
        ("rmse<=one", "'one' is not a finite number"),
        ("<=1", "'' is not a recorded metric"),
        ("accuracy>=0.3", "'accuracy' is not a recorded metric; allowed: rmse, top_1_accuracy"),
        ("1<rmse<2", "is not understood"),
        ("rmse>=1.1", "better when lower, so this admits only the worse trials; use rmse<=1.1"),
        ("rmse>1.1", "use rmse<1.1"),
        (
            "top_100_accuracy<=0.2",
            "better when higher, so this admits only the worse trials; use top_100_accuracy>=0.2",
        ),
        ("per_user_top_1_accuracy<0.2", "use per_user_top_1_accuracy>0.2"),
        ("reference:", "'' is not of the form metric=number; write for example reference:rmse="),
        ("reference:rmse", "'rmse' is not of the form metric=number"),
        ("reference:rmse=0.9", "top_100_accuracy is missing; a reference point has a value for"),
        ("reference:rmse=0.9,", "'' is not of the form metric=number"),
        ("reference:rmse=0.9,rmse=0.8,top_100_accuracy=1", "rmse is there twice; name it once"),
        ("reference:rmse=x,top_100_accuracy=1", "'x' is not a finite number"),
        ("reference:rmse=1,top_100_accuracy=inf", "'inf' is not a finite number"),
        ("reference:rmse=1=2,top_100_accuracy=1", "'1=2' is not a finite number"),
        ("reference:rsme=1,top_100_accuracy=1", "did you mean 'rmse'?"),
        (
            "reference:rmse=1,top_5_accuracy=1",
            "top_5_accuracy is no objective of this study; allowed: rmse, top_100_accuracy; write "
            "for example reference:rmse=0.93,top_100_accuracy=0.4",
        ),
        ("utility:", "write for example utility:rmse=0.3,top_100_accuracy=0.7"),
        ("utility:rmse=-1,top_100_accuracy=1", "the weight of rmse is -1; allowed: at least 0"),
        ("utility:rmse=0", "every weight is 0; allowed: at least one above 0"),
        ("utility:top_5_accuracy=1", "top_5_accuracy is no objective of this study"),
    ],
)
def test_a_wrong_rule_says_what_is_allowed(text: str, expected: str) -> None:
    message = refusal(text)
    assert expected in message
    assert repr(text) in message
    assert "\n" not in message


def test_examples_name_the_objectives_of_the_study_and_are_rules() -> None:
    objectives = (
        Objective(metric="top_5_accuracy", direction="maximize"),
        Objective(metric="rmse", direction="minimize"),
    )
    with pytest.raises(SelectionError) as error:
        parse_rule("?", objectives)
    allowed = str(error.value).partition("allowed: ")[2]
    examples = [
        "knee",
        "max:top_5_accuracy",
        "min:rmse",
        "trial:17",
        "reference:top_5_accuracy=0.4,rmse=0.93",
        "utility:top_5_accuracy=0.3,rmse=0.7",
    ]
    assert allowed == ", ".join(examples) + ', or a bound in quotes such as "top_5_accuracy>=0.3"'
    for example in (*examples, "top_5_accuracy>=0.3"):
        assert str(parse_rule(example, objectives)) == example
