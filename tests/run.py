"""Everything that must pass: `make test`. Arguments go to pytest as they are.

    python tests/run.py [--fast] [pytest arguments]

Tests run in two processes, with branch coverage of the house, of its workers and of the programs
that the tests start; doctests of ``src`` and the examples in the documents are tests like any
other. They run where there is no network but loopback, if this system allows that: so nothing here
needs one. The few that ask a server of this machine run after them, and then the calibrations,
without coverage, which makes simulations several times slower and finds no line that the others
leave out. At the end it says which tests were not run here and what they need. ``--fast`` leaves
out coverage and the calibrations, for a quick look while working.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = "2"
WITHOUT_A_NETWORK = "TESTS_WITHOUT_A_NETWORK"
"""Set where there is none but loopback."""

NOTHING_COLLECTED = 5
LONGEST_TEST_S = 180
"""A test that takes longer hangs: its stacks are shown, and its process is ended."""


def environment(coverage_data: Path | None) -> dict[str, str]:
    """What the tests run with: no settings of a house, and coverage in every Python below."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARBITER_")}
    if coverage_data is not None:
        # coverage's own .pth file then starts it in every interpreter, xdist's and ours
        kept["COVERAGE_PROCESS_START"] = str(ROOT / "pyproject.toml")
        kept["COVERAGE_FILE"] = str(coverage_data)
    return kept


def not_run(report: Path) -> list[tuple[str, str]]:
    """The tests that were skipped, each with its reason, from pytest's JUnit report."""
    if not report.exists():
        return []
    found = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it
        skipped = case.find("skipped")
        if skipped is not None and skipped.get("type") != "pytest.xfail":
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            found.append((name, skipped.get("message") or "no reason was given"))
    return found


def told(skipped: Sequence[tuple[str, str]]) -> str:
    """What was not run here and why, the same reason once.

    >>> print(told([("live::test_a", "needs an Ollama"), ("live::test_b", "needs an Ollama")]))
    2 tests were not run here:
      needs an Ollama: live::test_a, live::test_b
    """
    if not skipped:
        return "Every test was run."
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped:
        reasons.setdefault(re.sub(r"\s+", " ", reason), []).append(name)
    lines = [f"{len(skipped)} test{'s were' if len(skipped) > 1 else ' was'} not run here:"]
    lines += [f"  {reason}: {', '.join(names)}" for reason, names in sorted(reasons.items())]
    return "\n".join(lines)


def loopback_alone() -> list[str]:
    """What a command begins with that is to have no network; nothing where that is not allowed."""
    alone = [sys.executable, "-m", "tests.standins.loopback"]
    tried = [*alone, sys.executable, "-c", ""]
    return (
        []
        if subprocess.run(tried, cwd=ROOT, check=False, capture_output=True).returncode
        else alone
    )


def run_tests(
    arguments: Sequence[str],
    *,
    marked: str | None,
    report: Path,
    data: Path | None,
    alone: Sequence[str] = (),
) -> int:
    """Run pytest on the tests that are so marked, or on all, and give its exit status."""
    command = [
        *alone,
        sys.executable,
        "-m",
        "pytest",
        "-n",
        PROCESSES,
        "--dist=worksteal",
        "--max-worker-restart=0",
        f"--junitxml={report}",
        "-o",
        "junit_duration_report=call",
        "-o",
        f"faulthandler_timeout={LONGEST_TEST_S}",
        "-o",
        "faulthandler_exit_on_timeout=true",
        "--durations=8",
        "--durations-min=1",
        *(() if marked is None else ("-m", marked)),
        *arguments,
    ]
    told = {WITHOUT_A_NETWORK: "1"} if alone else {}
    env = {**environment(data), **told}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def report_coverage(data: Path) -> int:
    """Put the parts together, print what is missing; not 0 when it is too little."""
    coverage = [sys.executable, "-m", "coverage"]
    environ = {**os.environ, "COVERAGE_FILE": str(data)}
    subprocess.run([*coverage, "combine", "--quiet"], cwd=ROOT, env=environ, check=True)
    return subprocess.run([*coverage, "report"], cwd=ROOT, env=environ, check=False).returncode


def main() -> int:
    """Run everything; the exit status is 0 only when all of it is well."""
    arguments = sys.argv[1:]
    fast = "--fast" in arguments
    arguments = [one for one in arguments if one != "--fast"]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="arbiter-tests-") as folder:
        report, outside, simulated = (
            Path(folder) / f"{name}.xml" for name in ("report", "outside", "calibrations")
        )
        # part of the tests says nothing about the coverage of the whole
        data = None if fast or arguments else Path(folder) / "coverage"
        if arguments and not fast:
            status = run_tests(arguments, marked=None, report=report, data=None)
        else:
            status = run_tests(
                arguments,
                marked="not calibration and not outside",
                report=report,
                data=data,
                alone=loopback_alone(),
            )
            status = run_tests(arguments, marked="outside", report=outside, data=data) or status
        covered = report_coverage(data) if data is not None else 0
        if not fast and not arguments:
            status = run_tests((), marked="calibration", report=simulated, data=None) or status
        skipped = [*not_run(report), *not_run(outside), *not_run(simulated)]
    say = sys.stdout.write
    say(f"\n{told(skipped)}\n")
    if fast:
        say("Left out by --fast: coverage, and the tests marked calibration.\n")
    say(f"It took {time.perf_counter() - begun:.0f} s.\n")
    if status:
        why = "no test was found" if status == NOTHING_COLLECTED else "a test failed"
        say(f"Not well: {why} (pytest ended with {status}).\n")
    if covered:
        say("Not well: too little is covered.\n")
    return status or covered


if __name__ == "__main__":
    sys.exit(main())
