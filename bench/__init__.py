"""Benchmarks: every op and whole training steps by backend (pytest), and peers (``bench.peers``).

See README.md in this folder.
"""
