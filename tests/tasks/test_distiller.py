"""The loss of a distiller's step in double precision, what it records of it, and what its state holds."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from project.data.batch import Batch, Mixed
from project.errors import CheckpointError, ConfigError
from project.losses.crd import CRD
from project.losses.distillation import LOSSES, LossTerm
from project.tasks import Classifier, Distiller
from project.tasks.averaged_teacher import AveragedTeacher
from project.tasks.teacher import Teacher

NAMES = ["a", "b", "c", "d"]
SIZE = 8
SMALL = {"class_names": NAMES, "image_size": SIZE, "backbone_options": {"width": 4}}


def classifier(seed: int, **options: object) -> Classifier:
    """One that is sure of itself."""
    torch.manual_seed(seed)
    task = Classifier(**SMALL | options).eval()
    torch.nn.init.normal_(task.network.head.weight, std=8)
    return task


def distiller(*teachers: Classifier, epoch: int = 0, verb: str = "fit", **options: object) -> Distiller:
    """One that is ready for the first of two steps of an epoch; `counted` is what it records of it."""
    torch.manual_seed(0)
    task = Distiller(teacher="none", **SMALL | options).eval()
    torch.nn.init.normal_(task.network.head.weight, std=4)
    data = SimpleNamespace(splits={"train": range(20)}, augment=None)
    task._trainer = SimpleNamespace(
        datamodule=data,
        state=SimpleNamespace(fn=verb),
        current_epoch=epoch,
        num_training_batches=2,
        precision="32-true",
        train_dataloader=None,
        fit_loop=SimpleNamespace(state_dict=dict),
        lr_scheduler_configs=[],
    )
    task._teacher = Teacher(teachers or [classifier(1, mean=[0.3] * 3)], NAMES)
    task._build_losses(task._teacher)
    task.counted = {}
    task.count_batch = lambda count, loss, **means: task.counted.update(count=count, loss=loss, **means)
    return task


def batch(count: int = 10) -> Batch:
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(count, 3, 1, 1, generator=generator)
    images = (torch.randint(256, (count, 3, SIZE, SIZE), generator=generator) * colours).to(torch.uint8)
    return Batch(images, torch.randint(4, (count,), generator=generator), torch.arange(count))


def mixed_batch() -> Batch:
    """Shares of the first label go from nothing to all."""
    labels = torch.randint(4, (10,), generator=torch.Generator().manual_seed(2))
    return batch()._replace(mixed=Mixed(labels, torch.linspace(0, 1, 10)))


def logits(task: Classifier, data: Batch) -> np.ndarray:
    with torch.no_grad():
        return Classifier.forward(task, data.images).double().numpy()


def log_softmax(values: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    values = values / temperature
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def targets(data: Batch) -> np.ndarray:
    one_hot = np.eye(4)[data.labels]
    if data.mixed is None:
        return one_hot
    share = data.mixed.share.double().numpy()[:, None]
    return one_hot * share + np.eye(4)[data.mixed.labels] * (1 - share)


def cross_entropy(values: np.ndarray, data: Batch, smoothing: float = 0.0) -> float:
    return float(-((targets(data) * (1 - smoothing) + smoothing / 4) * log_softmax(values)).sum(1).mean())


def divergence(student: np.ndarray, teacher: np.ndarray, temperature: float = 1.0) -> float:
    """KL(teacher ‖ student), the mean over images."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return float((np.exp(p) * (p - q)).sum(1).mean())


# ---- the loss of a step


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_is_cross_entropy_and_divergence_in_double_precision(mixed, smoothing):
    teacher = classifier(1, mean=[0.3] * 3)
    task, data = distiller(teacher, label_smoothing=smoothing), mixed_batch() if mixed else batch()
    loss = task.training_step(data, 0)
    student, said = logits(task, data), logits(teacher, data)
    labels, kd = cross_entropy(student, data, smoothing), 16 * divergence(student, said, 4.0)
    guess = student.argmax(1)
    expected = {
        "count": 10,
        "loss": 0.1 * labels + 0.9 * kd,
        "loss_labels": labels,
        "weighted_labels": 0.1 * labels,
        "loss_kd": kd,
        "weighted_kd": 0.9 * kd,
        "accuracy": targets(data)[np.arange(10), guess].mean(),
        "agreement": (guess == said.argmax(1)).mean(),
        "teacher_kl": divergence(student, said),
    }
    assert {name: float(torch.as_tensor(value).detach()) for name, value in task.counted.items()} == pytest.approx(
        expected, rel=1e-5
    )
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    assert 0 < expected["agreement"] < 1


