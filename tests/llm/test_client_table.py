"""The page of clients is what its reports make of it."""

import json

from .client_table import PAGE, REPORTS, Report, page


def test_the_page_is_made_of_the_reports():
    assert PAGE.read_text("utf-8") == page(), "make it anew with: make client-table"


def test_each_report_is_kept_where_its_client_looks_for_it():
    for path in REPORTS.glob("*.json"):
        assert Report(**json.loads(path.read_text("utf-8"))).file == path
