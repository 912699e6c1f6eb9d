#!/usr/bin/env python3
"""Measures Antipode and its peers on the same disks in one run, in turn, and prints the medians and ratios.

    bench/compare.py --antipode BINARY --data DIRECTORY --peers DIRECTORY --work DIRECTORY
                     [--rounds 5] [--only NAME …] [--output FILE]

DIRECTORY of --data was made by bench/dataset.sh, that of --peers by bench/peers.sh. Each round gives every program a
fresh repository: full backup of both disks, backup of generation 2 and of generation 3 (whole read), restore of the
system disk from the last backup. Antipode also: the same without opening chunks before they are stored, generation 3
with changed extents known, and once more with nothing changed. Before each step its disks are read
into the page cache, and everything dirty is synced. Peers are whole processes and do not sync what they wrote;
Antipode's time runs from the API call until `available`, synced. Stored bytes are the lengths of all files of the
repository, metadata included.
Standard library only.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from region import Region, folder_bytes

DISKS = ["system", "data"]
MIB = 1 << 20
PASSWORD = "a password for measurements only"


class Places:
    """Where a run keeps its files."""

    def __init__(self, arguments):
        self.data = pathlib.Path(arguments.data).resolve()
        self.work = pathlib.Path(arguments.work).resolve()
        self.peers = pathlib.Path(arguments.peers).resolve()
        self.sources = self.work / "sources"
        self.targets = self.work / "targets"

    def show(self, generation):
        """Puts a generation where the programs look for the disks, and its data into the page cache."""
        self.sources.mkdir(parents=True, exist_ok=True)
        for disk in DISKS:
            path = self.sources / f"{disk}.raw"
            path.unlink(missing_ok=True)
            os.link(self.data / str(generation) / f"{disk}.raw", path)
            with open(path, "rb", buffering=0) as file:
                read_data(file.fileno())

    def fresh(self, name):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


class Peer:
    """A peer: commands as lists, run with its environment. `{repo}`, `{sources}`, `{out}`, `{aux}` are filled in."""

    def __init__(self, name, program, environment, init, backup, restore):
        self.name, self.program, self.environment = name, program, environment
        self.init, self.backup, self.restore = init, backup, restore

    def run(self, command, values):
        filled = [str(word).format(**values) for word in command]
        environment = {**os.environ, **{key: text.format(**values) for key, text in self.environment.items()}}
        os.sync()
        start = time.perf_counter()
        with open(values["log"], "ab") as log:
            process = subprocess.Popen(filled, stdout=log, stderr=log, env=environment, cwd=values["sources"])
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status != 0:
            raise RuntimeError(f"{self.name}: {' '.join(filled)} failed, see {values['log']}")
        return seconds, usage.ru_maxrss / 1024

    def measure(self, places):
        folder = places.fresh("peer-" + self.name.replace(" ", "-"))
        values = {"repo": folder / "repo", "sources": places.sources, "out": folder / "out", "aux": folder / "aux",
                  "log": folder / "log", "number": 0}
        for made in ("out", "aux"):
            (folder / made).mkdir()
        if self.init:
            for command in self.init:
                self.run(command, values)
        figures, before = {}, 0
        for generation, step in ((1, "full"), (2, "incremental"), (3, "incremental again")):
            places.show(generation)
            values["number"] = generation
            figures[step], figures[f"{step} MiB of memory"] = self.run(self.backup, values)
            stored = folder_bytes(values["repo"])
            figures[f"{step} MiB stored"], before = (stored - before) / MIB, stored
        seconds, memory = self.run(self.restore, values)
        figures["restore"], figures["restore MiB of memory"] = seconds, memory
        check_restored(next(folder.joinpath("out").rglob("*system.raw*")), places)
        shutil.rmtree(folder)
        return figures


def check_restored(path, places):
    """A restore that is not the disk is no figure."""
    same = subprocess.run(["cmp", "--quiet", path, places.data / "3" / "system.raw"], check=False).returncode == 0
    if not same:
        raise RuntimeError(f"{path} is not the disk that was backed up")


def peers(places):
    """Every peer that is there, at its defaults and tuned for disk images."""
    found = []

    def add(name, program, *rest):
        if program and pathlib.Path(program).exists():
            found.append(Peer(name, program, *rest))

    unpacked = places.peers / "bin" / "restic"
    restic = unpacked if unpacked.exists() else shutil.which("restic")
    restic_environment = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": "{repo}", "RESTIC_CACHE_DIR": "{aux}"}
    restore = ["restore", "latest", "--target", "{out}", "--include", "{sources}/system.raw"]
    add("restic", restic, restic_environment, [[restic, "init"]], [restic, "backup", "{sources}"], [restic, *restore])
    add("restic tuned", restic, restic_environment, [[restic, "init"]],
        [restic, "--pack-size", "64", "backup", "{sources}"], [restic, *restore])

    rustic = places.peers / "bin" / "rustic"
    rustic_environment = {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_REPOSITORY": "{repo}", "RUSTIC_CACHE_DIR": "{aux}"}
    out = [rustic, "restore", "latest:{sources}/system.raw", "{out}/system.raw"]
    add("rustic", rustic, rustic_environment, [[rustic, "init"]], [rustic, "backup", "{sources}"], out)
    tuned = [rustic, "init", "--set-chunker", "fixed_size", "--set-chunk-size", "64KiB"]
    add("rustic tuned", rustic, rustic_environment, [tuned], [rustic, "backup", "{sources}"], out)

    bupstash = places.peers / "bin" / "bupstash"
    bupstash_environment = {"BUPSTASH_REPOSITORY": "{repo}", "BUPSTASH_KEY": "{aux}/key", "BUPSTASH_SEND_LOG": "{aux}/log",
                            "BUPSTASH_QUERY_CACHE": "{aux}/query"}
    prepare = [[bupstash, "new-key", "-o", "{aux}/key"], [bupstash, "init"]]
    get = ["sh", "-c", f"{bupstash} get 'name=g3' | tar -x -O -f - system.raw > {{out}}/system.raw"]
    put = [bupstash, "put", "name=g{number}", "{sources}"]
    add("bupstash", bupstash, bupstash_environment, prepare, put, get)
    light = [bupstash, "put", "--compression", "zstd:1", "name=g{number}", "{sources}"]
    add("bupstash tuned", bupstash, bupstash_environment, prepare, light, get)

    borg = places.peers / "borg" / "bin" / "borg"
    if borg.exists():
        is_two = subprocess.run([borg, "--version"], capture_output=True, check=True).stdout.split()[1].startswith(b"2")
        environment = {"BORG_PASSPHRASE": PASSWORD, "BORG_REPO": "{repo}", "BORG_BASE_DIR": "{aux}",
                       "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        init = [[borg, "repo-create", "-e", "repokey-aes-ocb"]] if is_two else [
            [borg, "init", "-e", "repokey-blake2"]]
        archive = "g{number}" if is_two else "::g{number}"
        get = ["sh", "-c", f"cd {{out}} && {borg} extract --sparse {archive} 're:system.raw'"]
        for name, extra in (("borg", []), ("borg tuned", ["--chunker-params", "fixed,65536", "-C", "zstd,1"])):
            add(name, borg, environment, init, [borg, "create", *extra, archive, "{sources}"], get)
    return found


def read_extents(places, generation):
    def read(disk):
        lines = (places.data / str(generation) / f"{disk}.extents").read_text(encoding="utf-8").splitlines()
        return [tuple(int(word) for word in line.split()) for line in lines]

    return {disk: read(disk) for disk in DISKS}


def antipode(places, binary, opens_before_storing=True):
    """One fresh region through all steps."""
    folder = places.fresh("antipode")
    shutil.rmtree(places.targets, ignore_errors=True)
    places.targets.mkdir(parents=True)
    subprocess.run(["truncate", "--size", "4096M", places.targets / "system.raw"], check=True)
    places.show(1)
    region = Region(binary, folder / "run", places.sources, places.targets, DISKS, opens_before_storing)
    try:
        return measure_region(places, region)
    finally:
        region.stop()
        shutil.rmtree(folder)


def measure_region(places, region):
    figures, before = {}, folder_bytes(region.store)

    def step(name, generation, changes=None):
        nonlocal before
        places.show(generation)
        os.sync()
        region.peak_mib()
        cpu = region.cpu_seconds()
        item, figures[name] = region.back_up(changes)
        figures[f"{name} s of processor"] = region.cpu_seconds() - cpu
        figures[f"{name} MiB of memory"] = region.peak_mib()
        stored = folder_bytes(region.store)
        figures[f"{name} MiB stored"], before = (stored - before) / MIB, stored
        return item

    step("full", 1)
    second = step("incremental", 2)
    third = step("changed extents known", 3, (second, read_extents(places, 3)))
    third = step("nothing changed", 3, (third, {disk: [] for disk in DISKS}))
    # Restores are of whole servers: one with the system disk alone. All that it holds is stored already.
    alone = places.targets / "alone"
    alone.mkdir()
    os.link(places.data / "3" / "system.raw", alone / "system.raw")
    system, _ = region.back_up(server=region.add_server("alone", alone, DISKS[:1]))
    os.sync()
    cpu = region.cpu_seconds()
    region.peak_mib()
    figures["restore"] = region.restore(system)
    figures["restore s of processor"] = region.cpu_seconds() - cpu
    figures["restore MiB of memory"] = region.peak_mib()
    check_restored(places.targets / "system.raw", places)
    figures["listing"] = region.list_items(limit=50)
    return figures


def read_data(file):
    """Reads all that is no hole: where memory is reclaimed early, it would not be cached any more."""
    at = 0
    while True:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(file, at, os.SEEK_HOLE)
        while at < end:
            at += len(os.pread(file, min(16 * MIB, end - at), at))


def table(medians, rounds):
    steps = ["full", "incremental", "incremental again", "changed extents known", "nothing changed", "restore"]
    lines = [f"Medians of {rounds} rounds.", "", "| program | " + " | ".join(f"{step}, s" for step in steps) +
             " | stored, MiB | added, MiB | most memory, MiB |", "|---" * (len(steps) + 4) + "|"]
    for name, figures in medians.items():
        cells = [f"{figures[step]:.3f}" if step in figures else "" for step in steps]
        memory = max(value for key, value in figures.items() if key.endswith("MiB of memory"))
        cells += [f"{figures['full MiB stored']:.0f}", f"{figures['incremental MiB stored']:.1f}", f"{memory:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines + ["", *goals(medians)]


def goals(medians):
    """The goals of the issue as ratios."""
    ours = medians.get("antipode")
    others = {name: figures for name, figures in medians.items() if not name.startswith("antipode")}
    if not ours or not others:
        return []
    at_defaults = {name: figures for name, figures in others.items() if not name.endswith("tuned")}
    lines = ["| goal | at least | measured, defaults | measured, tuned too |", "|---|---|---|---|"]

    def ratio(figures, step, value):
        fastest = min(figures, key=lambda name: figures[name][step])
        return f"{figures[fastest][step] / value:.2f} × ({fastest})"

    def add(goal, least, step, value):
        lines.append(f"| {goal} | {least} | {ratio(at_defaults, step, value)} | {ratio(others, step, value)} |")

    add("full, every chunk opened again", "2.3 ×", "full", ours["full"])
    if "antipode, not opened again" in medians:
        add("full, not opened again", "2.8 ×", "full", medians["antipode, not opened again"]["full"])
    add("incremental, whole read", "7 ×", "incremental", ours["incremental"])
    if "restic" in others:
        value = others["restic"]["incremental again"] / ours["changed extents known"]
        lines.append(f"| changed extents known, against restic | 15 × | {value:.1f} × | |")
    lines.append(f"| nothing changed | 20 ms | {ours['nothing changed'] * 1000:.1f} ms | |")
    add("restore", "2.4 ×", "restore", ours["restore"])
    for goal, most, step in (("stored", 1.12, "full"), ("added by a generation", 0.32, "incremental")):
        best = min(at_defaults, key=lambda name: at_defaults[name][f"{step} MiB stored"])
        value = ours[f"{step} MiB stored"] / at_defaults[best][f"{step} MiB stored"]
        lines.append(f"| {goal}, of the best peer | ≤ {most} × | {value:.3f} × ({best}) | |")
    return lines


def take_rounds(programs, rounds, count):
    """Measures every program in turn, each round beginning with another one; one that fails is left out from then on."""
    for number in range(count):
        in_turn = list(programs.items())
        first = number % max(len(in_turn), 1)
        for name, run in in_turn[first:] + in_turn[:first]:
            try:
                figures = run()
            except (RuntimeError, StopIteration, subprocess.CalledProcessError) as failure:
                print(f"{name} is left out: {failure}", file=sys.stderr)
                del programs[name], rounds[name]
                continue
            rounds[name].append(figures)
            short = ", ".join(f"{step} {value:.3f}" for step, value in figures.items() if "MiB" not in step)
            print(f"round {number + 1}, {name}: {short}", file=sys.stderr, flush=True)


def parser_of(description):
    """The arguments of every comparison with peers."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("antipode", "data", "peers", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of programs to measure")
    parser.add_argument("--output", help="keeps every single figure as JSON")
    return parser


