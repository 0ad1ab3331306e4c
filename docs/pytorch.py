"""The image networks in PyTorch, to compare with ``fastnn mnist`` and ``fastnn cifar10``.

    python docs/pytorch.py cifar10 --data FOLDER --steps 10000 --seeds 0-2
    python docs/pytorch.py mnist --data FOLDER --epochs 3 --threads 1

The same images to train on, to validate and to test, in the same order, the same network, update
rule and budget; initial weights and dropout have the same distributions, not the same numbers.
Times are of training, with shuffling, casting and validation. Without --data both draw the same
images.
"""

import argparse
import statistics
import time
from itertools import chain, count, islice

import numpy as np
import torch
from torch import nn

from fastnn.cli.options import seeds, write_json
from fastnn.datasets import draw_cifar10, draw_mnist, load_cifar10, load_mnist
from fastnn.experiments.images import parts


def mnist_cnn():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(12 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    return glorot(net)


def lenet5():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, 10),
    )  # fmt: skip
    return glorot(net)


def cifar10_cnn():
    # TensorFlow's SAME for 3×3 with stride 2: the odd row and column are at the end.
    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    net = nn.Sequential(
        nn.Conv2d(3, 64, 5, padding="same"), nn.ReLU(), pool(),
        nn.Conv2d(64, 64, 5, padding="same"), nn.ReLU(), pool(),
        nn.Conv2d(64, 128, 3, padding="same"), nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding="same"), nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding="same"), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 8 * 8, 384), nn.ReLU(), nn.Dropout(0.2), nn.Linear(384, 10),
    )  # fmt: skip
    for layer in net:
        if hasattr(layer, "weight"):
            nn.init.trunc_normal_(layer.weight, std=0.05, a=-0.1, b=0.1)
            nn.init.constant_(layer.bias, 0.1)
    return net


def glorot(net):
    for layer in net:
        if hasattr(layer, "weight"):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net


class RMSprop(torch.optim.Optimizer):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε); PyTorch's own has ε outside the root."""

    def __init__(self, parameters, rate=1e-3, rho=0.9, epsilon=1e-8):
        super().__init__(parameters, {})
        self.parameters = [p for group in self.param_groups for p in group["params"]]
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.rate, self.rho, self.epsilon = rate, rho, epsilon

    @torch.no_grad()
    def step(self):
        for p, s in zip(self.parameters, self.means, strict=True):
            s.mul_(self.rho).addcmul_(p.grad, p.grad, value=1 - self.rho)
            p.addcdiv_(p.grad, (s + self.epsilon).sqrt_(), value=-self.rate)


def images(x, channels_last):
    """(N, H, W, C) uint8 → (N, C, H, W), still uint8."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=order)


def evaluate(net, scale, x, y):
    net.eval()
    with torch.no_grad():
        outputs = torch.cat([net(scale(part)) for part in x.split(256)])
        loss = nn.functional.cross_entropy(outputs, y).item()
    net.train()
    return loss, (outputs.argmax(1) == y).float().mean().item()


def train(args, data, seed):
    """A line for each row of figures; returns the figures of the run."""
    torch.manual_seed(seed)
    x, y, x_val, y_val = parts(data, seed)
    x, x_val, x_test = (images(a, args.channels_last) for a in (x, x_val, data.x_test))
    y, y_val, y_test = (torch.from_numpy(a) for a in (y, y_val, data.y_test))
    per_epoch = -(-len(x) // args.batch_size)
    if args.set == "mnist":
        net = {"cnn": mnist_cnn, "lenet5": lenet5}[args.network]()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, eps=1e-8)
        scale = lambda batch: batch.float().div_(255)  # noqa: E731
        steps, every, unit = args.epochs * per_epoch, per_epoch, "Epoch"
    else:
        net = cifar10_cnn()
        optimizer = RMSprop(net.parameters())
        scale = lambda batch: batch.float().mul_(2 / 255).sub_(1)  # noqa: E731
        steps, every, unit = args.steps, args.report, "Step"
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(seed)
    orders = (torch.from_numpy(rng.permutation(len(x))).split(args.batch_size) for _ in count())
    batches = chain.from_iterable(orders)
    history = []
    for start in range(0, steps, every):
        started = time.perf_counter()
        seen = cost = right = 0
        last = min(start + every, steps)
        for rows in islice(batches, last - start):
            batch, labels = scale(x[rows]), y[rows]
            optimizer.zero_grad()
            outputs = net(batch)
            loss = nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
            seen += len(rows)
            cost += loss.item() * len(rows)
            right += (outputs.argmax(1) == labels).sum().item()
        val_loss, val_accuracy = evaluate(net, scale, x_val, y_val)
        seconds = time.perf_counter() - started
        row = {"step": last, "loss": cost / seen, "accuracy": right / seen, "val_loss": val_loss,
               "val_accuracy": val_accuracy, "seconds": seconds}  # fmt: skip
        history.append(row)
        print(
            f"{unit} {last if unit == 'Step' else last // every}: cost={row['loss']:.3f}, "
            f"accuracy={row['accuracy']:.3f}/{val_accuracy:.3f} ({seconds:.2f} secs)", flush=True,
        )  # fmt: skip
    _, accuracy = evaluate(net, scale, x_test, y_test)
    seconds = sum(row["seconds"] for row in history)
    print(
        f"Test, seed {seed}: accuracy = {accuracy:.4f}; {seconds:.1f} s for {steps} steps, "
        f"{1000 * seconds / steps:.2f} ms by step",
        flush=True,
    )
    return {"seed": seed, "test_accuracy": accuracy, "seconds": seconds, "history": history}


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("set", choices=("mnist", "cifar10"))
    add("--data", help="folder of the set; drawn images if unset")
    add("--network", choices=("cnn", "lenet5"), default="cnn", help="of mnist")
    add("--epochs", type=int, default=3, help="of mnist")
    add("--steps", type=int, default=10_000, help="of cifar10")
    add("--report", type=int, default=100, help="steps to a line, of cifar10")
    add("--batch-size", type=int)
    add("--seeds", type=seeds, default=[0])
    add("--threads", type=int)
    add("--channels-last", action="store_true", help="keep images as (N, H, W, C)")
    add("--json")
    args = parser.parse_args()
    args.batch_size = args.batch_size or (64 if args.set == "mnist" else 128)
    if args.threads:
        torch.set_num_threads(args.threads)
    runs = []
    for seed in args.seeds:
        if args.data:
            data = (load_mnist if args.set == "mnist" else load_cifar10)(args.data)
        else:
            data = draw_mnist(seed=seed) if args.set == "mnist" else draw_cifar10(2000, 500, seed)
        runs.append(train(args, data, seed))
    accuracies = [run["test_accuracy"] for run in runs]
    print(f"PyTorch {torch.__version__}: mean accuracy {statistics.fmean(accuracies):.4f}")
    write_json(args.json, {"torch": torch.__version__, "settings": vars(args), "runs": runs})


if __name__ == "__main__":
    main()
