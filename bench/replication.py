#!/usr/bin/env python3
"""Measures replication between two regions, and what peers take to copy the same backups, in one run, in turn.

    bench/replication.py --antipode BINARY --data DIRECTORY --peers DIRECTORY --work DIRECTORY
                         [--rounds 5] [--only NAME …] [--links] [--output FILE]

DIRECTORY of --data was made by bench/dataset.sh, that of --peers by bench/peers.sh. In each round every program backs
up generation 1 of both disks into a fresh repository and copies it to an empty one; then generation 2; then it copies once
more with nothing to do. Only copies are timed. Ours are two `antipode serve` on loopback with mutual TLS: the time runs
from before the replicate call until every record is `success`, which the far region signs for when all of it is verified and
synced. Peers are whole processes, on one machine, without TLS, and do not sync what they wrote. --links measures
the full replication again through a relay of 80, 150 and 300 ms at 1 Gbit/s, accelerated and not. Standard library only.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from compare import DISKS, MIB, PASSWORD, Places, keep, measure_all, parser_of, round_count
from region import PROVIDER, Region, folder_bytes, free_port

GIGABIT = 125_000_000
ROUND_TRIPS_MS = (80, 150, 300)


class Relay:
    """bench/relay.py as a process."""

    def __init__(self, port, target_port, round_trip_seconds=0.0, bytes_per_second=0):
        script = pathlib.Path(__file__).with_name("relay.py")
        words = [str(word) for word in (port, target_port, round_trip_seconds, bytes_per_second)]
        self.process = subprocess.Popen([sys.executable, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self):
        """Ends it; the bytes it carried, both ways together."""
        output, _ = self.process.communicate()
        return sum(int(word) for word in output.split())


def settle(region):
    """Waits until a region does nothing, and gives the memory that it holds then."""
    before = region.cpu_seconds()
    while True:
        time.sleep(0.5)
        now = region.cpu_seconds()
        if now - before < 0.02:
            break
        before = now
    region.peak_mib()
    return region.peak_mib()


class Pair:
    """Two paired regions, the far one's listener for peers behind a relay if wanted."""

    def __init__(self, binary, folder, places, relay=None):
        places.show(1)
        near_target, far_source, far_target = (folder / name for name in ("near-target", "far-source", "far-target"))
        for empty in (near_target, far_source, far_target):
            empty.mkdir()
            (empty / "system.raw").write_bytes(bytes(4096))
        self.near = Region(binary, folder / "near", places.sources, near_target, DISKS, name="near")
        peer_port, self.relay = free_port(), None
        url = None
        if relay is not None:
            relay_port = free_port()
            self.relay = Relay(relay_port, peer_port, *relay)
            url = f"https://127.0.0.1:{relay_port}"
        self.far = Region(binary, folder / "far", far_source, far_target, DISKS[:1], name="far", peer_port=peer_port,
                          peer_url=url)
        self.near.pair(self.far)

    def back_up(self):
        """Runs the policy over the server, which exists from the first call on."""
        self.policy = getattr(self, "policy", None) or self.near.make_policy("nightly")
        self.near.run_policy(self.policy)

    def replicate(self, accelerated=False):
        """Seconds, processor seconds of both, most memory above idle of each in MiB, and bytes of objects sent."""
        idle = [settle(region) for region in (self.near, self.far)]
        cpu = self.near.cpu_seconds() + self.far.cpu_seconds()
        os.sync()
        begun = time.perf_counter()
        records = self.near.replicate(self.policy, self.far, accelerated)
        seconds = time.perf_counter() - begun
        cpu = self.near.cpu_seconds() + self.far.cpu_seconds() - cpu
        peaks = [region.peak_mib() - before for region, before in zip((self.near, self.far), idle)]
        sent = sum(self.near.record(record)["sent_bytes"] for record in records)
        return {"": seconds, " s of processor": cpu, " MiB of memory": max(peaks), " MiB sent": sent / MIB}

    def stop(self):
        self.near.stop()
        self.far.stop()
        return self.relay.end() if self.relay else 0


def antipode(places, binary):
    folder = places.fresh("antipode")
    pair = Pair(binary, folder, places, relay=None)
    figures = {}
    try:
        for generation, step in ((1, "full"), (2, "incremental")):
            places.show(generation)
            pair.back_up()
            figures.update({f"{step}{key}": value for key, value in pair.replicate().items()})
        figures["nothing to do"] = pair.replicate()[""]
        figures["MiB stored"] = folder_bytes(pair.far.store) / MIB
    finally:
        pair.stop()
        shutil.rmtree(folder)
    return figures


