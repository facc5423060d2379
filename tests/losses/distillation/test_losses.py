"""The sum of terms, and what holds for every loss of the registry: precision, gradients, batches of one, states."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from project.errors import ConfigError
from project.losses.distillation import LOSSES, DistillationLosses, LossTerm, Outputs, Shapes, Targets
from project.losses.kd import kd

STUDENT = Shapes(7, 6, {"stem": (4, 8, 8), "stage1": (6, 4, 4)})
TEACHER = Shapes(7, 9, {"stem": (5, 8, 8), "block1": (9, 2, 2)})
SAMPLES = 20
LEARNING = ["fitnets", "vid", "review_kd", "simkd", "crd"]
OF_EACH_IMAGE = ["kd", "lskd", "dkd", "at", "fitnets", "vid"]


def head() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 7))


def losses(*terms: str | LossTerm) -> DistillationLosses:
    torch.manual_seed(0)
    terms = [LossTerm(term) if isinstance(term, str) else term for term in terms]
    return DistillationLosses(terms, STUDENT, TEACHER, SAMPLES, head())


def outputs(
    shapes: Shapes, seed: int, count: int = 5, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*size: int) -> Tensor:
        return (scale * torch.randn(count, *size, generator=generator)).to(dtype).requires_grad_()

    stages = {name: drawn(*shape) for name, shape in shapes.stages.items()}
    return Outputs(drawn(shapes.num_classes), drawn(shapes.num_features), stages)


def everything(of: Outputs) -> list[Tensor]:
    return [of.logits, of.features, *of.stages.values()]


def targets(count: int = 5) -> Targets:
    return Targets(torch.arange(count) % 7, torch.arange(count) + 3)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_reach_the_student_and_never_the_teacher(name):
    student, teacher = outputs(STUDENT, 0), outputs(TEACHER, 1)
    found = losses(name)(student, teacher, targets(), epoch=0)
    found.total.backward()
    assert any(given.grad is not None and given.grad.any() for given in everything(student))
    assert all(given.grad is None for given in everything(teacher))
    assert list(found.raw) == list(found.weighted) == [name]
    assert not found.raw[name].requires_grad
    assert found.weighted[name].requires_grad
    torch.testing.assert_close(found.total, found.raw[name] * LOSSES[name].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_large_outputs_of_any_precision_have_finite_losses_and_gradients(name, dtype):
    student, teacher = outputs(STUDENT, 0, dtype=dtype, scale=1000), outputs(TEACHER, 1, dtype=dtype, scale=1000)
    with torch.no_grad():
        student.logits.copy_(1e4 * student.logits.sign())
        teacher.logits.copy_(1e4 * teacher.logits.sign())
    found = losses(name)(student, teacher, targets(), epoch=0)
    found.total.backward()
    assert found.raw[name].dtype == found.total.dtype == torch.float32
    assert found.total.isfinite()
    assert all(given.grad.isfinite().all() for given in everything(student) if given.grad is not None)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in LEARNING])
def test_autocast_changes_nothing(name):
    student, teacher = outputs(STUDENT, 0, dtype=torch.bfloat16), outputs(TEACHER, 1, dtype=torch.bfloat16)
    expected = losses(name)(student, teacher, targets(), epoch=0).total
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(name)(student, teacher, targets(), epoch=0).total
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", LEARNING)
def test_projectors_follow_autocast_and_what_is_compared_does_not(name):
    student, teacher = outputs(STUDENT, 0), outputs(TEACHER, 1)
    torch.manual_seed(1)
    expected = losses(name)(student, teacher, targets(), epoch=0).total
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(name)(student, teacher, targets(), epoch=0).total
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("name", LEARNING)
def test_weights_in_half_precision(name):
    student, teacher = outputs(STUDENT, 0, dtype=torch.bfloat16), outputs(TEACHER, 1, dtype=torch.bfloat16)
    module = losses(name).bfloat16()
    for _ in range(2):
        assert module(student, teacher, targets(), epoch=0).total.isfinite()
    assert module.student_logits(student).isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_one(name):
    student, teacher = outputs(STUDENT, 0, count=1), outputs(TEACHER, 1, count=1)
    found = losses(name)(student, teacher, targets(1), epoch=0)
    found.total.backward()
    assert found.total.isfinite()
    assert all(given.grad.isfinite().all() for given in everything(student) if given.grad is not None)
    if name in ("sp", "cc", "rkd", "pkt"):  # there are no pairs
        assert found.raw[name].item() == pytest.approx(0, abs=1e-12)
    else:
        assert found.raw[name].item() != 0


@pytest.mark.parametrize("name", OF_EACH_IMAGE)
def test_these_are_means_over_images(name):
    student, teacher, of = outputs(STUDENT, 0), outputs(TEACHER, 1), targets()

    def of_image(given: Outputs, i: int) -> Outputs:
        stages = {stage: maps[i : i + 1] for stage, maps in given.stages.items()}
        return Outputs(given.logits[i : i + 1], given.features[i : i + 1], stages)

    module = losses(name)
    singles = [
        module(of_image(student, i), of_image(teacher, i), Targets(*(t[i : i + 1] for t in of)), 0).total
        for i in range(5)
    ]
    torch.testing.assert_close(module(student, teacher, of, 0).total, torch.stack(singles).mean())


def test_everything_that_is_learned_gets_a_gradient_and_is_of_no_network():
    module = losses(*LOSSES)
    module(outputs(STUDENT, 0), outputs(TEACHER, 1), targets(), epoch=0).total.backward()
    learned = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in learned} == set(LEARNING)
    for name, parameter in learned.items():
        assert parameter.grad is not None, name
        # a bias before a norm would be without; what begins at nothing is not
        assert parameter.grad.any(), name
    assert not [name for name, _ in losses("kd", "rkd").named_parameters()]


def test_the_state_is_complete_with_memories_and_the_teachers_classifier():
    module = losses(*LOSSES)
    student, teacher = outputs(STUDENT, 0), outputs(TEACHER, 1)
    module(student, teacher, targets(), epoch=0)
    torch.manual_seed(9)
    other = DistillationLosses(list(module.terms.values()), STUDENT, TEACHER, SAMPLES, head())
    other.load_state_dict(module.state_dict())
    state = torch.get_rng_state()
    expected = module(student, teacher, targets(), epoch=1)
    torch.set_rng_state(state)
    found = other(student, teacher, targets(), epoch=1)
    assert torch.equal(found.total, expected.total)
    keys = set(module.state_dict())
    assert {"learned.crd.student_memory", "learned.crd.labels", "learned.simkd.classifier.2.weight"} <= keys
    assert losses("kd", "at").state_dict() == {}


def test_terms_add_up_with_their_weights_of_the_time():
    terms = LossTerm("kd", 0.5, {"temperature": 2.0}), LossTerm("rkd"), LossTerm("kd", 2.0, warmup_epochs=4)
    module = losses(*terms)
    student, teacher = outputs(STUDENT, 0), outputs(TEACHER, 1)
    found = module(student, teacher, targets(), epoch=1.0)
    assert list(found.raw) == ["kd", "rkd", "kd_2"]
    torch.testing.assert_close(found.raw["kd"], kd(student.logits.detach(), teacher.logits.detach(), 2.0))
    torch.testing.assert_close(found.raw["kd_2"], kd(student.logits.detach(), teacher.logits.detach(), 4.0))
    for name, weight in (("kd", 0.5), ("rkd", 1.0), ("kd_2", 0.5)):
        torch.testing.assert_close(found.weighted[name].detach(), weight * found.raw[name])
    torch.testing.assert_close(found.total, sum(found.weighted.values()))
    assert module(student, teacher, targets(), epoch=0).weighted["kd_2"] == 0
    alone = (
        losses(terms[0])(student, teacher, targets(), 1).total + losses(terms[1])(student, teacher, targets(), 1).total
    )
    torch.testing.assert_close(losses(*terms[:2])(student, teacher, targets(), 1).total, alone)


def test_the_same_loss_twice_learns_twice():
    module = losses(LossTerm("fitnets", options={"student_stage": "stem"}), "fitnets")
    assert list(module.learned) == ["fitnets", "fitnets_2"]
    assert module.learned["fitnets"].projector.in_channels == 4
    assert module.learned["fitnets_2"].projector.in_channels == 6


def test_without_terms_there_is_nothing():
    found = losses()(outputs(STUDENT, 0), outputs(TEACHER, 1), targets(), epoch=0)
    assert found.total == 0
    assert found.raw == found.weighted == {}


def test_only_the_stages_that_are_compared_are_needed():
    assert losses("kd", "rkd", "crd").needs_stages == ((), ())
    assert losses("sp", "fitnets").needs_stages == (("stage1",), ("block1",))
    assert losses("at", "sp").needs_stages == (("stem", "stage1"), ("stem", "block1"))
    assert losses(LossTerm("sp", options={"student_stage": "features"})).needs_stages == ((), ("block1",))
    student, teacher = outputs(STUDENT, 0), outputs(TEACHER, 1)
    few = student._replace(stages={"stage1": student.stages["stage1"]}), teacher._replace(stages={})
    losses(LossTerm("sp", options={"teacher_stage": "features"}))(*few, targets(), 0)


def test_the_losses_that_look_at_the_teachers_pooled_features():
    assert not losses("kd", "dkd", "sp", "at").needs_features
    assert losses("kd", "rkd").needs_features
    assert losses("crd").needs_features
    assert losses(LossTerm("sp", options={"teacher_stage": "features"})).needs_features
    assert not losses(LossTerm("sp", options={"student_stage": "features"})).needs_features
    assert losses(LossTerm("at", options={"student_stages": ["stem"], "teacher_stages": ["features"]})).needs_features


def test_who_looks_at_the_students_pooled_features_is_known():
    assert not losses("kd", "simkd", "sp", "at").needs_student_features
    assert losses("simkd", "rkd").needs_student_features
    assert losses("crd").needs_student_features
    assert losses(LossTerm("sp", options={"student_stage": "features"})).needs_student_features
    assert not losses(LossTerm("sp", options={"teacher_stage": "features"})).needs_student_features


def test_the_terms_that_look_at_labels():
    assert losses("kd", "dkd", "rkd", "crd", "dkd").needs_labels == ("dkd", "crd", "dkd_2")


def test_the_student_answers_with_the_teachers_classifier():
    student = outputs(STUDENT, 0)
    plain = losses("kd")
    assert not plain.replaces_logits
    assert plain.student_logits(student) is student.logits
    module = losses("kd", "simkd").eval()
    assert module.replaces_logits
    expected = module.learned["simkd"].logits(student.stages["stage1"])
    torch.testing.assert_close(module.student_logits(student), expected)
    assert not torch.allclose(expected, student.logits)


def test_a_training_batch_goes_once_through_the_projector_that_answers():
    module, student, teacher = losses("simkd", "kd").train(), outputs(STUDENT, 0), outputs(TEACHER, 1)
    norms = [part for part in module.learned["simkd"].projector if isinstance(part, nn.BatchNorm2d)]
    found = module(student, teacher, targets(), epoch=0.0)
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 1, 1]
    torch.testing.assert_close(found.logits, module.student_logits(student))
    torch.testing.assert_close(found.raw["kd"], kd(student.logits.detach(), teacher.logits.detach()))
    assert losses("kd")(student, teacher, targets(), epoch=0.0).logits is student.logits


def test_only_the_students_own_logits_need_its_classifier():
    assert losses("fitnets").needs_classifier  # cross-entropy looks at it
    assert losses("simkd", "kd").needs_classifier
    assert not losses("simkd").needs_classifier
    assert not losses("simkd", "crd").needs_classifier


@pytest.mark.parametrize("term", ["rkd", "crd", LossTerm("sp", options={"teacher_stage": "features"})], ids=str)
def test_a_teacher_without_features_is_compared_by_its_logits(term):
    terms = [LossTerm(term) if isinstance(term, str) else term]
    with pytest.raises(ConfigError, match=r"use a loss of logits$|there is none\.$"):
        DistillationLosses(terms, STUDENT, Shapes(7, 0, {}), SAMPLES)
    DistillationLosses([LossTerm("kd")], STUDENT, Shapes(7, 0, {}), SAMPLES)


@pytest.mark.parametrize("name", ["kd", "lskd", "dkd", "dist"])
def test_other_classes_cannot_be_compared(name):
    message = rf"^model\.losses\.{name}: compares classes, of which the student has 8 and the teacher 7; use a loss of"
    with pytest.raises(ConfigError, match=message):
        DistillationLosses([LossTerm(name)], STUDENT._replace(num_classes=8), TEACHER)
    DistillationLosses([LossTerm("rkd")], STUDENT._replace(num_classes=8), TEACHER)


def test_what_is_needed_and_not_there():
    message = r"^model\.losses\.simkd: needs a teacher's classifier, and there is none here; leave simkd out$"
    with pytest.raises(ConfigError, match=message):
        DistillationLosses([LossTerm("simkd")], STUDENT, TEACHER)
    with pytest.raises(ConfigError, match=r"^model\.losses\.crd: needs the number of training images"):
        DistillationLosses([LossTerm("crd")], STUDENT, TEACHER)
    with pytest.raises(
        ConfigError, match=r"^model\.losses: simkd and simkd_2 both answer for the student; leave one out$"
    ):
        losses("simkd", "simkd")
    with pytest.raises(
        ConfigError, match=r"teacher_stage: the teacher has no stage 'block2'; did you mean 'block1'\?$"
    ):
        losses(LossTerm("sp", options={"teacher_stage": "block2"}))
