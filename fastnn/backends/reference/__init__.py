"""The reference backend: every op in NumPy, as the textbook writes it.

These functions define the ops. Their signatures are the contract of all backends, their
text is the documentation, and the fast backends are tested against them.

All kernels are strict: arrays are C-contiguous, of one dtype (float32 or float64), of
matching shapes, and outputs are given. Nothing is checked here; ``fastnn.functional`` is
the door for people.
"""
