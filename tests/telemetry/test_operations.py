"""The page for operators, the dashboard and the alerts name what there is: metrics, labels, fields."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dual_mode_streaming import Outcome
from dual_mode_streaming.telemetry import PrometheusMetrics
from dual_mode_streaming.telemetry.table import ALL, Kind

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operations.md").read_text("utf-8")
DASHBOARD = json.loads((DOCS / "grafana" / "dual-mode-streaming.json").read_text("utf-8"))

LABELS = {metric.prometheus: {label.replace(".", "_") for label in metric.labels} for metric in ALL}
OF_PROMETHEUS = {"job", "instance", "le"}
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}


def exposed():
    """The metric behind each name of a series, as our text exposes it."""
    kinds = {metric.prometheus: metric.kind for metric in ALL}
    text = generate_latest(PrometheusMetrics().registry).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families == set(kinds)
    return {name + suffix: name for name in families for suffix in SUFFIXES[kinds[name]]}


def rules():
    block = next(block for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) if block.startswith("groups:"))
    (group,) = yaml.safe_load(block)["groups"]
    return group["rules"]


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


EXPRESSIONS = {
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]},
    **{rule["alert"]: rule["expr"] for rule in rules()},
    **{
        variable["name"]: variable["query"]
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    },
}


def check(expression):
    """Refuse an expression that names what is not exposed, or whose brackets do not match."""
    known = exposed()
    bare = re.sub(r'"[^"]*"', '""', expression)
    for opening, closing in ("()", "{}", "[]"):
        assert bare.count(opening) == bare.count(closing)
    without_labels = re.sub(r"{[^}]*}|\b(?:by|on|without|ignoring) \([^)]*\)|, \w+\)$", "", bare)
    series = set(re.findall(r"\b(?:dual_mode|gen_ai)_\w+", without_labels))
    unknown = series - set(known)
    assert series, "it names no metric"
    assert not unknown, f"not exposed: {unknown}"
    labels = set().union(*(LABELS[known[name]] for name in series)) | OF_PROMETHEUS
    used = {
        label.strip()
        for group in re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", bare)
        for label in group.split(",")
    } | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", bare))
    if expression.startswith("label_values"):
        used.add(re.search(r", (\w+)\)$", expression)[1])
    assert used <= labels, f"not labels of these metrics: {used - labels}"


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_what_is_exposed(name):
    check(EXPRESSIONS[name])


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(dual_mode_response_closed)",
        "rate(dual_mode_response_items[1m])",
        "sum by (route) (dual_mode_response_open)",
        'dual_mode_response_open{outcome="done"}',
        "sum(dual_mode_response_open",
        "up",
    ],
)
def test_the_check_knows_what_is_wrong(wrong):
    with pytest.raises(AssertionError):
        check(wrong)


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    # What was opened shows in the list of routes, and its sum in what has ended.
    assert [name for name in LABELS if name not in shown] == ["dual_mode_response_opened"]


def test_the_dashboard_holds_together():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["legendFormat"] for target in panel["targets"])
        for target in panel["targets"]:
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
            assert labels <= {label.strip() for label in (kept[1] if kept else "").split(",")}, panel["title"]
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) <= variables | {"__rate_interval"}


def test_the_alerts_are_complete():
    assert len(rules()) >= 8
    for rule in rules():
        assert set(rule) - {"for"} == {"alert", "expr", "annotations"}
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule["alert"]


def rows(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"]


def test_the_page_lists_every_metric_with_its_labels():
    listed = {row[0].strip("`"): row[1] for row in rows("What to watch")}
    total = {metric.prometheus + ("_total" if metric.kind is Kind.COUNTER else ""): metric for metric in ALL}
    assert set(listed) == set(total)
    short = {"error.type": "error", "gen_ai.operation.name": "operation", "gen_ai.request.model": "model"}
    for name, metric in total.items():
        labels = [short.get(label, label.rpartition(".")[2]) for label in metric.labels]
        assert listed[name] == ", ".join(labels), name


def test_the_page_says_what_every_outcome_means():
    listed = {name.strip(" `") for row in rows("How to read it") for name in row[0].split(",")}
    assert listed == {outcome.value for outcome in Outcome}
