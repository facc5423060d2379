"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from torchvision import datasets

from project.data.downloads import DownloadedImages


class CIFAR10(DownloadedImages):
    """60,000 colour images of 32 × 32 pixels in ten classes (Krizhevsky 2009), 10,000 of them the test split."""

    title = "CIFAR-10"
    files = "cifar-10-python.tar.gz"

    def read(self, train: bool) -> datasets.CIFAR10:
        """See the base class."""
        return datasets.CIFAR10(self.root, train, download=True)


class CIFAR100(DownloadedImages):
    """As many images of the same size in a hundred classes (Krizhevsky 2009)."""

    title = "CIFAR-100"
    files = "cifar-100-python.tar.gz"

    def read(self, train: bool) -> datasets.CIFAR100:
        """See the base class."""
        return datasets.CIFAR100(self.root, train, download=True)
