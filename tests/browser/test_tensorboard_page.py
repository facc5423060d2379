"""TensorBoard's pages of real runs, as a person sees them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Page, expect

from project.cli import main


@pytest.fixture(scope="module")
def address(tmp_path_factory, image_tree, fit_options, captioned, caption_options) -> Iterator[str]:
    """Of a TensorBoard that shows a classifier and a captioner."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pages")
    options = (
        "--data.cache_dir",
        folder / "cache",
        "--watch.pictures",
        1,
        "--watch.graph",
        True,
        "--watch.histograms",
        True,
    )
    main([*fit_options(image_tree(folder / "images"), folder / "runs", *options), "--progress", "none"])
    main(["test", "--ckpt_path", str(folder / "runs/r/version_0"), "--data.cache_dir", str(folder / "cache")])
    main([*caption_options(captioned, folder / "runs", *options[:4]), "--progress", "none"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder / "runs"), "--host", "127.0.0.1",
               "--port", str(port)]  # fmt: skip
    server = subprocess.Popen(
        command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/data/runs", timeout=5) as answer:
                    if b"c/version_0" in (runs := answer.read()) and b"r/version_0" in runs:
                        break
            except urllib.error.URLError:
                assert server.poll() is None, "TensorBoard has stopped"
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize(
    ("tab", "shown"),
    [
        ("timeseries", ["best/val/accuracy", "r/version_0"]),
        ("scalars", ["best/val/accuracy", "best/val/cider_d"]),
        ("images", ["captions/0", "figures/confusion"]),
        ("text", ["captions/text_summary", "A red square."]),
        ("pr_curves", ["precision_recall/all"]),
        ("histograms", ["gradients/network.head.weight"]),
        ("hparams", ["model.optimizer.lr", "test/accuracy", "best/val/accuracy"]),
    ],
)
def test_a_tab_shows_its_tags(page: Page, address: str, tab: str, shown: list[str]) -> None:
    page.goto(f"{address}/#{tab}")
    for text in shown:
        expect(page.get_by_text(text).first).to_be_attached()


def test_an_image_is_drawn(page: Page, address: str) -> None:
    page.goto(f"{address}/#images")
    picture = page.locator("tf-image-loader img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_a_curve_of_precision_and_recall_is_drawn(page: Page, address: str) -> None:
    page.goto(f"{address}/#pr_curves")
    expect(page.locator("tf-pr-curve-card svg").first).to_be_visible()


def test_the_graph_has_the_network_in_it(page: Page, address: str) -> None:
    page.goto(f"{address}/#graphs")
    expect(page.get_by_text("Main Graph").first).to_be_visible()
    expect(page.locator("tf-graph-scene g.node").first).to_be_attached()
