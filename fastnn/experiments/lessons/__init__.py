"""The lessons of the course: ``fastnn learn NAME``. One file each, to be read beside the text.

A lesson's file begins with its maths, then come the networks, then ``run``, which trains them and
returns figures, checks and a picture (``Result``). The order of ``LESSONS`` is that of the course.
What several share is in ``data`` (images) and ``trials`` (a network from several seeds).
"""

from fastnn.experiments.lessons import (
    activations,
    augmentation,
    batchnorm,
    boundaries,
    ensembles,
    features,
    initializers,
    neuron,
    optimizers,
    rates,
    regularisation,
    search,
    sliding,
    strides,
    transfer,
    vanishing,
    windows,
    xor,
)
from fastnn.experiments.lessons.lesson import Check, ClaimError, Lesson, Result, Settings, Table

LESSONS = {
    lesson.name: lesson
    for lesson in (
        neuron.LESSON,
        search.LESSON,
        rates.LESSON,
        boundaries.LESSON,
        xor.LESSON,
        activations.LESSON,
        vanishing.LESSON,
        initializers.LESSON,
        batchnorm.LESSON,
        optimizers.LESSON,
        regularisation.LESSON,
        augmentation.LESSON,
        transfer.LESSON,
        windows.LESSON,
        strides.LESSON,
        sliding.LESSON,
        features.LESSON,
        ensembles.LESSON,
    )
}  # fmt: skip

__all__ = ["LESSONS", "Check", "ClaimError", "Lesson", "Result", "Settings", "Table"]
