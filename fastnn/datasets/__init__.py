"""Data: the built-in digits, tables from CSV files, and splitting off a test set."""

from fastnn.datasets.digits import load_digits
from fastnn.datasets.prepare import split, standardise
from fastnn.datasets.tables import Table, read_csv

__all__ = ["Table", "load_digits", "read_csv", "split", "standardise"]
