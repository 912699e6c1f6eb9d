#!/usr/bin/env python3
"""Runs the suites of `make test`, or one of the long runs, each under a budget in minutes.

    tools/suites.py test | lint | kill-rounds | power-cuts | sim-long | schemathesis-long

Suites run one after the other; all of them run even when one fails, except after a failed build. A suite that is over
its budget is killed and has failed. The output of each goes through as it comes; at the end stand a table (budget, time
used, result), the summary of every test runner that ran, and their sum as the closing line. Uses cargo-nextest when it
is installed, else cargo test. Standard library only.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Test programs that are suites of their own, and where each lies. All other tests are the suite "tests".
SIMULATION = "simulation"
END_TO_END = "two_regions"
KILL_ROUNDS = "kill_rounds"
POWER_CUTS = "power_cuts"
CLIENTS = "clients"
OWN_SUITES = [SIMULATION, END_TO_END, KILL_ROUNDS, POWER_CUTS, CLIENTS]

# Programs of OWN_SUITES that are not written yet. Their suites are reported as absent. An entry whose program exists
# is an error, so that this list empties itself.
NOT_YET = []

HEARTBEAT_SECONDS = 60
# Longer than the grace period of nextest, which ends its own tests within it.
GRACE_SECONDS = 20


@dataclass
class Suite:
    """One line of the closing table."""

    name: str
    budget_minutes: float
    command: list
    # Nothing after it makes sense when it fails.
    is_build: bool = False
    # The program of OWN_SUITES it runs, if it runs one.
    program: str = ""


@dataclass
class Outcome:
    """How a suite ended."""

    suite: Suite
    result: str
    minutes: float = 0.0
    summary: list = field(default_factory=list)

    @property
    def is_good(self):
        return self.result in ("passed", "absent")


def has_nextest():
    probe = subprocess.run(["cargo", "nextest", "--version"], capture_output=True, check=False)
    return probe.returncode == 0


def test_programs():
    """The names of all integration tests of the workspace."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    found = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    packages = json.loads(found.stdout)["packages"]
    return sorted({t["name"] for p in packages for t in p["targets"] if "test" in t["kind"]})


def running(program, profile="default"):
    """The command that runs one program of OWN_SUITES."""
    if has_nextest():
        # A long run shows what it does; a short one only what failed.
        shown = ["--no-capture"] if profile == "long" else []
        return ["cargo", "nextest", "run", "--locked", "--workspace", "--profile", profile, *shown,
                "--test", program]
    return ["cargo", "test", "--locked", "--workspace", "--test", program, "--", "--nocapture"]


def running_the_rest(programs):
    """The command that runs every test outside OWN_SUITES."""
    if has_nextest():
        # A filter may only name programs that exist.
        own = " + ".join(f"binary(={name})" for name in OWN_SUITES if name in programs)
        chosen = ["--filterset", f"not ({own})"] if own else []
        return ["cargo", "nextest", "run", "--locked", "--workspace", "--all-targets", *chosen]
    others = [name for name in programs if name not in OWN_SUITES]
    chosen = [word for name in others for word in ("--test", name)]
    return ["cargo", "test", "--locked", "--workspace", "--no-fail-fast", "--lib", "--bins", "--examples", *chosen]


def building():
    """Builds every test program once; the suites after it only run."""
    if has_nextest():
        return ["cargo", "nextest", "run", "--locked", "--workspace", "--all-targets", "--no-run"]
    return ["cargo", "test", "--locked", "--workspace", "--all-targets", "--no-run"]


