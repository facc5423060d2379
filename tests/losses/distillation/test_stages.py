"""Which stages are compared: the last ones, all by order, or those that are named."""

from __future__ import annotations

import pytest

from project.errors import ConfigError
from project.losses.distillation import LossTerm, Shapes
from project.losses.distillation.stages import Stages, compared_stages

STUDENT = Shapes(10, 8, {"stem": (4, 8, 8), "stage1": (8, 4, 4)})
TEACHER = Shapes(10, 9, {"stem": (4, 8, 8), "block1": (6, 4, 4), "block2": (9, 2, 2)})
NONE = Shapes(10, 9, {})


def found(name: str, student: Shapes = STUDENT, teacher: Shapes = TEACHER, **options) -> Stages:
    return compared_stages(LossTerm(name, options=options), student, teacher)


@pytest.mark.parametrize("name", ["kd", "dkd", "rkd", "crd"])
def test_losses_of_logits_and_features_look_at_no_stage(name):
    assert found(name, NONE, NONE) == ((), ())


@pytest.mark.parametrize("name", ["fitnets", "sp", "vid", "simkd"])
def test_a_loss_of_one_stage_takes_the_last_ones(name):
    assert found(name) == (("stage1",), ("block2",))
    assert found(name, student_stage="stem") == (("stem",), ("block2",))
    assert found(name, teacher_stage="block2") == (("stage1",), ("block2",))
    if name != "simkd":
        assert found(name, student_stage="features", teacher_stage="block1") == (("features",), ("block1",))


def test_paths_name_modules_inside():
    student = STUDENT._replace(modules={"stages.stem": (4, 8, 8), "stages.stem.conv": (3, 8, 8)})
    assert student.of("stages.stem.conv") == (3, 8, 8)
    assert found("fitnets", student, student_stage="stages.stem.conv") == (("stages.stem.conv",), ("block2",))
    chosen = {"student_stages": ["stages.stem.conv", "stem"], "teacher_stages": ["block1", "features"]}
    assert found("at", student, **chosen) == (("stages.stem.conv", "stem"), ("block1", "features"))
    assert found("fitnets", student) == found("fitnets")  # by default stages alone
    where = r"^model\.losses\.fitnets\.options\.student_stage: the student has no "
    for given, message in {
        "stem.conv": r"module 'stem\.conv' that gives maps; did you mean 'stages\.stem\.conv'\?$",
        "stage": "stage 'stage'; did you mean 'stage1'",
    }.items():
        with pytest.raises(ConfigError, match=where + message):
            found("fitnets", student, student_stage=given)


@pytest.mark.parametrize("name", ["at", "review_kd"])
def test_a_loss_of_several_pairs_all_by_order(name):
    assert found(name, teacher=STUDENT) == (("stem", "stage1"),) * 2
    chosen = {"student_stages": ["stage1", "features"], "teacher_stages": ["block2", "features"]}
    assert found(name, **chosen) == (("stage1", "features"), ("block2", "features"))
    assert found(name, teacher_stages=["block2", "block1"]) == (("stem", "stage1"), ("block2", "block1"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "at",
            {},
            r"^model\.losses\.at\.options: 2 of the student \(stem, stage1\) and 3 of the teacher \(stem, block1, block2\) "
            r"cannot be paired; name as many in student_stages as in teacher_stages$",
        ),
        ("at", {"teacher_stages": ["stem"]}, r"2 of the student \(stem, stage1\) and 1 of the teacher \(stem\) cannot"),
        (
            "fitnets",
            {"student_stage": "stage2"},
            r"^model\.losses\.fitnets\.options\.student_stage: the student has no stage 'stage2'; did you mean 'stage1'\?$",
        ),
        (
            "review_kd",
            {"student_stages": ["stem"], "teacher_stages": ["x"]},
            r"teacher_stages: the teacher has no stage 'x'; there is block1, block2, features, stem\.$",
        ),
        (
            "simkd",
            {"teacher_stage": "block1"},
            r"^model\.losses\.simkd\.options\.teacher_stage: the teacher's classifier follows its last stage, 'block2'; "
            r"leave it out$",
        ),
    ],
)
def test_mistakes_are_one_line_with_the_names_that_there_are(name, options, message):
    with pytest.raises(ConfigError, match=message):
        found(name, **options)


@pytest.mark.parametrize("name", ["at", "fitnets"])
def test_a_network_without_stages(name):
    with pytest.raises(
        ConfigError, match=r"teacher_stages?: the teacher has no stages; use a loss of logits or features$"
    ):
        found(name, teacher=NONE)


def test_a_teacher_of_features_alone_has_no_classifier_to_follow():
    with pytest.raises(ConfigError, match=r"teacher_stage: the teacher's classifier follows a stage, and it has none;"):
        found("simkd", teacher=NONE, teacher_stage="features")
