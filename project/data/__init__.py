"""Data sets: one file each over `ImageDataModule`, which feeds every task the same kind of batch."""

from project.data.base import ImageDataModule
from project.data.batch import Batch
from project.data.captions.base import CaptionDataModule
from project.data.captions.batch import CaptionBatch
from project.data.captions.coco import COCOCaptions
from project.data.captions.emoji import Emoji
from project.data.captions.karpathy import KarpathyCaptions
from project.data.captions.table import CaptionTable
from project.data.cifar import CIFAR10, CIFAR100
from project.data.digits import Digits
from project.data.fashion_mnist import FashionMNIST
from project.data.image_folder import ImageFolder
from project.data.image_table import ImageTable

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Batch",
    "COCOCaptions",
    "CaptionBatch",
    "CaptionDataModule",
    "CaptionTable",
    "Digits",
    "Emoji",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "ImageTable",
    "KarpathyCaptions",
]
