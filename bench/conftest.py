"""Plain ``pytest`` runs every bench once, as a test; ``--benchmark-only`` times them."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    # Not in addopts: --benchmark-disable there contradicts --benchmark-only on the command line.
    if not (option.benchmark_only or option.benchmark_enable):
        option.benchmark_disable = True
    if not any(str(a).startswith("--benchmark-columns") for a in config.invocation_params.args):
        option.benchmark_columns = ["min", "median", "stddev", "rounds"]
