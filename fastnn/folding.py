"""Batch normalisation folded into the layer below it, for use after training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastnn.layers import BatchNormalization, Chain, Conv2D, Dense, DepthwiseConv2D, Layer
from fastnn.layers.activation import Nonlinearity
from fastnn.model import Sequential


def fold_batch_norm(model: Sequential) -> Sequential:
    """A copy of a built model in which batch normalisation is part of the layer below it.

    With its running statistics, γ (x w + b − μ)/√(σ² + ε) + β is a product with other weights:

        w′ = w s, b′ = (b − μ) s + β, with s = γ/√(σ² + ε), for each output

    so ``predict`` gives the same within rounding, and reads and writes less. Done for every
    ``Conv2D``, ``DepthwiseConv2D`` or ``Dense`` without an activation of its own whose next layer
    is ``BatchNormalization``, at any depth; another one stays as it is. The copy is for inference:
    trained on, it is another network. ``model`` doesn't change. Raises ``ValueError`` if it isn't
    built.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"fold_batch_norm: model must be a Sequential, got {model!r}")
    if model.store is None:
        raise ValueError("fold_batch_norm: the model isn't built; give it data or build(shape)")
    weights = model.get_weights()
    root = _copied(model.chain)
    for chain in [layer for layer in root.walk() if isinstance(layer, Chain)]:
        kept: list[Layer] = []
        for layer in chain.children:
            below: Any = kept[-1] if kept else None
            # Not their subclasses, which may do something after the product, as Maxout does.
            linear = type(below) in (Conv2D, DepthwiseConv2D, Dense) and below.f.name == "identity"
            if linear and isinstance(layer, BatchNormalization):
                _fold(below, layer, weights)
            else:
                kept.append(layer)
        chain.children[:] = kept
    folded = Sequential(root.children, model.chain.input_shape, model.dtype.name, model.seed)
    folded.set_weights(weights)
    return folded


def _fold(layer: Any, norm: BatchNormalization, weights: dict[str, Any]) -> None:
    """Make ``layer`` do the work of both, and take the norm's arrays out of ``weights``."""
    gamma, beta, mean, variance = (
        weights.pop(p.name).astype(np.float64) for p in norm.own_parameters
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    w, b = f"{layer.name}/w", f"{layer.name}/b"
    columns = weights[w].reshape(-1, len(scale))
    weights[w] = (columns * scale).reshape(weights[w].shape)
    weights[b] = (weights.get(b, 0) - mean) * scale + beta
    layer.use_bias = True
    layer.activation = norm.activation
    layer.f = Nonlinearity(type(layer).__name__, norm.activation)


def _copied(layer: Any, done: dict[int, Any] | None = None) -> Any:
    """The tree of layers again, free for another model; what isn't a layer is shared."""
    done = {} if done is None else done
    if id(layer) in done:
        return done[id(layer)]
    if isinstance(layer, Layer):
        new = done[id(layer)] = copy.copy(layer)
        for name, value in vars(layer).items():
            setattr(new, name, None if name == "owner" else _copied(value, done))
        return new
    if type(layer) in (list, tuple):
        return type(layer)(_copied(item, done) for item in layer)
    if type(layer) is dict:
        return {key: _copied(item, done) for key, item in layer.items()}
    return layer
