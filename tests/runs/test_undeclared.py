import pytest
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from project.runs.undeclared import callbacks_of, data_of, forget_earlier_data, is_logged


class Mine(Callback):
    pass


class Data(LightningDataModule):
    def train_dataloader(self):
        return BoringModel().train_dataloader()

    val_dataloader = train_dataloader


@pytest.fixture
def trainer(tmp_path):
    return Trainer(accelerator="cpu", callbacks=[Mine()], log_every_n_steps=3, fast_dev_run=True, logger=False,
                   enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip


def test_what_a_trainer_was_given(trainer):
    assert sum(isinstance(callback, Mine) for callback in callbacks_of(trainer)) == 1
    assert [steps for steps in range(1, 8) if is_logged(trainer, steps)] == [3, 6]


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers", "ignore:The 'val_dataloader'")
def test_the_data_it_trains_on(trainer):
    assert data_of(trainer) is None
    data = Data()
    trainer.fit(BoringModel(), datamodule=data)
    assert data_of(trainer) is data
    trainer.fit(BoringModel(), data.train_dataloader(), data.val_dataloader())
    forget_earlier_data(trainer)
    assert data_of(trainer) is None