def test_terms_are_added_with_their_own_weights_and_warm_up():
    teacher = classifier(1)
    terms = [LossTerm("kd", 0.5, {"temperature": 2.0}, warmup_epochs=4), LossTerm("kd", 3.0, {"temperature": 1.0})]
    task, data = distiller(teacher, losses=terms, label_weight=0.7, epoch=1), batch()
    loss = task.training_step(data, 1)  # after one and a half of four epochs
    student, said = logits(task, data), logits(teacher, data)
    one, two = 4 * divergence(student, said, 2.0), divergence(student, said)
    weighted = {"labels": 0.7 * cross_entropy(student, data), "kd": 0.5 * 1.5 / 4 * one, "kd_2": 3.0 * two}
    assert {name: task.counted[f"weighted_{name}"].item() for name in weighted} == pytest.approx(weighted, rel=1e-5)
    assert task.counted["loss_kd"].item() == pytest.approx(one, rel=1e-5)
    assert task.counted["loss_kd_2"].item() == pytest.approx(two, rel=1e-5)
    assert loss.item() == pytest.approx(sum(weighted.values()), rel=1e-5)
    assert distiller(teacher, losses=terms[:1], label_weight=0.0).training_step(data, 0).item() == 0


@pytest.mark.parametrize(
    ("names", "weight"),
    [(None, 0.1), (["lskd"], 0.1), (["dkd"], 1.0), (["simkd"], 0.0), (["kd", "rkd"], 1.0), (["simkd", "kd"], 0.1)],
)
def test_labels_count_as_published_beside_the_losses(names, weight):
    losses = names and [LossTerm(name) for name in names]
    task = Distiller(teacher="none", losses=losses, **SMALL)
    assert task.label_weight == task.hparams["label_weight"] == weight


