"""Draw the implicit tile: ``python docs/convolution/picture.py [tile.png]`` (needs matplotlib,
which ``pip install -e ".[plots]"`` brings).

The layer is the second of the CIFAR-10 network, 16 × 16 × 64 to 64, 5 × 5, SAME, on AVX-512: six
windows with the same taps, four vectors of 16 outputs. The colours are told apart by colour-blind
eyes, and every part is named beside.
"""

import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

from fastnn.geometry import conv2d_geometry

ROWS, VECS, LANES = 6, 4, 16
X, W, SUMS, ONE, LINE = "#0072B2", "#E69F00", "#009E73", "#CC3311", "#444444"


def box(ax, x, y, width, height, **style):
    ax.add_patch(Rectangle((x, y), width, height, **({"fill": False, "ec": LINE} | style)))


def arrow(ax, start, end, color, width=1.0):
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, color=color, lw=width, **style))


def draw_image(ax, geometry, left, top, cell):
    """The upper half of an image of x, with the six windows of a tile."""
    size, kernel = geometry.rows.size, geometry.rows.kernel
    ax.text(left, top + 1.2, f"x: {size} × {size} pixels of 64 channels", weight="bold")
    for i in range(size // 2):
        for j in range(size):
            in_run = i == 1 and j < kernel
            box(ax, left + j * cell, top - (i + 1) * cell, cell, cell, fill=True,
                fc=X if in_run else "white", alpha=0.75 if in_run else 1, ec="#BBBBBB",
                lw=0.5)  # fmt: skip
    for i in range(ROWS):
        at_end = i in (0, ROWS - 1)
        box(ax, left + i * cell, top - kernel * cell, kernel * cell, kernel * cell,
            ec=X, lw=2.2 if at_end else 0.8, ls="-" if i == 0 else "--")  # fmt: skip
        ax.text(left + (i + 0.5) * cell, top - cell / 2, f"$a_{i}$", ha="center", va="center",
                fontsize=8)  # fmt: skip
    ax.text(left, top - size // 2 * cell - 0.8, "Six windows of 5 × 5; $a_i$ points to where\n"
            "window i begins. Blue: a run of the first, a row\nof 5 taps, 5 × 64 = 320 floats side "
            "by side.", va="top", fontsize=9)  # fmt: skip


def draw_memory(ax, left, top):
    """The second row of x in memory: the runs of the six windows overlap."""
    pixel, height, kernel, k = 4.95, 2.2, 5, 1.6
    ax.text(left, top + 1.2, "that row of x in memory: pixel after pixel, 64 floats each",
            weight="bold")  # fmt: skip
    for j in range(ROWS + kernel - 1):
        box(ax, left + j * pixel, top - height, pixel, height, lw=0.6)
        ax.text(left + (j + 0.5) * pixel, top - height / 2, f"pixel {j}", ha="center",
                va="center", fontsize=8)  # fmt: skip
    for i in range(ROWS):
        y, start = top - height - 1.3 - i * 1.8, left + i * pixel
        box(ax, start, y - 0.45, kernel * pixel, 0.9, fill=True, fc=X, alpha=0.3, lw=0.6)
        ax.plot([start + k * pixel], [y], "o", color=X, ms=6)
        ax.text(start + kernel * pixel + 0.8, y, f"$a_{i}[k]$", va="center", fontsize=9)
    ax.text(left - 16, top - height - 5.8, "The six windows' runs\noverlap: 1920 loads meet\n"
            "640 floats. Dots: the\n6 floats of one step.", va="center", fontsize=9)  # fmt: skip


def draw_blocks(ax, geometry, left, top, cell):
    """Pixels of y by the number of taps that their windows have in the image."""
    axis = geometry.rows
    taps = [len(axis.taps_inside(o)) for o in range(axis.out)]
    useful = geometry.rows.inside * geometry.columns.inside / (axis.out**2 * geometry.taps)
    ax.text(left, top + 1.2, "y: taps in the image, of 25", weight="bold")
    for i, down in enumerate(taps):
        for j, across in enumerate(taps):
            n = down * across
            shade = str(0.35 + 0.6 * n / geometry.taps)
            box(ax, left + j * cell, top - (i + 1) * cell, cell, cell, fill=True, fc=shade,
                ec="white", lw=0.5)  # fmt: skip
            # Inside, the number would be the same 144 times.
            if n < geometry.taps:
                ax.text(left + (j + 0.5) * cell, top - (i + 0.5) * cell, str(n), fontsize=5.5,
                        ha="center", va="center", color="black")  # fmt: skip
    ax.text(left + axis.out / 2 * cell, top - axis.out / 2 * cell, "25 taps:\n12 × 12 windows\n"
            "of every image,\none block", ha="center", va="center", fontsize=9)  # fmt: skip
    ax.text(left, top - axis.out * cell - 0.8, "Windows with the same taps form a block: 5 × 5\n"
            f"blocks here. {useful:.3f} of all taps are in the image.", va="top",
            fontsize=9)  # fmt: skip


def draw_tile(ax, left, top):
    """The strip of w above, the pointers into x on the left, the sums between."""
    width, height, gap = 12.0, 3.8, 0.5
    strip = top - 2
    ax.text(left, top + 1.2, "w: a strip of 64 outputs, packed, in L2", weight="bold")
    for r in range(5):
        for j in range(VECS):
            box(ax, left + j * (width + gap), strip - r * 2.4, width, 2.0, fill=True, fc=W,
                alpha=1 if r == 2 else 0.25, ec=LINE, lw=0.6)  # fmt: skip
            if r == 2:
                ax.text(left + j * (width + gap) + width / 2, strip - r * 2.4 + 0.95,
                        f"$b_{j}$: 16 floats", ha="center", va="center", fontsize=9)  # fmt: skip
    ax.text(left - 1, strip - 2 * 2.4 + 0.95, "row k", ha="right", va="center", fontsize=9)
    ax.text(left - 1, strip - 3.3 * 2.4 + 0.95, "a row per tap\nand channel", ha="right",
            va="center", fontsize=9)  # fmt: skip
    first = strip - 4 * 2.4 - 9.7
    for j in range(VECS):
        x = left + j * (width + gap) + width / 2
        arrow(ax, (x, strip - 4 * 2.4 - 0.4), (x, first + height + 0.3), W, 2)
    ax.text(left + 2 * (width + gap) - gap / 2, strip - 4 * 2.4 - 2.6,
            "4 loads of a vector: each feeds the 6 multiply-adds of a column", ha="center",
            va="center", fontsize=9, bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip
    for i in range(ROWS):
        y = first - i * (height + gap)
        box(ax, left - 14, y + 0.5, 7, height - 1, fill=True, fc=X, alpha=0.75, lw=0.6)
        ax.text(left - 10.5, y + height / 2, f"$a_{i}[k]$", ha="center", va="center",
                color="white", fontsize=10)  # fmt: skip
        arrow(ax, (left - 6.8, y + height / 2), (left - 0.3, y + height / 2), X, 2)
        for j in range(VECS):
            one = i == 2 and j == 1
            alpha, edge, line = (0.85, ONE, 2.5) if one else (0.3, LINE, 0.6)
            box(ax, left + j * (width + gap), y, width, height, fill=True, fc=SUMS, alpha=alpha,
                ec=edge, lw=line)  # fmt: skip
            ax.text(left + j * (width + gap) + width / 2, y + height / 2,
                    f"$s_{{{i}{j}}}$ += $a_{i}\\,b_{j}$", ha="center", va="center", fontsize=9,
                    color="black")  # fmt: skip
    last = first - (ROWS - 1) * (height + gap)
    ax.text(left - 16, last - 0.9, "6 loads of one float,\nbroadcast to 16 lanes:\neach feeds the "
            "4 multi-\nply-adds of a row", va="top", fontsize=9)  # fmt: skip
    ax.text(left + 1, last - 0.9, "24 sums of 16 floats in registers while k runs over the packed\n"
            "piece of w. A step of k: 10 loads, 24 multiply-adds, 768 flops.\n"
            "Red border: one multiply-add of 16 lanes.", va="top", fontsize=9)  # fmt: skip


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "tile.png"
    geometry = conv2d_geometry("picture", (16, 16, 64), (5, 5, 64, VECS * LANES), 1, "same")
    figure, ax = plt.subplots(figsize=(11, 7.6))
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    ax.set(xlim=(0, 116), ylim=(-2, 76))
    ax.set_axis_off()
    draw_image(ax, geometry, 1, 72, 2.15)
    draw_blocks(ax, geometry, 1, 42.5, 2.15)
    draw_tile(ax, 62, 72)
    draw_memory(ax, 62, 14.5)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
