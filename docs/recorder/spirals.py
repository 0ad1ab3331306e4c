"""Two spirals learned by a small network, with a page of it: python spirals.py run.html"""

import argparse

import numpy as np

import fastnn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("page", help="HTML file to write")
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()

rng = np.random.default_rng(1)
arm, angle = rng.integers(0, 2, 400), 2.5 * np.pi * rng.uniform(0.25, 1, 400)
turned = angle + np.pi * arm
x = angle[:, np.newaxis] / 4 * np.stack([np.cos(turned), np.sin(turned)], axis=1)
x += rng.normal(0, 0.06, x.shape)

net = fastnn.Sequential(
    [fastnn.Dense(40, "relu"), fastnn.Dense(40, "relu"), fastnn.Dense(2)], seed=1
)
net.compile(fastnn.optimizers.Adam(0.003), "softmax_cross_entropy", metrics=["accuracy"])
recorder = fastnn.Recorder(args.page, title="Two spirals")
history = net.fit(
    x, arm, epochs=args.epochs, batch_size=32, validation_split=0.2, seed=1, verbose=0,
    callbacks=[recorder],
)  # fmt: skip
print(f"accuracy {history['accuracy'][-1]:.3f}, validation {history['val_accuracy'][-1]:.3f}")