def test_several_teachers_teach_the_mean_of_their_probabilities():
    teachers = [classifier(seed) for seed in (1, 2, 3)]
    task, data = distiller(*teachers, label_weight=0.0), batch()
    mean = sum(np.exp(log_softmax(logits(teacher, data))) for teacher in teachers) / 3
    expected = 0.9 * 16 * divergence(logits(task, data), np.log(mean), 4.0)
    assert task.training_step(data, 0).item() == pytest.approx(expected, rel=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    teacher = classifier(1)
    task, data = distiller(teacher), batch()
    task.load_state_dict(teacher.state_dict())
    loss = task.training_step(data, 0)
    assert abs(task.counted["loss_kd"].item()) < 1e-6
    assert abs(task.counted["teacher_kl"].item()) < 1e-6
    assert task.counted["agreement"].item() == 1
    assert loss.item() == pytest.approx(0.1 * cross_entropy(logits(teacher, data), data), rel=1e-5)


def test_the_gradient_is_the_students_alone():
    teacher = classifier(1)
    terms = [LossTerm("kd"), LossTerm("fitnets"), LossTerm("rkd"), LossTerm("at")]
    task = distiller(teacher, losses=terms)
    task.training_step(batch(), 0).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_with_simkd_the_teachers_classifier_answers():
    """In the student's classes, whatever the order that the teacher knows them in."""
    teacher = classifier(1, class_names=["d", "x", "b", "a", "c"])
    task, data = distiller(teacher, losses=[LossTerm("simkd")], label_weight=1.0), batch()
    projected = task.distillation.learned["simkd"]._projected(task._student(data.images).stages["stage2"])
    head = teacher.network.head
    said = head(teacher.network.pool(projected))[:, [3, 2, 4, 0]]
    torch.testing.assert_close(task(data.images), said)
    loss = task.training_step(data, 0)
    labels = cross_entropy(said.detach().double().numpy(), data)
    assert task.counted["loss_labels"].item() == pytest.approx(labels, rel=1e-5)
    assert loss.item() == pytest.approx(labels + task.counted["loss_simkd"].item(), rel=1e-5)
    loss.backward()
    # what answers nothing waits for no gradient, unless another loss looks at it
    assert not any(parameter.requires_grad for parameter in task.network.head.parameters())
    assert all(parameter.grad is not None for parameter in task.parameters() if parameter.requires_grad)
    both = distiller(teacher, losses=[LossTerm("simkd"), LossTerm("kd")])
    both.training_step(data, 0).backward()
    assert both.network.head.weight.grad is not None


@pytest.mark.parametrize("others", [[], [LossTerm("sp")], [LossTerm("rkd")], [LossTerm("kd")]], ids=str)
@pytest.mark.parametrize(
    ("backbone", "size"),
    [("simple_cnn", 8), ("mobilenet_v3_small", 32), ("alexnet", 64), ("squeezenet1_1", 32), ("timm/convnext_atto", 32)],
)
def test_with_simkd_what_no_loss_looks_at_waits_for_no_gradient(backbone, size, others):
    if backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is optional")
    network = {"backbone": backbone, "backbone_options": {}, "image_size": size}
    task = distiller(classifier(1, image_size=size), losses=[LossTerm("simkd"), *others], **network)
    images = torch.nn.functional.interpolate(batch(4).images, size)
    task.training_step(batch(4)._replace(images=images), 0).backward()
    assert [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None] == []
    pool = [p for name, p in task.network.named_parameters() if name.startswith(("pool.", "stages.trunk.model.head."))]
    looked_at = others in ([LossTerm("rkd")], [LossTerm("kd")])
    assert all(p.requires_grad == looked_at for p in pool)
    assert bool(pool) == (backbone != "squeezenet1_1")
    assert all(p.requires_grad == (others == [LossTerm("kd")]) for p in task.network.head.parameters())


def test_with_simkd_stages_after_the_one_that_is_compared_wait_for_no_gradient():
    terms = [LossTerm("simkd", options={"student_stage": "stage1"})]
    task = distiller(losses=terms)
    task.training_step(batch(), 0).backward()
    assert [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any(p.requires_grad for p in task.network.stages["stage2"].parameters())


@pytest.mark.parametrize("averaged", [False, True])
def test_modules_inside_are_compared_by_their_paths(averaged):
    """The divergence is the mean square between two maps inside of stages, projected by what is learned."""
    teacher = classifier(1)
    paths = {"student_stage": "stages.stage1.0", "teacher_stage": "stages.stage2.0"}
    task = distiller(teacher, losses=[LossTerm("fitnets", options=paths)])
    if averaged:
        task._teacher = AveragedTeacher(task, 0.9)
        task._build_losses(task._teacher)
        teacher = task._teacher.members[0]
    data, seen = batch(), {}
    for whose, network, path in zip(
        ("student", "teacher"), (task.network, teacher.network), paths.values(), strict=True
    ):
        network.get_submodule(path).register_forward_hook(
            lambda module, args, output, whose=whose: seen.update({whose: output.detach().clone()})
        )
    task.training_step(data, 0).backward()
    fitnets = task.distillation.learned["fitnets"]
    projected = fitnets.projector(seen["student"])
    pooled = torch.nn.functional.adaptive_avg_pool2d(projected, seen["teacher"].shape[-1])
    expected = (pooled.double() - seen["teacher"].double()).square().mean().item()
    assert task.counted["loss_fitnets"].item() == pytest.approx(expected, rel=1e-5)
    assert task.network.get_submodule(paths["student_stage"]).weight.grad.abs().sum() > 0


def test_a_compiled_student_hides_nothing_that_waits_for_no_gradient():
    task = distiller(losses=[LossTerm("simkd")], backbone="simple_cnn", backbone_options={})
    task.network.requires_grad_(True)
    task.network.forward_with_stages = torch.compile(task.network.forward_with_stages, backend="aot_eager")
    task._build_losses(task._teacher)
    assert not any(p.requires_grad for p in task.network.pool.parameters())


@pytest.mark.parametrize(("backbone", "size"), [("vit_b_16", 32), ("timm/resnet18", 32)])
def test_simkd_is_refused_where_the_teachers_last_map_has_no_classifier(backbone, size):
    if backbone.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is optional")
    teacher = classifier(1, backbone=backbone, backbone_options={}, image_size=size)
    message = r"^model\.losses\.simkd: needs a teacher's classifier, and there is none here; leave simkd out$"
    with pytest.raises(ConfigError, match=message):
        distiller(teacher, losses=[LossTerm("simkd")])


# ---- what it is and is not


def test_the_teacher_is_nowhere_in_the_student():
    teacher = classifier(1)
    task = distiller(teacher, losses=[LossTerm("kd"), LossTerm("fitnets")])
    before = task._teacher.fingerprint()
    assert not {id(module) for module in teacher.modules()} & {id(module) for module in task.modules()}
    owned = {tensor.data_ptr() for tensor in (*task.parameters(), *task.buffers())}
    assert not owned & {tensor.data_ptr() for tensor in teacher.state_dict().values()}
    task.train()
    task.training_step(batch(), 0)
    assert not any(module.training for module in teacher.modules())
    task.eval().train()
    assert not any(module.training for module in teacher.modules())
    assert task._teacher.fingerprint() == before


def test_the_state_is_a_classifiers_and_what_losses_learn_lies_beside_it():
    task = distiller(losses=[LossTerm("fitnets"), LossTerm("crd", options={"size": 4, "negatives": 8})])
    assert task.state_dict().keys() == Classifier(**SMALL).state_dict().keys()
    checkpoint = {"state_dict": task.state_dict()}
    task.training_means.state = lambda strategy: {}
    task._trainer.strategy = None
    task.on_save_checkpoint(checkpoint)
    assert checkpoint["distillation"].keys() == task.distillation.state_dict().keys()
    other = distiller(losses=[LossTerm("fitnets"), LossTerm("crd", options={"size": 4, "negatives": 8})])
    for value in other.distillation.state_dict().values():
        value.zero_()
    other.training_means.restore = lambda *arguments: None
    other._trainer.global_rank = 0
    other.on_load_checkpoint(checkpoint)
    other.load_state_dict(checkpoint["state_dict"])
    assert_equal(other.distillation.state_dict(), task.distillation.state_dict())


def test_an_average_of_what_losses_learn_lies_beside_the_student_too():
    task = distiller(losses=[LossTerm("fitnets")])
    averages = {f"distillation.{n}": torch.full_like(v, 7) for n, v in task.distillation.state_dict().items()}
    checkpoint = {"state_dict": task.state_dict() | averages}
    task.training_means.state = lambda strategy: {}
    task._trainer.strategy = None
    task.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"].keys() == Classifier(**SMALL).state_dict().keys()
    assert all((value == 7).all() for value in checkpoint["distillation"].values())


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=0, equal_nan=True)


def test_only_what_answers_is_built_where_nothing_is_trained():
    terms = [LossTerm("simkd"), LossTerm("crd", options={"size": 4, "negatives": 8}), LossTerm("kd")]
    trained = distiller(losses=terms)
    task = distiller(losses=terms, verb="test")
    assert list(task.distillation.terms) == ["simkd"]
    task.training_means.restore = lambda *arguments: None
    task._trainer.global_rank = 0
    task.on_load_checkpoint({"task": "Distiller", "distillation": trained.distillation.state_dict()})
    task.load_state_dict(trained.state_dict())
    torch.testing.assert_close(task(batch().images), trained(batch().images))


def test_losses_are_plain_in_a_checkpoint():
    terms = [LossTerm("dkd", 2.0, {"beta": 4.0}, 3), LossTerm("kd")]
    facts = dict(Distiller(teacher=["x", "y"], losses=terms, **SMALL).hparams)
    assert facts["losses"][0] == {"name": "dkd", "weight": 2.0, "options": {"beta": 4.0}, "warmup_epochs": 3}
    assert Distiller(**facts).terms == terms
    assert Distiller(**facts).sources == ["x", "y"]
    assert Distiller(teacher="x", **SMALL).hparams["losses"] is None


def test_its_own_options_are_those_that_a_classifier_has_not():
    own, plain = (set(inspect.signature(task.__init__).parameters) for task in (Distiller, Classifier))
    assert own - plain - {"options"} == set(Distiller.own_options)


def test_the_best_student_is_a_classifier_unless_its_teacher_answers():
    checkpoint = {"state_dict": {}, "hyper_parameters": dict(Distiller(teacher="x", **SMALL).hparams)}
    ((name, plain),) = Distiller(teacher="x", **SMALL).exports(checkpoint).items()
    assert (name, plain["task"]) == ("student.ckpt", "Classifier")
    assert plain["hyper_parameters"].keys() == dict(Classifier(**SMALL).hparams).keys()
    assert Distiller(teacher="x", losses=[LossTerm("simkd")], **SMALL).exports(checkpoint) == {}


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": []}, "model.teacher: name one or more; without any, train a Classifier"),
        ({"label_weight": -1.0}, "model.label_weight: must be at least 0; got -1.0"),
        ({"cache_gib": -1.0}, "model.cache_gib: must be at least 0; got -1.0"),
        ({"teacher_decay": 1.0}, "model.teacher_decay: must be at least 0 and below 1; got 1.0"),
        ({"losses": []}, "model.losses: name one or more, such as kd; without any, train a Classifier"),
        ({"losses": [{"name": "kt"}]}, "model.losses: there is no 'kt'; did you mean 'pkt'?"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    with pytest.raises(ConfigError) as raised:
        Distiller(**SMALL | {"teacher": "x"} | options)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", LOSSES)
def test_several_teachers_have_logits_alone(name):
    teachers = [classifier(1), classifier(2)]
    if {"teacher_features", "teacher_map", "teacher_maps"} & set(LOSSES[name].inputs):
        with pytest.raises(ConfigError, match=rf"^model\.losses\.{name}[:.].*; use a loss of logits( or features)?$"):
            distiller(*teachers, losses=[LossTerm(name)])
    else:
        distiller(*teachers, losses=[LossTerm(name)])
    features = LossTerm("fitnets", options={"student_stage": "features", "teacher_stage": "features"})
    with pytest.raises(ConfigError, match=r"the teacher has no stage 'features'; there is none\.$"):
        distiller(*teachers, losses=[features])


def test_labels_that_are_mixed_cannot_be_looked_at():
    mixing = SimpleNamespace(splits={"train": range(20)}, augment=SimpleNamespace(mixes=True))
    task = distiller(losses=[LossTerm("dkd"), LossTerm("crd")])
    task._trainer.datamodule = mixing
    with pytest.raises(ConfigError, match=r"^model\.losses: dkd and crd needs one label an image, and mixed images "):
        task._build_losses(task._teacher)


def test_losses_that_have_not_learned_what_the_checkpoint_holds_are_refused():
    learned = distiller(losses=[LossTerm("fitnets")]).distillation.state_dict()
    task = distiller()
    task.training_means.restore = lambda *arguments: None
    task._trainer.global_rank = 0
    with pytest.raises(CheckpointError, match=r"^model\.losses: kd: not those that the checkpoint's run has learned "):
        task.on_load_checkpoint({"task": "Distiller", "distillation": learned})


def test_without_its_teacher_a_simkd_student_refuses_to_answer():
    task = Distiller(teacher="x", losses=[LossTerm("simkd")], **SMALL)
    with pytest.raises(CheckpointError, match=r"^model\.losses: with simkd the student answers through the teacher's"):
        task.predict([np.zeros((SIZE, SIZE, 3), np.uint8)])


def test_the_second_pass_of_sam_is_neither_counted_nor_remembered():
    task, data = distiller(losses=[LossTerm("crd", options={"size": 4, "negatives": 8})]), batch()
    task.train()
    task.training_step(data, 0)
    (memory,) = (module for module in task.modules() if isinstance(module, CRD))
    before = memory.student_memory.clone(), list(task._rows)
    with task.passing_again():
        task.training_step(data, 0)
    assert torch.equal(memory.student_memory, before[0])
    assert task._rows == before[1]
    task.training_step(data, 1)
    assert not torch.equal(memory.student_memory, before[0])


# ---- loaders without a datamodule


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")
@pytest.mark.parametrize("losses", [["kd"], ["kd", "fitnets"]])
def test_a_distiller_learns_and_is_tested_on_plain_loaders(trained, losses):
    images = torch.randint(256, (12, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(images, torch.arange(12) % 3), 4)
    task = Distiller(
        ["a", "b", "c"], 12, str(trained), [LossTerm(name) for name in losses], backbone_options={"width": 4}
    )
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(task, loader, loader)
    (found,) = trainer.test(task, loader, verbose=False)
    teacher = Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    answers = teacher.predict(list(images.permute(0, 2, 3, 1).numpy()))
    right = [answer["label"] == "abc"[k % 3] for k, answer in enumerate(answers)]
    assert found["test/teacher_accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")
def test_crd_on_plain_loaders_is_refused(trained):
    loader = DataLoader(TensorDataset(torch.zeros(8, 3, 12, 12, dtype=torch.uint8), torch.arange(8) % 3), 4)
    task = Distiller(["a", "b", "c"], 12, str(trained), [LossTerm("crd")], backbone_options={"width": 4})
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.raises(ConfigError, match=r"^model\.losses\.crd: needs the number of training images"):
        trainer.fit(task, loader, loader)
