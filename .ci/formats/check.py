"""Holds what drillfold writes for other programs against programs of others that read it.

    check.py DRILLFOLD PROJECT

Statements of the packs: the in-toto attestation framework's own library, strictly (an unknown field is an error). JUnit XML:
junitparser. Job summary: cmark-gfm, GitHub's own Markdown. Metrics: the reference parser of OpenMetrics. First each reader is shown
damaged samples, which it has to refuse.
"""

import copy
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

import cmarkgfm
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from junitparser import JUnitXml
from junitparser.junitparser import Error, Failure
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def read_statement(text):
    """Reads a statement with its predicate; raises where either is not what the framework says it is."""
    statement = Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement()))
    statement.validate()
    if statement.pb.predicate_type != "https://in-toto.io/attestation/test-result/v0.1":
        raise ValueError("another predicate: " + statement.pb.predicate_type)
    predicate = json_format.MessageToJson(statement.pb.predicate)
    result = json_format.Parse(predicate, test_result_pb2.TestResult())
    for descriptor in result.configuration:
        ResourceDescriptor.copy_from_pb(descriptor).validate()
    if result.result not in ("PASSED", "WARNED", "FAILED"):
        raise ValueError("no such result: " + repr(result.result))
    if (result.result == "FAILED") != bool(result.failed_tests):
        raise ValueError("result and failed tests do not agree")
    return len(statement.pb.subject), len(result.passed_tests)


def refused(what, read, sample):
    try:
        read(sample)
    except Exception:
        return
    raise AssertionError("the reader takes a text with " + what)


def damaged(good):
    """Yields statements that are none."""
    for what, change in {
        "another type": lambda s: s.update(_type="https://in-toto.io/Statement/v0"),
        "no subject": lambda s: s.update(subject=[]),
        "a subject without a digest": lambda s: s["subject"][0].pop("digest"),
        "an unknown field": lambda s: s.update(extra=1),
        "an unknown field of the predicate": lambda s: s["predicate"].update(tests=[]),
        "a result that is none": lambda s: s["predicate"].update(result="GREEN"),
        "tests that are no list": lambda s: s["predicate"].update(passedTests={"a": 1}),
    }.items():
        bad = copy.deepcopy(good)
        change(bad)
        yield what, json.dumps(bad)


def check_statements(project):
    files = sorted(project.glob("evidence/phase2/*/proof/test-result.intoto.json"))
    assert len(files) == 8, files
    for what, bad in damaged(json.loads(files[0].read_text())):
        refused(what, read_statement, bad)
    for file in files:
        subjects, tests = read_statement(file.read_text())
        assert tests > 0, file
        print(f"{file.parts[-3]}: a statement over {subjects} files, {tests} tests passed")


def run(drillfold, project, out, expected):
    command = [drillfold, "--root", project, "run", "--evidence", "--junit", out / "junit.xml", "--summary", out / "summary.md"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == expected, (done.returncode, done.stdout, done.stderr)
    return JUnitXml.fromfile(str(out / "junit.xml")), cmarkgfm.github_flavored_markdown_to_html((out / "summary.md").read_text())


def cases_of(junit):
    return [case for suite in junit for case in suite]


def check_reports(drillfold, project, work):
    good = work / "good"
    good.mkdir()
    junit, html = run(drillfold, project, good, 0)
    cases = cases_of(junit)
    assert junit.tests == len(cases) > 127, (junit.tests, len(cases))
    assert (junit.failures, junit.errors) == (0, 0)
    assert all(not case.result for case in cases)
    assert html.count("<table>") == 1 and html.count("<tr>") == 9, html
    print(f"JUnit: {len(cases)} cases in {len(list(junit))} suites; the summary has a table of 8 drills")

    # A golden of another mode, a log that is not the run's, and a scenario whose fault hits nothing.
    spoilt = work / "spoilt"
    for folder in ("scenarios", "fixtures", "specs", "wal-logs", "evidence"):
        shutil.copytree(project / folder, spoilt / folder)
    golden = spoilt / "fixtures/status/market_data_stale.json"
    golden.write_text(golden.read_text().replace('"ReduceOnly"', '"Kill"'))
    log = spoilt / "wal-logs/drill_5_ws_book_gap.wal"
    log.write_bytes(log.read_bytes()[:-1])
    bad = work / "bad"
    bad.mkdir()
    junit, html = run(drillfold, spoilt, bad, 1)
    results = {case.name: result for case in cases_of(junit) for result in case.result}
    failed = results["drill_2_market_data_stale"]
    assert isinstance(failed, Failure) and "trading_mode" in failed.message, failed
    assert [name for name in results if name.endswith("drill_5_ws_book_gap.wal")], results
    assert junit.failures == len(results) and not any(isinstance(result, Error) for result in results.values())
    assert re.search(r"<strong>drill_2_market_data_stale</strong>", html) and "drill_5_ws_book_gap.wal" in html, html
    print(f"JUnit of a spoilt project: {len(results)} failures, each with its reason; the summary names them")


def read_metrics(text):
    """Reads metrics; raises where they are not as OpenMetrics has them."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def check_metrics(drillfold, project):
    drill = project / "scenarios/drill_2_market_data_stale.toml"
    command = [drillfold, "--root", project, "serve", drill, "--listen", "127.0.0.1:0", "--speed", "max", "--pause-at", "tripped"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"http://[^/]+", server.stdout.readline())[0]
            assert server.stdout.readline() == "paused at tripped\n"
            with urllib.request.urlopen(address + "/api/v1/status") as answer:
                status = json.load(answer)
            with urllib.request.urlopen(address + "/metrics") as answer:
                kind, text = answer.headers["Content-Type"], answer.read().decode()
        finally:
            server.terminate()
    assert server.returncode == 0, server.returncode
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8", kind
    for what, bad in {
        "no end": text.removesuffix("# EOF\n"),
        "a type twice": text.replace("# TYPE drillfold_up gauge\n", "# TYPE drillfold_up gauge\n" * 2),
        "a counter without its ending": text.replace("http_connections_total", "http_connections"),
        "a unit that is not in the name": text.replace("policy_age_seconds seconds", "policy_age_seconds metres"),
    }.items():
        assert bad != text, what
        refused(what, read_metrics, bad)
    families = read_metrics(text)
    held = {s.labels["mode"] for s in families["drillfold_trading_mode"].samples if s.value == 1}
    assert held == {status["trading_mode"]}, held
    held = {s.labels["reason"] for s in families["drillfold_mode_reason"].samples if s.value == 1}
    assert held == set(status["mode_reasons"]), held
    age = families["drillfold_status_policy_age_seconds"]
    assert (age.type, age.unit, age.samples[0].value) == ("gauge", "seconds", status["policy_age_sec"]), age
    assert families["drillfold_http_requests"].type == "counter"
    print(f"metrics: {len(families)} families, {sum(len(family.samples) for family in families.values())} samples")


def main():
    drillfold, project = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    check_statements(project)
    check_metrics(drillfold, project)
    with tempfile.TemporaryDirectory() as work:
        check_reports(drillfold, project, pathlib.Path(work))


if __name__ == "__main__":
    main()
