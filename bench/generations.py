#!/usr/bin/env python3
"""Measures whether a vault grows slow with age: backup, restore and listing of generation 1,000 against generation 2.

    bench/generations.py --antipode BINARY --work DIRECTORY [--generations 1000] [--output FILE]

One disk of 1 GiB, 256 MiB of it pages that compress to a half. Each generation writes 64 pages of 4 KiB anew, most of
them in a twentieth of the disk, and is backed up by reading the whole disk. The first figure is the median of generations
2 to 16, the last that of the fifteen last ones; each of these is restored as well, whole, and compared, and a page of two
items is listed. Standard library only.
"""

import argparse
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys

from region import Region, folder_bytes

PAGE = 4096
WRITTEN_PAGES = 65536
DISK_BYTES = 1 << 30
CHANGED_PAGES = 64
SAMPLES = 15
MIB = 1 << 20


def page(numbers):
    return numbers.randbytes(PAGE // 2) + bytes([numbers.randrange(256)]) * (PAGE // 2)


def make_disk(path, numbers):
    with open(path, "wb") as disk:
        for _ in range(WRITTEN_PAGES):
            disk.write(page(numbers))
        disk.truncate(DISK_BYTES)


def change_disk(path, numbers):
    with open(path, "r+b") as disk:
        for _ in range(CHANGED_PAGES):
            spread = WRITTEN_PAGES if numbers.random() < 0.2 else WRITTEN_PAGES // 20
            disk.seek(numbers.randrange(spread) * PAGE)
            disk.write(page(numbers))


def measure(region, source, target, numbers, generations):
    steps = ("backup", "restore", "listing")
    young, old = ({step: [] for step in steps} for _ in range(2))
    region.back_up()
    for generation in range(2, generations + 1):
        change_disk(source, numbers)
        item, seconds = region.back_up()
        for figures, is_sample in ((young, generation < 2 + SAMPLES), (old, generation > generations - SAMPLES)):
            if is_sample:
                figures["backup"].append(seconds)
                figures["restore"].append(region.restore(item))
                subprocess.run(["cmp", source, target], check=True)
                figures["listing"].append(region.list_items(limit=2))
        if generation % 100 == 0:
            print(f"generation {generation}: {seconds:.3f} s, {folder_bytes(region.store) / MIB:.0f} MiB stored, "
                  f"{region.peak_mib():.0f} MiB of memory", file=sys.stderr, flush=True)
    return young, old


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--antipode", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--output", help="keeps every single figure as JSON")
    arguments = parser.parse_args()
    work = pathlib.Path(arguments.work).resolve() / "generations"
    shutil.rmtree(work, ignore_errors=True)
    places = {name: work / name for name in ("sources", "targets")}
    for folder in places.values():
        folder.mkdir(parents=True)
    source, target = (places[name] / "disk.raw" for name in ("sources", "targets"))
    numbers = random.Random(3)
    make_disk(source, numbers)
    with open(target, "wb") as disk:
        disk.truncate(DISK_BYTES)
    region = Region(str(pathlib.Path(arguments.antipode).resolve()), work / "run", places["sources"],
                    places["targets"], ["disk"])
    try:
        young, old = measure(region, source, target, numbers, arguments.generations)
    finally:
        region.stop()
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps({"young": young, "old": old}, indent=1), encoding="utf-8")
    print(f"| step | generations 2 to {1 + SAMPLES}, ms | the last {SAMPLES} of {arguments.generations}, ms | ratio |")
    print("|---|---|---|---|")
    for step in young:
        first, last = (statistics.median(figures[step]) for figures in (young, old))
        print(f"| {step} | {first * 1000:.1f} | {last * 1000:.1f} | {last / first:.2f} |")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
