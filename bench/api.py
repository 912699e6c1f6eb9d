#!/usr/bin/env python3
"""Measures the API of a region whose project holds 100,000 backups.

    bench/api.py --antipode BINARY --fill BINARY --work DIRECTORY [--items 100000] [--rounds 3] [--only TEXT | --orders-only] [--output FILE]

`antipode serve` runs over a catalog that `fill` (an example of the crate `catalog`) filled: 20 policies, 500 servers,
tags on a quarter of the items, replication records on a tenth. Each list, count and page is asked for by one client and
by eight at once; the time runs until the whole answer was read. Then one policy with as many items, none replicated, is
replicated to another region: each call takes as many as one answer holds, while one client goes on listing. The other
region was paired and is stopped by then, so nothing is copied. Standard library only.
"""

import argparse
import json
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

from load import Connection, ask, percentile
from region import PROVIDER, Region

POLICIES, SERVERS = 20, 500
CLIENTS = 8


def questions(project, first, middle, end):
    """Name and path of everything that is asked; `first`, `middle`, `end` are items of the default order."""
    items = f"/v1/{project}/checkpoint_items"
    filters = {
        "status, 99 % of all": "status=available", "status, 1 % of all": "status=error",
        "two statuses": "status=available&status=error",
        "resource_id": "resource_id=" + urllib.parse.quote(middle["resource_id"]),
        "resource_type": "resource_type=OS::Nova::Server",
        "policy_id": "policy_id=" + middle["policy_id"], "checkpoint_id": "checkpoint_id=" + middle["checkpoint_id"],
        "az": "az=az1", "ip": "ip=192.0.2.1", "name, all": "name=autobk", "name, one in 65,536": "name=k_12ab",
        "name, none": "name=nobody", "resource_name, one in 5": "resource_name=DB-", "resource_name, one": "resource_name=db-0016",
        "time window, a tenth": f"start_time={middle['created_at']}&end_time={middle['later']}",
        "image_type": "image_type=backup", "image_type, none": "image_type=replication",
        "status and server": "status=available&resource_id=" + urllib.parse.quote(middle["resource_id"]),
        "policy and name": f"policy_id={middle['policy_id']}&name=bk_1",
    }
    yield "first page of 10", f"{items}?limit=10"
    yield "first page of 100", f"{items}?limit=100"
    for word, item in (("middle", middle), ("end", end)):
        for limit in (10, 100):
            yield f"marker in the {word}, {limit}", f"{items}?limit={limit}&marker={item['id']}"
            yield f"offset in the {word}, {limit}", f"{items}?limit={limit}&offset={item['offset']}"
    for key in ("created_at", "updated_at", "name", "status", "protected_at", "id"):
        for direction in ("asc", "desc"):
            yield f"sort by {key} {direction}, 10", f"{items}?limit=10&sort={key}:{direction}"
        yield f"sort by {key}, marker in the middle, 10", f"{items}?limit=10&sort={key}:asc&marker={middle['id']}"
        yield f"sort by {key}, offset in the middle, 100", f"{items}?limit=100&sort={key}:asc&offset={middle['offset']}"
    yield "sort by two keys, marker, 10", f"{items}?limit=10&sort=status:asc,created_at:desc&marker={middle['id']}"
    yield "count", f"{items}/count"
    for name, query in filters.items():
        yield f"list by {name}, 10", f"{items}?limit=10&{query}"
        yield f"count by {name}", f"{items}/count?{query}"
    yield "one item", f"{items}/{first['id']}"
    yield "records, 10", f"/v1/{project}/replication_records?limit=10"
    yield "records by status, 10", f"/v1/{project}/replication_records?limit=10&status=success"
    yield "policies", f"/v1/{project}/policies"
    yield "the default page, 1,000", items


