"""Pretrained weights: from a file in torch's cache, adapted to other stems, sizes and classes."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import models
from torchvision.models import VisionTransformer

from project.errors import ConfigError
from project.models import build_backbone
from project.models.pretrained import load_pretrained, resample_kernel, resample_positions, weights_info


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Callable[..., dict[str, Tensor]]:
    """Puts random weights of a network of torchvision where its download would lie; returns them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def put(name: str, rename: Callable[[str], str] = str, **options: object) -> dict[str, Tensor]:
        torch.manual_seed(7)
        state = models.get_model(name, **options).state_dict()
        for old in list(state):
            state[rename(old)] = state.pop(old)
        torch.save(state, folder / Path(models.get_model_weights(name).DEFAULT.url).name)
        return state

    return put


def test_everything_is_taken_where_everything_fits(cached):
    state = cached("resnet18")
    network = build_backbone("resnet18", 1000, 96)
    found = load_pretrained(network, "resnet18", "DEFAULT")
    theirs = models.resnet18()
    theirs.load_state_dict(state)
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(network.eval()(images), theirs.eval()(images))
    assert found.head_loaded
    assert found.message == "resnet18: ResNet18_Weights.IMAGENET1K_V1 loaded"
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (len(found.class_names), found.class_names[:2]) == (1000, ["tench", "goldfish"])