def measure_all(programs, arguments):
    """The rounds of every program that was asked for, and their medians; what there is when it is stopped early."""
    if arguments.only:
        programs = {name: run for name, run in programs.items() if name in arguments.only}
    rounds = {name: [] for name in programs}
    try:
        take_rounds(programs, rounds, arguments.rounds)
    except KeyboardInterrupt:
        print("stopped early", file=sys.stderr)
    medians = {name: {step: statistics.median(figures[step] for figures in taken) for step in taken[0]}
               for name, taken in rounds.items() if taken}
    return rounds, medians


def keep(arguments, **figures):
    """Writes figures where they were asked for, with the load of the machine."""
    if arguments.output:
        text = json.dumps({**figures, "load": os.getloadavg()}, indent=1)
        pathlib.Path(arguments.output).write_text(text, encoding="utf-8")


def round_count(rounds):
    return max((len(taken) for taken in rounds.values()), default=0)


def main():
    arguments = parser_of(__doc__).parse_args()
    places = Places(arguments)
    binary = str(pathlib.Path(arguments.antipode).resolve())
    programs = {"antipode": lambda: antipode(places, binary),
                "antipode, not opened again": lambda: antipode(places, binary, opens_before_storing=False)}
    programs.update({peer.name: (lambda peer=peer: peer.measure(places)) for peer in peers(places)})
    rounds, medians = measure_all(programs, arguments)
    keep(arguments, rounds=rounds, medians=medians)
    print("\n".join(table(medians, round_count(rounds))))


if __name__ == "__main__":
    main()