def sample_items(region, count):
    """The first, a middle and a late item of the default order, with what filters need of them."""
    found = []
    for offset in (0, count // 2, count - 200):
        path = f"/v1/{region.project}/checkpoint_items?limit=1&offset={offset}"
        [item] = region.call("GET", path)["checkpoint_items"]
        found.append({"id": item["id"], "offset": offset, "resource_id": item["resource_id"],
                      "checkpoint_id": item["checkpoint_id"], "created_at": item["created_at"]})
    later = f"/v1/{region.project}/checkpoint_items?limit=1&offset={count * 4 // 10}"
    found[1]["later"] = region.call("GET", later)["checkpoint_items"][0]["created_at"]
    for item in found:
        connection = sqlite3.connect(region.folder / "region" / "data" / "catalog.db")
        [item["policy_id"]] = connection.execute(
            "SELECT policy_id FROM checkpoint_items WHERE id = ?", (item["id"],)).fetchone()
        connection.close()
    return found


def measure_lists(region, count, rounds, only):
    figures = {}
    asked = [(name, path) for name, path in questions(region.project, *sample_items(region, count)) if only in name]
    for _ in range(rounds):
        for name, path in asked:
            ask(region.port, region.token, path, count=3)
            alone, length = ask(region.port, region.token, path, count=200)
            together, _ = ask(region.port, region.token, path, clients=CLIENTS, count=60)
            figures.setdefault(name, {"bytes": length, "alone": [], "together": []})
            figures[name]["alone"].append(alone)
            figures[name]["together"].append(together)
        print(f"a round of {len(asked)} questions is over", file=sys.stderr, flush=True)
    return figures


def of_rounds(samples, share):
    """The median over the rounds of a percentile, in milliseconds."""
    return statistics.median(percentile(waits, share) for waits in samples) * 1000


def print_lists(figures):
    print(f"| question | bytes | alone: median, ms | p99, ms | {CLIENTS} at once: median, ms | p99, ms |")
    print("|---|---|---|---|---|---|")
    for name, figure in figures.items():
        cells = [of_rounds(figure[way], share) for way in ("alone", "together") for share in (0.5, 0.99)]
        print(f"| {name} | {figure['bytes']:,} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")


class Watcher(threading.Thread):
    """A client that lists ten items again and again until it is told to end."""

    def __init__(self, region):
        super().__init__()
        self.connection, self.waits, self.is_over = Connection(region.port, region.token), [], False
        self.path = f"/v1/{region.project}/checkpoint_items?limit=10"

    def run(self):
        while not self.is_over:
            self.waits.append(self.connection.get(self.path)[0])

    def end(self):
        self.is_over = True
        self.join()
        return self.waits


def measure_replication(region, far, count):
    """Replicates a policy of `count` items until an answer is empty; the seconds of each call and what was listed."""
    policy = region.call("GET", f"/v1/{region.project}/policies?name=filled-0")["policies"][0]["id"]
    body = {"replication": {"policy_id": policy, "destination_region": "far", "destination_project_id": far}}
    path = f"/v1/{region.project}/providers/{PROVIDER}/checkpoints/replicate"
    calm = Watcher(region)
    calm.start()
    time.sleep(2)
    calm = calm.end()
    calls, seen = [], set()
    while True:
        watcher = Watcher(region)
        watcher.start()
        begun = time.perf_counter()
        status, headers, content = region.call("POST", path, body, raw=True)
        seconds = time.perf_counter() - begun
        waits = watcher.end()
        if status != 200:
            raise RuntimeError(content)
        listed = [row["checkpoint_item_id"] for row in json.loads(content)["replication"]["checkpoint_items"]]
        if seen & set(listed):
            raise RuntimeError("an item was listed twice")
        seen.update(listed)
        calls.append({"seconds": seconds, "items": len(listed), "bytes": len(content), "waits": waits,
                      "left_out": headers.get("X-Antipode-Left-Out", "")})
        print(f"{len(listed)} items in {seconds:.3f} s", file=sys.stderr, flush=True)
        if not listed:
            break
    if len(seen) != count - (count + 99) // 100:
        raise RuntimeError(f"{len(seen)} items were listed in all")
    return {"calm": calm, "calls": calls, "peak_mib": region.peak_mib()}


def print_replication(figure):
    calm = figure["calm"]
    print(f"\nA list of ten beside nothing: median {percentile(calm, 0.5) * 1000:.1f} ms, p99 {percentile(calm, 0.99) * 1000:.1f} ms.\n")
    print("| call | items | bytes | seconds | list of ten meanwhile: median, ms | p99, ms | longest, ms | left out |")
    print("|---|---|---|---|---|---|---|---|")
    for number, call in enumerate(figure["calls"], 1):
        waits = [percentile(call["waits"], share) * 1000 for share in (0.5, 0.99, 1.0)]
        cells = " | ".join(f"{wait:.1f}" for wait in waits)
        print(f"| {number} | {call['items']:,} | {call['bytes']:,} | {call['seconds']:.3f} | {cells} | {call['left_out']} |")
    print(f"\nMost memory of the service: {figure['peak_mib']:.0f} MiB.")


def fill(binary, region, count, policies, servers):
    url = f"sqlite://{region.folder}/region/data/catalog.db"
    begun = time.perf_counter()
    subprocess.run([binary, url, region.project, str(count), str(policies), str(servers)], check=True,
                   stdout=subprocess.DEVNULL)
    print(f"filled with {count} items in {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)


def start(antipode, work, name):
    """A region with one small server that was backed up once, so that its items have something behind them."""
    places = [work / f"{name}-{kind}" for kind in ("sources", "targets")]
    for place in places:
        place.mkdir(parents=True)
        (place / "disk.raw").write_bytes(b"\x07" * (1 << 20))
    region = Region(antipode, work / name, *places, ["disk"], name=name)
    region.back_up()
    return region


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--antipode", required=True)
    parser.add_argument("--fill", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="questions whose name holds this text; no replication")
    parser.add_argument("--orders-only", action="store_true", help="the replication orders without the lists")
    parser.add_argument("--output", help="keeps every single figure as JSON")
    arguments = parser.parse_args()
    work = pathlib.Path(arguments.work).resolve() / "api"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    antipode = str(pathlib.Path(arguments.antipode).resolve())
    figures, regions = {}, []
    try:
        if not arguments.orders_only:
            lists = start(antipode, work, "lists")
            regions.append(lists)
            lists.stop()
            fill(arguments.fill, lists, arguments.items, POLICIES, SERVERS)
            lists.start()
            figures["lists"] = measure_lists(lists, arguments.items, arguments.rounds, arguments.only)
            lists.stop()
            print_lists(figures["lists"])
        if not arguments.only:
            near, far = start(antipode, work, "near"), start(antipode, work, "far")
            regions += [near, far]
            near.pair(far)
            # One order while the other region is there: the grant is known from then on.
            near.replicate_item(far)
            far.stop()
            near.stop()
            fill(arguments.fill, near, arguments.items, 1, SERVERS)
            near.start()
            figures["replication"] = measure_replication(near, far.project, arguments.items)
            print_replication(figures["replication"])
    finally:
        for region in regions:
            region.stop()
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(figures), encoding="utf-8")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
