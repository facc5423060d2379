"""What holds for every decoder: steps and whole captions agree, captions do not disturb each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from project.decoding import Rules, beam_search
from project.decoding.trees import expand_hypotheses, tree_tensors
from project.models.captioning import CaptionDecoder, Features
from project.models.captioning.cells import LockedDropout
from project.models.captioning.decoder import expand


def by_steps(decoder: CaptionDecoder, features: Features, tokens: Tensor) -> Tensor:
    """Logits (B, R, T, V) one word at a time, as a search asks for them: one row in the first step, then R."""
    memory, context = decoder.start(features)
    words, found = torch.full_like(tokens[:, :1, 0], decoder.start_token), []
    for t in range(tokens.shape[2]):
        scores, memory = decoder.step(words, memory, context)
        if not t:
            scores, memory = scores.expand(-1, tokens.shape[1], -1), expand_hypotheses(memory, tokens.shape[1])
        found.append(scores)
        words = tokens[:, :, t]
    return torch.stack(found, 2)


def fed(decoder: CaptionDecoder, features: Features, tokens: Tensor, sampling: float) -> tuple[Tensor, Tensor]:
    """Logits under scheduled sampling, and the words that went in, (B, R, T)."""
    words = []
    hook = decoder.embedding.register_forward_hook(lambda module, inputs, output: words.append(inputs[0]))
    logits = decoder(features, tokens, sampling).logits
    hook.remove()
    return logits, torch.stack(words[-tokens.shape[2] :], 2)


# ---- teaching and searching


def test_word_by_word_gives_what_teaching_whole_captions_gives(decoder, features, captions):
    tokens = captions(3, 2, 6)
    torch.testing.assert_close(
        by_steps(decoder, features(), tokens), decoder(features(), tokens).logits, atol=1e-6, rtol=0
    )


def test_several_captions_of_an_image_are_told_apart_as_if_each_were_alone(decoder, features, captions):
    tokens, every = captions(3, 4, 5), features()
    together = decoder(every, tokens)
    repeated = Features(*(part.repeat_interleave(4, 0) for part in every))
    alone = decoder(repeated, tokens.flatten(0, 1)[:, None])
    torch.testing.assert_close(together.logits, alone.logits.view(3, 4, 5, 11), atol=1e-6, rtol=0)
    if together.attention is not None:
        torch.testing.assert_close(together.attention, alone.attention.view(3, 4, 5, 4))
        torch.testing.assert_close(together.attention.sum(3), torch.ones(3, 4, 5))


def test_what_follows_does_not_change_what_was_said(decoder, features, captions):
    tokens = captions(3, 2, 6)
    padded = tokens.clone()
    padded[:, :, 3:] = 0
    longer = functional.pad(padded, (0, 4))
    whole = decoder(features(), tokens).logits
    torch.testing.assert_close(decoder(features(), longer).logits[:, :, :4], whole[:, :, :4])
    assert not torch.allclose(decoder(features(), longer).logits[:, :, 4], whole[:, :, 4])


def test_a_word_depends_on_the_image_and_on_all_words_before_it(decoder, features, captions):
    tokens = captions(1, 1, 6)
    other = tokens.clone()
    other[..., 0] = 4 + (tokens[..., 0] - 3) % 7
    here, there = decoder(features(1), tokens).logits, decoder(features(1), other).logits
    torch.testing.assert_close(here[:, :, 0], there[:, :, 0])
    assert ((here - there).abs().amax(3)[..., 1:] > 1e-9).all()
    elsewhere = decoder(Features(*(part.flip(-1) for part in features(1))), tokens).logits
    assert ((here - elsewhere).abs().amax(3) > 1e-9).all()


def test_the_next_memory_shares_nothing_with_the_one_before(decoder, features):
    memory, context = decoder.start(features())
    _, memory = decoder.step(torch.ones(3, 1, dtype=torch.int64), memory, context)
    memory = expand_hypotheses(memory, 2)
    kept = [part.clone() for part in tree_tensors(memory)]
    words = torch.tensor([[4, 5], [6, 7], [8, 9]])
    _, after = decoder.step(words, memory, context)
    values = [part.clone() for part in tree_tensors(after)]
    for part, before in zip(tree_tensors(memory), kept, strict=True):
        assert torch.equal(part, before)
        part.data.zero_()
    for part, value in zip(tree_tensors(after), values, strict=True):
        assert part.shape[:2] == (3, 2)
        assert torch.equal(part, value)


def test_the_image_is_looked_up_once_for_a_whole_search(build, features):
    decoder, calls = build("soft"), []
    decoder.attention.key.register_forward_hook(lambda module, inputs, output: calls.append(output.shape))
    memory, context = decoder.start(features())
    beam_search(decoder.step, memory, context, Rules(1, 2, 6), 3)
    assert calls == [(3, 4, 8)]


def test_one_memory_serves_all_captions_without_a_copy():
    memory = ((torch.randn(2, 1, 3), torch.randn(2, 1, 3)), (torch.randn(2, 1, 4),))
    (hidden, cell), (other,) = expand(memory, 5)
    assert (hidden.shape, cell.shape, other.shape) == ((2, 5, 3), (2, 5, 3), (2, 5, 4))
    assert hidden.data_ptr() == memory[0][0].data_ptr()


# ---- embeddings


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
def test_tied_embeddings_are_one_tensor(build, features, captions, attention):
    tied, untied = build(attention, tie_embeddings=True), build(attention)
    assert tied.output.weight is tied.embedding.weight
    count = lambda decoder: sum(parameter.numel() for parameter in decoder.parameters())  # noqa: E731
    assert count(untied) - count(tied) == 11 * 6
    assert tied.state_dict()["output.weight"].data_ptr() == tied.state_dict()["embedding.weight"].data_ptr()
    tied(features(), captions(3, 2, 5)).logits.sum().backward()
    assert (tied.embedding.weight.grad != 0).any(1).all()  # also words that went in nowhere come out


# ---- scheduled sampling


def test_sampling_nothing_is_teaching(decoder, features, captions):
    tokens = captions(3, 2, 6)
    plain = decoder(features(), tokens)
    logits, words = fed(decoder, features(), tokens, 1e-12)
    torch.testing.assert_close(logits, plain.logits, atol=1e-6, rtol=0)
    assert (words[:, :, 0] == 1).all()
    assert torch.equal(words[:, :, 1:], tokens[:, :, :-1])


def test_sampling_everything_feeds_what_the_decoder_says(decoder, features, captions):
    with torch.no_grad():
        decoder.output.bias[7] = 1000  # it says nothing else
    tokens = captions(3, 2, 6)
    logits, words = fed(decoder, features(), tokens, 1.0)
    assert (words[:, :, 0] == 1).all()
    assert (words[:, :, 1:] == 7).all()
    expected = decoder(features(), torch.full_like(tokens, 7))
    torch.testing.assert_close(logits, expected.logits, atol=1e-6, rtol=0)


def test_draws_follow_the_scores_and_replace_the_share_that_is_asked_for(build, features):
    decoder = build("soft")
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.copy_(torch.tensor([-1e9] * 8 + [0.1, 0.2, 0.7]).clamp(min=1e-30).log())
    torch.manual_seed(0)
    _, words = fed(decoder, features(50), torch.full((50, 4, 21), 4), 0.3)
    drawn = words[:, :, 1:][words[:, :, 1:] != 4]
    assert len(drawn) / (50 * 4 * 20) == pytest.approx(0.3, abs=0.03)  # of 4000, 4 standard deviations
    for word, share in ((8, 0.1), (9, 0.2), (10, 0.7)):
        assert (drawn == word).double().mean().item() == pytest.approx(share, abs=0.06)


def test_gradients_are_those_of_teaching_the_words_that_were_drawn(decoder, features, captions):
    tokens = captions(3, 2, 6)
    torch.manual_seed(0)
    logits, words = fed(decoder, features(), tokens, 0.5)
    assert not torch.equal(words[:, :, 1:], tokens[:, :, :-1])
    assert (words[:, :, 1:] == tokens[:, :, :-1]).any()
    weights = torch.randn(logits.shape, dtype=torch.float64)
    parameters = list(decoder.parameters())
    found = torch.autograd.grad((logits * weights).sum(), parameters)
    taught = decoder(features(), functional.pad(words[:, :, 1:], (0, 1))).logits
    torch.testing.assert_close(logits, taught, atol=1e-6, rtol=0)
    for one, other in zip(found, torch.autograd.grad((taught * weights).sum(), parameters), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# ---- dropout


class Numbered(LockedDropout):
    """Each mask follows from its number and its size alone."""

    def mask(self, like: Tensor) -> Tensor:
        self.count = getattr(self, "count", 0) + 1
        generator = torch.Generator().manual_seed(self.count)
        kept = torch.rand(like.numel(), dtype=torch.float64, generator=generator) > self.p
        return kept.view(like.shape).double() / (1 - self.p)


def test_both_ways_of_teaching_drop_the_same_for_all_words(decoder, features, captions):
    tokens, found = captions(3, 2, 6), []
    for sampling in (0.0, 1e-12):
        decoder.dropout = Numbered(0.5)
        found.append(decoder(features(), tokens, sampling).logits)
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)
    decoder.dropout = LockedDropout(0.0)
    assert not torch.allclose(found[0], decoder(features(), tokens).logits)


def test_in_training_two_passes_differ_and_in_evaluation_they_do_not(build, features, captions):
    for attention in ("none", "soft", "top_down"):
        decoder, tokens = build(attention, layers=2, dropout=0.5), captions(3, 2, 6)
        assert torch.equal(decoder(features(), tokens).logits, decoder(features(), tokens).logits)
        decoder.train()
        assert not torch.allclose(decoder(features(), tokens).logits, decoder(features(), tokens).logits)


def test_words_before_are_left_out_in_training_and_the_start_never(build, captions):
    decoder = build("soft", word_dropout=0.4).train()
    words = torch.full((50, 4, 30), 7)
    words[:, :, 0] = decoder.start_token
    vectors = decoder.embed(words)
    gone = (vectors == 0).all(3)
    assert not gone[:, :, 0].any()
    assert gone[:, :, 1:].float().mean().item() == pytest.approx(0.4, abs=0.02)
    assert torch.equal(vectors[~gone], decoder.embedding(words)[~gone])
    assert torch.equal(decoder.eval().embed(words), decoder.embedding(words))
