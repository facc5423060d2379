"""What TensorBoard shows of a captioner while it learns."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from project.analysis.caption_pictures import caption_picture
from project.data import KarpathyCaptions
from project.tasks import Captioner


@pytest.fixture
def events(run, captioned, caption_options, tmp_path, shown):
    """What a run's event files hold."""

    def read(*options: object):
        assert run(*caption_options(captioned, tmp_path / "runs", "--watch.pictures", 1, *options)) == 0
        return shown(tmp_path / "runs" / "c" / "version_0")

    return read


@pytest.mark.parametrize("batch_size", [5, 512])
def test_the_same_images_are_shown_after_every_epoch(events, batch_size):
    found = events("--data.eval_batch_size", batch_size)
    tags = [tag for tag in found.Tags()["images"] if tag.startswith("captions/")]
    assert tags == [f"captions/{number}" for number in range(8)]
    for tag in tags:
        shown = found.Images(tag)
        assert len(shown) == 2
        assert shown[0].step < shown[1].step
        assert (shown[0].width, shown[0].height) == (240, 569)
    texts = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("captions/text_summary")]
    assert len(texts) == 2
    assert texts[0].splitlines()[0] == "| image | caption | references |"
    assert texts[0].count("\n") == 9
    assert "A red square." in texts[0]
    references = [[row.rsplit("|", 2)[1] for row in text.splitlines()[2:]] for text in texts]
    assert references[0] == references[1]


@pytest.mark.parametrize("batch_size", [5, 512])
def test_what_is_shown_is_what_predict_answers(events, captioned, tmp_path, batch_size):
    """The last pictures against those made here of the checkpoint's answers, with the maps of every word."""
    found = events("--data.eval_batch_size", batch_size, "--model.optimizer.lr", 0.02, "--trainer.max_epochs", 4)
    captioner = Captioner.load_from_checkpoint(tmp_path / "runs/c/version_0/checkpoints/last.ckpt")
    data = KarpathyCaptions(str(captioned / "captions.json"), str(captioned), image_size=16, max_words=8)
    samples = data.splits["val"]
    for number in range(8):
        image = np.array(Image.open(samples.images[number]))
        with torch.inference_mode():
            (answer,) = captioner.answers(torch.from_numpy(image).permute(2, 0, 1)[None])
        looked = answer["_attention"]
        maps = np.array(looked["maps"], dtype=np.uint8).reshape(-1, looked["height"], looked["width"])
        words = [word["word"] for word in answer["words"]]
        expected = caption_picture(image, answer["caption"], samples.captions[number], maps, words)
        event = found.Images(f"captions/{number}")[-1]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")), expected)
    assert len(words) > 1


def test_a_decoder_that_does_not_attend_has_no_maps(events):
    found = events("--model.decoder.attention", "none")
    assert found.Images("captions/0")[0].height == 308


def test_features_in_the_place_of_images_leave_the_texts(events):
    found = events("--data.cache_features", True, "--model.fine_tuning.frozen", "all")
    assert found.Tags()["images"] == []
    assert len(found.Tensors("captions/text_summary")) == 2
