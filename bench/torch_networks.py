"""ResNet-50 and VGG-16 in PyTorch, layer by layer those of ``fastnn.zoo``, for ``bench.peers``."""

from __future__ import annotations

from typing import Any

from torch import nn

#: Shapes (H, W, C) of the images that are flattened, where there are any.
FLATTENED = {"vgg16": (7, 7, 512)}


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1, each with normalisation, and a shortcut; the stride is in the 3×3."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_normalized(channels, filters, 1), nn.ReLU(inplace=True),
            *_normalized(filters, filters, 3, stride), nn.ReLU(inplace=True),
            *_normalized(filters, 4 * filters, 1),
        )  # fmt: skip
        same = stride == 1 and channels == 4 * filters
        self.shortcut = nn.Sequential(
            *([] if same else _normalized(channels, 4 * filters, 1, stride))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        """y = relu(main(x) + shortcut(x))."""
        return self.relu(self.main(x).add_(self.shortcut(x)))


def _normalized(channels: int, filters: int, kernel: int, stride: int = 1) -> list[Any]:
    conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)]


def resnet50() -> Any:
    """25,557,032 parameters."""
    layers = [*_normalized(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for i, depth in enumerate((3, 4, 6, 3)):
        for j in range(depth):
            layers.append(Bottleneck(channels, 64 << i, 2 if i and not j else 1))
            channels = 256 << i
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def vgg16() -> Any:
    """138,357,544 parameters."""
    layers: list[Any] = []
    channels = 3
    for filters, depth in zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout()]
    layers += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers)
