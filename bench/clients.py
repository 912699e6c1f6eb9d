#!/usr/bin/env python3
"""Measures honest calls beside clients that are broken, idle, slow or greedy.

    bench/clients.py --antipode BINARY --work DIRECTORY [--seconds 5] [--rounds 3] [--output FILE]

One honest client lists ten backups on a connection that it keeps, another one asks `/healthz` on a new connection each time.
Each attack runs beside them for so many seconds, and right before and after it the same is measured without: the ratio is that of
the 99th percentiles, medians of the rounds. Attackers run in processes of their own on the same two cores, so part of what the
honest clients wait for is the attackers' own work. Standard library only.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import socket
import statistics
import sys
import time

from load import Connection, percentile
from region import Region

IDLE_SOCKETS = 2000


def connect(port):
    attacker = socket.create_connection(("127.0.0.1", port), timeout=60)
    attacker.settimeout(60)
    return attacker


def hold(port, begun, count=IDLE_SOCKETS):
    """Keeps so many sockets open that have sent this and no more; opens those anew that were closed."""
    def attack(ready, until):
        sockets = []
        while time.monotonic() < until:
            sockets = [held for held in sockets if not is_closed(held)]
            while len(sockets) < count and time.monotonic() < until:
                held = connect(port)
                try:
                    held.sendall(begun)
                except OSError:
                    continue
                held.setblocking(False)
                sockets.append(held)
                if len(sockets) == count:
                    ready.set()
            time.sleep(0.5)
    return attack


def is_closed(held):
    try:
        return held.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def repeat(port, request, pause=0.0):
    """Sends this on a new connection again and again, and reads what comes."""
    def attack(ready, until):
        ready.set()
        while time.monotonic() < until:
            attacker = connect(port)
            try:
                attacker.sendall(request)
                while attacker.recv(65536):
                    pass
            except OSError:
                pass
            attacker.close()
            time.sleep(pause)
    return attack


def deaf(port, request, count=200):
    """Sends requests without end on many connections and never reads an answer."""
    def attack(ready, until):
        sockets = [connect(port) for _ in range(count)]
        for held in sockets:
            held.setblocking(False)
        ready.set()
        while time.monotonic() < until:
            for number, held in enumerate(sockets):
                try:
                    held.send(request)
                except BlockingIOError:
                    pass
                except OSError:
                    sockets[number] = connect(port)
                    sockets[number].setblocking(False)
            time.sleep(0.01)
    return attack


def posting(region, body, token=None, path=None, content_type="application/json"):
    path = path or f"/v1/{region.project}/policies"
    head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
            f"X-Auth-Token: {token or region.token}\r\nContent-Length: {len(body)}\r\n\r\n")
    return head.encode() + body


def attacks(region):
    """What is done, and by how many processes."""
    port = region.port
    tokens = "/identity/v3/auth/tokens"
    login = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
        "name": "admin", "domain": {"id": "default"}, "password": "wrong password"}}}, "scope": "unscoped"}}
    slow_body = (f"POST {tokens} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{").encode()
    get = f"GET /v1/{region.project}/checkpoint_items?limit=1000 HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {region.token}\r\n"
    yield "nothing (two honest clients alone)", []
    yield f"{IDLE_SOCKETS} idle sockets", [hold(port, b"")]
    yield f"{IDLE_SOCKETS} slow heads", [hold(port, b"GET /healthz HTTP/1.1\r\nX-Slow: ")]
    yield f"{IDLE_SOCKETS} slow bodies", [hold(port, slow_body)]
    yield f"{IDLE_SOCKETS} connections that asked once and stay", [hold(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")]
    yield "200 connections that never read", [deaf(port, (get + "\r\n").encode())]
    yield "a new connection for every request", [repeat(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")]
    yield "bodies of 4 MiB, the limit is 1", [repeat(port, posting(region, b" " * (4 << 20)))]
    yield "deep JSON of 1 MiB", [repeat(port, posting(region, b"[" * (1 << 20)))]
    yield "wide JSON of 1 MiB", [repeat(port, posting(region, b"[" + b"0," * ((1 << 19) - 1) + b"0]"))]
    yield "heads of 64 KiB", [repeat(port, b"GET /healthz HTTP/1.1\r\nX-A: " + b"x" * (64 << 10))]
    yield "200 requests sent at once", [repeat(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 199 + (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))]
    yield "the largest pages", [repeat(port, (get + "Connection: close\r\n\r\n").encode())]
    wrong = posting(region, json.dumps(login).encode(), path=tokens)
    yield "log-ins with a wrong password, 8 at once", [repeat(port, wrong)] * 8


def run_attack(attack, ready, until):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    attack(ready, until)


def honest(region, seconds):
    """The waits of the two honest clients, who take turns."""
    kept, fresh = Connection(region.port, region.token), Connection(region.port, region.token)
    waits = {"kept": [], "fresh": []}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, connection, path in (("kept", kept, f"/v1/{region.project}/checkpoint_items?limit=10"),
                                       ("fresh", fresh, "/healthz")):
            wait, status, _ = connection.get(path)
            if status != 200:
                raise RuntimeError(f"an honest client was answered {status}")
            waits[name].append(wait)
        fresh.close()
        # As real clients do; else this would be an attack of its own.
        time.sleep(0.005)
    return waits


def measure(region, how, seconds):
    calm = honest(region, seconds)
    running = []
    until = time.monotonic() + 60 + seconds
    for attack in how:
        ready = multiprocessing.Event()
        process = multiprocessing.Process(target=run_attack, args=(attack, ready, until), daemon=True)
        process.start()
        running.append(process)
        if not ready.wait(60):
            raise RuntimeError("the attack did not begin")
    region.peak_mib()
    during = honest(region, seconds)
    peak_mib = region.peak_mib()
    for process in running:
        process.terminate()
        process.join()
    time.sleep(0.5)
    after = honest(region, seconds)
    return {"calm": {name: calm[name] + after[name] for name in calm}, "during": during, "peak_mib": peak_mib}


def print_figures(figures):
    print("| beside | listing on a kept connection: p99 without, ms | with, ms | ratio | a new connection: p99 without, ms | "
          "with, ms | ratio | most memory, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rounds in figures.items():
        cells = []
        for client in ("kept", "fresh"):
            calm, during = ([percentile(one[when][client], 0.99) * 1000 for one in rounds] for when in ("calm", "during"))
            ratio = statistics.median(hot / cold for hot, cold in zip(during, calm))
            cells += [f"{statistics.median(calm):.2f}", f"{statistics.median(during):.2f}", f"{ratio:.2f}"]
        peak = max(one["peak_mib"] for one in rounds)
        print(f"| {name} | " + " | ".join(cells) + f" | {peak:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--antipode", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    parser.add_argument("--output", help="keeps every single figure as JSON")
    arguments = parser.parse_args()
    work = pathlib.Path(arguments.work).resolve() / "clients"
    shutil.rmtree(work, ignore_errors=True)
    places = [work / kind for kind in ("sources", "targets")]
    for place in places:
        place.mkdir(parents=True)
        (place / "disk.raw").write_bytes(b"\x07" * (1 << 20))
    region = Region(str(pathlib.Path(arguments.antipode).resolve()), work / "run", *places, ["disk"])
    figures = {}
    try:
        for _ in range(12):
            region.back_up()
        for _ in range(arguments.rounds):
            for name, how in attacks(region):
                if arguments.only in name:
                    figures.setdefault(name, []).append(measure(region, how, arguments.seconds))
                    print(f"{name}: over", file=sys.stderr, flush=True)
    finally:
        region.stop()
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(figures), encoding="utf-8")
    print_figures(figures)
    print(f"\nLoad when it ended: {os.getloadavg()[0]:.1f}.")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