def links(places, binary, rounds):
    """Full replication over long links: the share of the rate that was used."""
    lines = ["| round trip | connections | seconds | MiB on the wire | share of 1 Gbit/s |", "|---|---|---|---|---|"]
    for round_trip in ROUND_TRIPS_MS:
        for accelerated in (False, True):
            taken = []
            for _ in range(rounds):
                folder = places.fresh("antipode-link")
                pair = Pair(binary, folder, places, relay=(round_trip / 1000, GIGABIT))
                try:
                    pair.back_up()
                    figures = pair.replicate(accelerated)
                finally:
                    carried_bytes = pair.stop()
                taken.append((figures[""], carried_bytes))
                shutil.rmtree(folder)
            seconds, carried = statistics.median(one[0] for one in taken), statistics.median(one[1] for one in taken)
            word = "accelerated" if accelerated else "one"
            lines.append(f"| {round_trip} ms | {word} | {seconds:.2f} | {carried / MIB:.0f} | {carried / seconds / GIGABIT:.2f} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


class Peer:
    """A peer that copies: commands as lists, `{one}` and `{two}` are the repositories, `{aux}` is a folder of its own."""

    def __init__(self, name, environment, prepare, backup, copy):
        self.name, self.environment = name, environment
        self.prepare, self.backup, self.copy = prepare, backup, copy

    def run(self, command, values):
        filled = [str(word).format(**values) for word in command]
        environment = {**os.environ, **{key: text.format(**values) for key, text in self.environment.items()}}
        os.sync()
        begun = time.perf_counter()
        with open(values["log"], "ab") as log:
            done = subprocess.run(filled, stdout=log, stderr=log, env=environment, cwd=values["sources"], check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(filled)} failed, see {values['log']}")
        return time.perf_counter() - begun

    def measure(self, places):
        folder = places.fresh("peer-" + self.name.replace(" ", "-"))
        values = {"one": folder / "one", "two": folder / "two", "aux": folder / "aux", "log": folder / "log",
                  "sources": places.sources, "number": 0}
        values["aux"].mkdir()
        for command in self.prepare:
            self.run(command, values)
        figures = {}
        for generation, step in ((1, "full"), (2, "incremental")):
            places.show(generation)
            values["number"] = generation
            self.run(self.backup, values)
            before = folder_bytes(values["two"]) if values["two"].exists() else 0
            figures[step] = self.run(self.copy, values)
            figures[f"{step} MiB sent"] = (folder_bytes(values["two"]) - before) / MIB
        figures["nothing to do"] = self.run(self.copy, values)
        shutil.rmtree(folder)
        return figures


def restic_peers(places):
    unpacked = places.peers / "bin" / "restic"
    restic = str(unpacked) if unpacked.exists() else shutil.which("restic")
    if not restic:
        return
    environment = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_FROM_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": "{aux}"}
    prepare = [[restic, "-r", "{one}", "init"],
               [restic, "-r", "{two}", "init", "--from-repo", "{one}", "--copy-chunker-params"]]
    backup = [restic, "-r", "{one}", "backup", "{sources}"]
    yield Peer("restic copy", environment, prepare, backup, [restic, "-r", "{two}", "copy", "--from-repo", "{one}"])
    tuned = [restic, "--pack-size", "64", "-r", "{two}", "copy", "--from-repo", "{one}"]
    yield Peer("restic copy tuned", environment, prepare,
               [restic, "--pack-size", "64", "-r", "{one}", "backup", "{sources}"], tuned)
    rclone = shutil.which("rclone")
    if rclone:
        yield Peer("rclone sync", environment, prepare[:1], backup, [rclone, "sync", "{one}", "{two}"])
        yield Peer("rclone sync tuned", environment, prepare[:1], backup,
                   [rclone, "sync", "--transfers", "16", "--checkers", "16", "{one}", "{two}"])


def rustic_peers(places):
    rustic = places.peers / "bin" / "rustic"
    if not rustic.exists():
        return
    profile = "sh", "-c"
    environment = {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_CACHE_DIR": "{aux}", "RUSTIC_REPOSITORY": "{one}"}
    write = (f"cd {{aux}} && printf '[repository]\\nrepository = \"%s\"\\npassword = \"{PASSWORD}\"\\n' {{two}} > two.toml")
    copy = f"cd {{aux}} && {rustic} copy --target two"
    for name, extra in (("rustic copy", ""), ("rustic copy tuned", "--set-chunker fixed_size --set-chunk-size 64KiB")):
        prepare = [[*profile, f"{rustic} init {extra}"], [*profile, write],
                   [*profile, f"cd {{aux}} && {rustic} -P two init {extra}" if extra else f"cd {{aux}} && {rustic} copy --init --target two || true"]]
        yield Peer(name, environment, prepare, [rustic, "backup", "{sources}"], [*profile, copy])


def borg_peers(places):
    borg = places.peers / "borg" / "bin" / "borg"
    if not borg.exists():
        return
    environment = {"BORG_PASSPHRASE": PASSWORD, "BORG_OTHER_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": "{aux}"}
    prepare = [[borg, "-r", "{one}", "repo-create", "-e", "repokey-aes-ocb"],
               [borg, "-r", "{two}", "repo-create", "-e", "repokey-aes-ocb", "--other-repo", "{one}"]]
    transfer = [borg, "-r", "{two}", "transfer", "--other-repo", "{one}"]
    for name, extra in (("borg transfer", []), ("borg transfer tuned", ["--chunker-params", "fixed,65536", "-C", "zstd,1"])):
        yield Peer(name, environment, prepare, [borg, "-r", "{one}", "create", *extra, "g{number}", "{sources}"], transfer)


def bupstash_peers(places):
    bupstash = places.peers / "bin" / "bupstash"
    if not bupstash.exists():
        return
    environment = {"BUPSTASH_REPOSITORY": "{one}", "BUPSTASH_KEY": "{aux}/key", "BUPSTASH_SEND_LOG": "{aux}/log",
                   "BUPSTASH_QUERY_CACHE": "{aux}/query"}
    prepare = [[bupstash, "new-key", "-o", "{aux}/key"], [bupstash, "init"], [bupstash, "init", "-r", "{two}"]]
    yield Peer("bupstash sync", environment, prepare, [bupstash, "put", "name=g{number}", "{sources}"],
               [bupstash, "sync", "--to", "{two}"])


def peers(places):
    for family in (restic_peers, rustic_peers, borg_peers, bupstash_peers):
        yield from family(places)


def table(medians, rounds):
    steps = ["full", "incremental", "nothing to do"]
    lines = [f"Medians of {rounds} rounds.", "",
             "| program | full, s | incremental, s | nothing to do, s | full, MiB | incremental, MiB | processor, s | ms per MiB | memory above idle, MiB |",
             "|---" * 9 + "|"]
    for name, figures in medians.items():
        cells = [f"{figures[step]:.3f}" for step in steps]
        cells += [f"{figures[f'{step} MiB sent']:.1f}" for step in steps[:2]]
        if "full s of processor" in figures:
            cells += [f"{figures['full s of processor']:.2f}",
                      f"{1000 * figures['full s of processor'] / figures['full MiB sent']:.2f}",
                      f"{max(figures['full MiB of memory'], figures['incremental MiB of memory']):.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |" + " |" * (8 - len(cells)))
    ours = medians.get("antipode")
    if ours:
        lines += ["", "| against | full | incremental |", "|---|---|---|"]
        lines += [f"| {name} | {figures['full'] / ours['full']:.2f} × | {figures['incremental'] / ours['incremental']:.2f} × |"
                  for name, figures in medians.items() if name != "antipode"]
    return lines


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--links", action="store_true", help="also over long links")
    arguments = parser.parse_args()
    places = Places(arguments)
    places.work.mkdir(parents=True, exist_ok=True)
    binary = str(pathlib.Path(arguments.antipode).resolve())
    programs = {"antipode": lambda: antipode(places, binary)}
    programs.update({peer.name: (lambda peer=peer: peer.measure(places)) for peer in peers(places)})
    rounds, medians = measure_all(programs, arguments)
    over_links = links(places, binary, min(arguments.rounds, 3)) if arguments.links else []
    keep(arguments, rounds=rounds, medians=medians, links=over_links)
    print("\n".join([*table(medians, round_count(rounds)), "", *over_links]))


if __name__ == "__main__":
    main()
