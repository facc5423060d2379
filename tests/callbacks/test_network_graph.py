"""The graph of what is trained."""

from __future__ import annotations

import warnings

import torch


def nodes(events) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {node.name for node in events.Graph().node}


def test_every_stage_of_the_network_is_in_it(watched):
    names = nodes(watched.events)
    for part in ("[stem]", "[stage1]", "[stage2]", "[head]"):
        assert any(part in name for name in names), part


def test_a_captioner_shows_its_decoder_and_speaks_as_without(run, captioned, caption_options, tmp_path, shown):
    for root, graph in (("on", True), ("off", False)):
        options = ("--watch.graph", graph, "--watch.pictures", 0, "--model.fine_tuning.freeze_norms", True)
        assert run(*caption_options(captioned, tmp_path / root, *options)) == 0
    found = shown(tmp_path / "on/c/version_0")
    names = nodes(found)
    assert any("[encoder]" in name for name in names)
    assert any("[decoders]" in name or "Decoder[0]" in name for name in names), sorted(names)[:40]
    states = [
        torch.load(tmp_path / root / "c/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for root in ("on", "off")
    ]
    torch.testing.assert_close(*states, rtol=0, atol=0)
