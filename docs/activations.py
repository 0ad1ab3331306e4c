"""Draws the picture of docs/activations.md: ``python docs/activations.py docs/activations``.

Every activation and its derivative, both as the kernels compute them. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fastnn import functional as F
from fastnn import plots

#: By panel, what is drawn in it: name, function, and the gradient from dy, x and y.
PANELS = {
    "saturated at both ends": {
        "sigmoid": (F.sigmoid, lambda dy, x, y: F.sigmoid_backward(dy, y)),
        "tanh": (F.tanh, lambda dy, x, y: F.tanh_backward(dy, y)),
        "heaviside": (F.heaviside, lambda dy, x, y: np.zeros_like(dy)),
    },
    "straight above 0": {
        "ReLU": (F.relu, lambda dy, x, y: F.relu_backward(dy, y)),
        "leaky ReLU 0.3": (F.leaky_relu, lambda dy, x, y: F.leaky_relu_backward(dy, y)),
        "ELU": (F.elu, lambda dy, x, y: F.elu_backward(dy, y)),
        "SELU": (F.selu, lambda dy, x, y: F.selu_backward(dy, y)),
    },
    "smooth": {
        "softplus": (F.softplus, lambda dy, x, y: F.softplus_backward(dy, y)),
        "Swish": (F.swish, lambda dy, x, y: F.swish_backward(dy, x)),
        "GELU": (F.gelu, lambda dy, x, y: F.gelu_backward(dy, x)),
    },
}


def main(folder: Path) -> None:
    """Write functions.png: a column for each panel, y above, its derivative below."""
    figure = plots.new_figure(5.0 * len(PANELS), 7.0)
    rows = figure.subplots(2, len(PANELS), sharex=True, sharey="row", squeeze=False)
    # Two halves, so that no line is drawn across a jump.
    halves = np.linspace(-5, -1e-9, 201), np.linspace(1e-9, 5, 201)
    for (title, lines), above, below in zip(PANELS.items(), *rows, strict=True):
        for number, (label, (function, backward)) in enumerate(lines.items()):
            style = {"color": plots.COLOURS[number], "linestyle": plots.DASHES[number]}
            for half, x in enumerate(halves):
                y = function(x)
                above.plot(x, y, label="" if half else label, **style)
                below.plot(x, backward(np.ones_like(x), x, y), **style)
        above.set_title(f"y: {title}")
        above.set_ylim(-2.1, 4.1)
        above.legend(fontsize="small", handlelength=4)
        below.set_title("dy / dx")
        below.set_xlabel("x")
        for axes in (above, below):
            axes.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    plots.save(figure, folder / "functions.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
