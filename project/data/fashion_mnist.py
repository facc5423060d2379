"""FashionMNIST."""

from __future__ import annotations

from torchvision import datasets

from project.data.downloads import DownloadedImages


class FashionMNIST(DownloadedImages):
    """70,000 grey images of 28 × 28 pixels, ten kinds of clothes (Xiao et al. 2017, arXiv:1708.07747), 10,000 for test."""

    title = "FashionMNIST"
    files = "its four .gz files (below FashionMNIST/raw, without the unpacked ones)"

    def read(self, train: bool) -> datasets.FashionMNIST:
        """See the base class."""
        return datasets.FashionMNIST(self.root, train, download=True)