@pytest.mark.parametrize("weights", ["ResNet18_Weights.IMAGENET1K_V1", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"])
def test_a_small_stem_gets_the_kernel_resampled_and_other_classes_keep_their_head(cached, weights):
    state = cached("resnet18")
    network = build_backbone("torchvision/resnet18", 5, 32)
    head = network.head.weight.clone()
    found = load_pretrained(network, "torchvision/resnet18", weights)
    assert found.message == (
        "torchvision/resnet18: ResNet18_Weights.IMAGENET1K_V1 loaded; first kernel resampled from 7×7 to 3×3; "
        "as initialised: head"
    )
    assert not found.head_loaded
    assert torch.equal(network.head.weight, head)
    assert torch.equal(network.stages["stem"][0].weight, resample_kernel(state["conv1.weight"], 3))
    ours = network.state_dict()
    for key in ("layer1.0.bn1.running_var", "layer4.1.conv2.weight"):
        assert torch.equal(ours[f"stages.{key}"], state[key])


def _with_dots(key: str) -> str:
    """DenseNet's keys as they are in its files."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key)


@pytest.mark.parametrize(
    ("name", "image_size", "options"),
    [
        ("densenet121", 64, {"rename": _with_dots}),
        ("googlenet", 64, {"init_weights": False}),  # with its auxiliary heads
        ("inception_v3", 75, {"init_weights": False}),
        ("mnasnet0_5", 64, {}),
        ("squeezenet1_1", 64, {}),
        ("regnet_x_400mf", 64, {}),
    ],
)
def test_files_of_other_families_give_torchvisions_logits(cached, name, image_size, options):
    cached(name, **options)
    network = build_backbone(name, 1000, image_size, {"stem": "imagenet"})
    assert load_pretrained(network, name, "DEFAULT").head_loaded
    torch.manual_seed(7)
    theirs = models.get_model(name, **{key: value for key, value in options.items() if key != "rename"})
    if hasattr(theirs, "transform_input"):
        theirs.transform_input = True
    images = torch.randn(1, 3, image_size, image_size)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), theirs.eval()(images))


def test_a_vit_is_adapted_to_another_grid_and_to_smaller_patches(cached, monkeypatch):
    def tiny(name: str, weights: None = None, **options: object) -> VisionTransformer:
        return VisionTransformer(patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16,
                                 **{"image_size": 224, **options})  # fmt: skip

    monkeypatch.setattr(models, "get_model", tiny)
    state = cached("vit_b_16")
    for image_size, patch, grid, adapted in (
        (224, 16, 14, ""),
        (96, 16, 6, "; position embeddings interpolated from 14×14 to 6×6"),
        (32, 4, 8, "; position embeddings interpolated from 14×14 to 8×8; first kernel resampled from 16×16 to 4×4"),
    ):
        network = build_backbone("vit_b_16", 3, image_size)
        found = load_pretrained(network, "vit_b_16", "IMAGENET1K_V1")
        assert found.message == f"vit_b_16: ViT_B_16_Weights.IMAGENET1K_V1 loaded{adapted}; as initialised: head"
        patches = network.stages["patches"]
        assert patches.pos_embedding.shape == (1, 1 + grid**2, 8)
        assert torch.equal(patches.pos_embedding[:, 0], state["encoder.pos_embedding"][:, 0])
        assert patches.conv.weight.shape == (8, 3, patch, patch)
        assert torch.equal(network.stages["block1"].mlp[0].weight, state["encoder.layers.encoder_layer_0.mlp.0.weight"])
        assert network.features(torch.randn(2, 3, image_size, image_size)).shape == (2, 8)


@pytest.mark.parametrize(("old", "new"), [(7, 3), (4, 3), (16, 4), (14, 5), (3, 3)])
def test_a_kernel_is_resampled_by_area(old, new):
    kernel = torch.randn(2, 3, old, old, dtype=torch.float64)
    # the share of each old interval that lies under each new one
    edges = np.arange(old + 1) / old
    shares = [[max(min(edges[i + 1], (j + 1) / new) - max(edges[i], j / new), 0) * old for i in range(old)]
              for j in range(new)]  # fmt: skip
    expected = np.einsum("pi,ocij,qj->ocpq", shares, kernel.numpy(), shares)
    resampled = resample_kernel(kernel, new)
    np.testing.assert_allclose(resampled.numpy(), expected, atol=1e-12)
    torch.testing.assert_close(resampled.sum((2, 3)), kernel.sum((2, 3)))  # the answer to a constant image


@pytest.mark.parametrize("new", [6, 14, 20])
def test_positions_keep_their_order_and_the_class_tokens_is_not_moved(new):
    rows, columns = torch.meshgrid(torch.arange(14.0) + 0.5, torch.arange(14.0) + 0.5, indexing="ij")
    grid = torch.stack([rows, columns], -1).view(1, 196, 2) / 14
    embedding = torch.cat([torch.full((1, 1, 2), 9.0), grid], 1)
    resampled = resample_positions(embedding, 1 + new**2)
    assert (resampled[:, 0] == 9).all()
    inner = resampled[0, 1:].view(new, new, 2)[new // 3 : -(new // 3), new // 3 : -(new // 3)]
    expected = ((torch.arange(new) + 0.5) / new)[new // 3 : -(new // 3)]
    for axis, other in ((0, 1), (1, 0)):
        torch.testing.assert_close(
            inner[..., axis].mean(other), expected, atol=5e-3, rtol=0
        )  # bicubic: a tenth of a step off


def test_what_weights_expect_is_known_without_them():
    mean, std, class_names = weights_info("efficientnet_v2_l", "DEFAULT")
    assert mean == std == (0.5, 0.5, 0.5)
    assert len(class_names) == 1000
    assert weights_info("torchvision/vgg16", "VGG16_Weights.DEFAULT")[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet50", "IMAGENET1K_V3", r"there is no 'IMAGENET1K_V3' for resnet50; did you mean 'IMAGENET1K_V[12]'\?"),
        ("resnet18", "best", r"there is no 'best' for resnet18; there is DEFAULT, IMAGENET1K_V1\."),
        ("resnet18", "ResNet50_Weights.DEFAULT", r"there is no 'ResNet50_Weights.DEFAULT' for resnet18; "),
        ("resnet20", "DEFAULT", r"resnet20 has no pretrained weights; leave out 'DEFAULT'$"),
        ("vgg16", "DEFAULT", r"vgg16 has no pretrained weights; torchvision's are those of 'torchvision/vgg16'$"),
    ],
)
def test_weights_that_do_not_exist_are_named(name, weights, message):
    with pytest.raises(ConfigError, match=r"^model\.weights: " + message):
        weights_info(name, weights)
    with pytest.raises(ConfigError, match=r"^model\.weights: " + message):
        load_pretrained(build_backbone("small_resnet", 3, 16), name, weights)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No weights, and no proxy between the test and this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("urllib.request._opener", None)  # which remembers proxies


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """The address of a server that has a wrong file under the right name."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "resnet18-f37072fd.pth").write_bytes(b"something else")
    handler = functools.partial(_Silent, directory=tmp_path / "www")
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("file", "reason"),
    [("resnet18-f37072fd.pth", "invalid hash value"), ("resnet18-00000000.pth", "HTTP Error 404")],
)
def test_a_failed_download_names_the_address_and_the_folder(server, empty_cache, file, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", f"{server}/{file}")
    network = build_backbone("resnet18", 3, 32)
    with pytest.raises(ConfigError) as failure:
        load_pretrained(network, "resnet18", "DEFAULT")
    message = str(failure.value)
    assert message.startswith("model.weights: ResNet18_Weights.IMAGENET1K_V1 cannot be loaded (")
    assert reason in message
    assert message.endswith(f"; download {server}/{file} and put it into {tmp_path / 'hub' / 'checkpoints'}")
    assert "\n" not in message
    if isinstance(failure.value.__cause__, HTTPError):
        failure.value.__cause__.close()


def test_an_unreachable_server_and_a_damaged_file_are_said_in_one_line(empty_cache, tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/resnet18-f37072fd.pth"  # nothing listens there
    monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", url)
    network = build_backbone("resnet18", 3, 32)
    with pytest.raises(ConfigError, match=r"^model\.weights: .*refused.*; download http://127\.0\.0\.1:9/"):
        load_pretrained(network, "resnet18", "DEFAULT")
    damaged = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    damaged.write_bytes(b"PK damaged")
    with pytest.raises(ConfigError, match=r"^model\.weights: .* cannot be loaded \(.*put it into [^\n]*$"):
        load_pretrained(network, "resnet18", "DEFAULT")