def lint_suites():
    return [
        Suite("format", 1, ["cargo", "fmt", "--all", "--check"]),
        Suite("lint", 5, ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ]


def suites_of(purpose):
    """What a purpose runs. The budgets of `test` add up to 60 minutes at most."""
    if purpose == "lint":
        return lint_suites()
    if purpose == "kill-rounds":
        return [Suite("kill rounds, long", 240, running(KILL_ROUNDS, "long"), program=KILL_ROUNDS)]
    if purpose == "power-cuts":
        return [Suite("power cuts, long", 240, running(POWER_CUTS, "long"), program=POWER_CUTS)]
    if purpose == "sim-long":
        return [Suite("simulation, long", 600, running(SIMULATION, "long"), program=SIMULATION)]
    if purpose == "schemathesis-long":
        return [Suite("schemathesis, long", 240, [*running(CLIENTS, "long"), "schemathesis"], program=CLIENTS)]
    if purpose != "test":
        sys.exit(__doc__)
    return [
        *lint_suites(),
        Suite("build", 25, building(), is_build=True),
        Suite("tests", 7, running_the_rest(test_programs())),
        Suite("examples in documents", 2, ["cargo", "test", "--locked", "--workspace", "--doc"]),
        Suite("simulation", 7, running(SIMULATION), program=SIMULATION),
        Suite("end to end", 1, running(END_TO_END), program=END_TO_END),
        Suite("kill rounds", 2, running(KILL_ROUNDS), program=KILL_ROUNDS),
        Suite("power cuts", 4, running(POWER_CUTS), program=POWER_CUTS),
        Suite("clients", 6, running(CLIENTS), program=CLIENTS),
    ]


def end(child):
    """Ends a suite with everything it started: asks first, then kills what is left of its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


SUMMARY = re.compile(r"^\s*(Summary \[|test result: )")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def pass_on(child, summary):
    """Prints what the suite prints and keeps the summaries of its test runners."""
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        plain = COLOUR.sub("", line).strip()
        if SUMMARY.match(plain):
            summary.append(plain)


def run(suite):
    """Runs one suite to its end or to its budget."""
    say(f"{suite.name}: budget {suite.budget_minutes:g} minutes: {' '.join(suite.command)}")
    begun = time.monotonic()
    deadline = begun + suite.budget_minutes * 60
    child = subprocess.Popen(suite.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    summary = []
    reader = threading.Thread(target=pass_on, args=(child, summary), daemon=True)
    reader.start()
    is_late = False
    try:
        while child.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                is_late = True
                end(child)
                break
            try:
                child.wait(min(left, HEARTBEAT_SECONDS))
            except subprocess.TimeoutExpired:
                say(f"{suite.name}: {minutes_since(begun):.1f} of {suite.budget_minutes:g} minutes")
    except BaseException:
        end(child)
        raise
    reader.join(GRACE_SECONDS)
    result = "over budget" if is_late else "passed" if child.returncode == 0 else "failed"
    outcome = Outcome(suite, result, minutes_since(begun), summary)
    say(f"{suite.name}: {result} after {outcome.minutes:.1f} of {suite.budget_minutes:g} minutes")
    return outcome


def run_all(suites):
    """Runs the suites in order; after a failed build the rest is not run."""
    existing = test_programs()
    outcomes = []
    for suite in suites:
        if any(o.suite.is_build and not o.is_good for o in outcomes):
            outcomes.append(Outcome(suite, "not run"))
        elif suite.program in NOT_YET and suite.program not in existing:
            outcomes.append(Outcome(suite, "absent"))
        elif suite.program in NOT_YET:
            outcomes.append(Outcome(suite, "exists, but stands in NOT_YET"))
        else:
            outcomes.append(run(suite))
    return outcomes


def counts(lines):
    """Adds up the summaries of nextest and of cargo test. What nextest calls skipped is only what another suite runs."""
    total = {"passed": 0, "failed": 0, "skipped": 0}
    words = {"passed": "passed", "failed": "failed", "timed out": "failed", "exec failed": "failed",
             "ignored": "skipped"}
    for line in lines:
        for number, word in re.findall(r"(\d+) (passed|failed|timed out|exec failed|ignored)", line):
            total[words[word]] += int(number)
    return total


def report(outcomes):
    """Prints the closing table and summaries; true when everything is good."""
    print()
    print(f"{'suite':<24}{'budget':>10}{'used':>10}  result")
    for outcome in outcomes:
        budget, used = f"{outcome.suite.budget_minutes:g} min", f"{outcome.minutes:.1f} min"
        print(f"{outcome.suite.name:<24}{budget:>10}{used:>10}  {outcome.result}")
    lines = [line for outcome in outcomes for line in outcome.summary]
    print()
    print("\n".join(lines))
    total = counts(lines)
    is_good = all(outcome.is_good for outcome in outcomes)
    has_bad_suite_without_tests = not is_good and total["failed"] == 0
    if has_bad_suite_without_tests:
        total["failed"] = sum(not outcome.is_good for outcome in outcomes)
        print("failed below counts suites: no single test failed")
    if lines or not is_good:
        print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    sys.stdout.flush()
    return is_good


def say(text):
    print(f"== {text}", flush=True)


def minutes_since(begun):
    return (time.monotonic() - begun) / 60


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if shutil.which("cargo") is None:
        sys.exit("cargo is not on the path")
    # Whoever ends us ends the suite too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    suites = suites_of(sys.argv[1])
    say(f"{sys.argv[1]}: {len(suites)} suites, {sum(s.budget_minutes for s in suites):g} minutes at most")
    sys.exit(0 if report(run_all(suites)) else 1)


if __name__ == "__main__":
    main()
