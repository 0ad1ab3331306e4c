"""The ledger as a page: its answers are those of the rows, and what is missing leaves no hole."""

from __future__ import annotations

import json

import pytest
from ledgers import ledger
from test_page import parsed

from fastnn.charts import number
from fastnn.experiments.ledger_page import ledger_page


def test_a_ledger():
    data = ledger()
    page = ledger_page(json.loads(json.dumps(data)))
    shown = parsed(page)
    html = page.render()
    assert shown.seen.count("figure") == 7 + 4  # the second network has no curves
    assert shown.seen.count("tr") == len(data["rows"]) + 2 + 1 + 10
    adam, sgd = (
        next(r for r in data["rows"] if (r["backend"], r["optimizer"]) == ("cython", name))
        for name in ("Adam", "SGD")
    )
    answer = next(text for text in shown.texts if text.startswith("digits: "))
    assert f"takes {number(adam['ratio_to_sgd'])} times as long as one with SGD" in answer
    assert "16 bytes per parameter in place of 8, and 12 with bfloat16" in answer
    assert f"{adam['accuracy_at_equal_seconds']:.1%} of the test set right, SGD" in answer
    assert f"{sgd['accuracy_at_equal_seconds']:.1%}." in answer
    for text in ("an invented CPU", "fastnn 0.0, PyTorch 0.0", "fastnn compare --html x"):
        assert text in html
    assert len(html) < 200_000
    assert html.count(">final loss<") == 1, "a column without figures"


def test_a_ledger_without_the_optional_figures():
    data = ledger()
    optional = ("peak_bytes", "moved_bytes", "flops", "gb_per_s", "percent_of_limit", "final_loss",
                "accuracy", "accuracy_at_equal_seconds")  # fmt: skip
    for row in data["rows"]:
        row.update(dict.fromkeys(optional), loss=[])
    data["limits"] = dict.fromkeys(data["limits"])
    shown = parsed(ledger_page(data))
    assert shown.seen.count("figure") == 2 * 2
    data["rows"] = [row for row in data["rows"] if row["optimizer"] != "SGD"]
    assert not any("as long as one with" in text for text in parsed(ledger_page(data)).texts)
    data["rows"] = []
    assert parsed(ledger_page(data)).seen.count("figure") == 0


def test_a_ledger_without_a_key():
    data = ledger()
    del data["rows"][3]["flops"]
    with pytest.raises(ValueError, match=r"row 3 must have .*; missing: \['flops'\]"):
        ledger_page(data)
    with pytest.raises(ValueError, match=r"the ledger must have .*; missing: \['rows'\]"):
        ledger_page({k: v for k, v in data.items() if k != "rows"})
