"""What TensorBoard shows of a captioner while it learns."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture
def events(run, captioned, caption_options, tmp_path):
    """What a run's event files hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's protocol buffers
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(*options: object) -> EventAccumulator:
        assert run(*caption_options(captioned, tmp_path / "runs", *options)) == 0
        accumulator = EventAccumulator(str(tmp_path / "runs" / "c" / "version_0"), {"images": 0, "tensors": 0})
        accumulator.Reload()
        return accumulator

    return read


@pytest.mark.parametrize("batch_size", [5, 512])
def test_the_same_images_are_shown_after_every_epoch(events, batch_size):
    found = events("--data.eval_batch_size", batch_size)
    assert found.Tags()["images"] == [f"captions/{number}" for number in range(8)]
    for tag in found.Tags()["images"]:
        shown = found.Images(tag)
        assert len(shown) == 2
        assert shown[0].step < shown[1].step
        assert (shown[0].width, shown[0].height) == (240, 308)
    texts = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("captions/text_summary")]
    assert len(texts) == 2
    assert texts[0].splitlines()[0] == "| image | caption | references |"
    assert texts[0].count("\n") == 9
    assert "A red square." in texts[0]
    references = [[row.rsplit("|", 2)[1] for row in text.splitlines()[2:]] for text in texts]
    assert references[0] == references[1]


def test_features_in_the_place_of_images_leave_the_texts(events):
    found = events("--data.cache_features", True, "--model.fine_tuning.frozen", "all")
    assert found.Tags()["images"] == []
    assert len(found.Tensors("captions/text_summary")) == 2
