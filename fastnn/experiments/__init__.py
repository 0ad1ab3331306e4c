"""Experiments: plain functions that train and measure, and return figures as data.

One file per experiment. Printing them is the command line's business (``fastnn.cli``).
"""
