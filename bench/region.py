"""One Antipode region for measurements: `antipode serve` on loopback, driven through its API.

A time is taken from before the API call is sent until the item is seen `available` (the restore: `success`), which the
service says only when everything is synced. Standard library only.
"""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"
PATIENCE_SECONDS = 900
POLL_SECONDS = 0.002


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder_bytes(folder):
    """What a folder's files hold, every file counted, by length."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


class Region:
    """A running region with one server `bench` whose disks lie in `sources`."""

    def __init__(self, binary, folder, sources, targets, disks, opens_before_storing=True, name="bench",
                 peer_port=None, peer_url=None):
        self.binary, self.name, self.folder = binary, name, pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        password = self.folder / "password"
        password.write_text("a password for measurements only\n")
        self.port = free_port()
        init = [binary, "init", "--region", name, "--dir", self.folder / "region", "--source-root", sources,
                "--source-root", targets, "--password-file", password, "--api-listen", f"127.0.0.1:{self.port}",
                "--peer-listen", f"127.0.0.1:{peer_port or free_port()}", "--waive-kit", name]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        config = self.folder / "region" / "antipode.toml"
        if not opens_before_storing:
            with config.open("a", encoding="utf-8") as text:
                text.write("\n[work]\nopens_before_storing = false\n")
        if peer_url:
            # Where the other region is to find this one.
            text = config.read_text(encoding="utf-8").replace("[peer]\n", f'[peer]\nurl = "{peer_url}"\n')
            config.write_text(text, encoding="utf-8")
        self.start()
        self.store = self.folder / "region" / "data" / "store"
        self.server = self.add_server("bench", sources, disks)
        self.target = self.add_server("target", targets, disks[:1])
        self.disks = disks

    def start(self):
        """Starts the service, for the first time or again, and logs in."""
        config = self.folder / "region" / "antipode.toml"
        log = open(self.folder / "serve.log", "a", encoding="utf-8")
        self.process = subprocess.Popen([self.binary, "serve", "--config", config], stdout=log, stderr=log)
        self.connection, self.used_at = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60), 0
        self.token = None
        self._wait_until_ready()
        password = (self.folder / "password").read_text(encoding="utf-8").strip()
        self.token, self.project = self._log_in(password)

    def pair(self, far):
        """Pairs with another region, which then accepts replicas of this one's project into its own."""
        invited = self.call("POST", "/antipode/v1/regions/invitations", {"region": far.name})
        accepted = far.call("POST", "/antipode/v1/regions/accept", {"invitation": invited["invitation"]})
        self.call("POST", f"/antipode/v1/regions/{far.name}/confirm", {"code": accepted["code"]})
        grant = {"source_region": self.name, "source_project_id": self.project}
        far.call("POST", "/antipode/v1/grants", {"grant": grant})

    def _wait_until_ready(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.call("GET", "/readyz", raw=True)[0] == 200:
                    return
            except OSError:
                self.connection.close()
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the region did not start, see {self.folder}/serve.log")
            time.sleep(0.05)

    def call(self, method, path, body=None, raw=False):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        # The server closes a connection that was idle for some seconds.
        if time.monotonic() - self.used_at > 1:
            self.connection.close()
        self.used_at = time.monotonic()
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if raw:
            return answer.status, answer.headers, content
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return json.loads(content)

    def _log_in(self, password):
        user = {"name": "admin", "password": password, "domain": {"id": "default"}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": self.name, "domain": {"id": "default"}}}}
        status, headers, content = self.call("POST", "/identity/v3/auth/tokens", {"auth": auth}, raw=True)
        assert status < 300, content
        return headers["X-Subject-Token"], json.loads(content)["token"]["project"]["id"]

    def add_server(self, name, folder, disks):
        """Registers a server whose disks lie in a folder; returns its id."""
        volumes = [{"id": f"{name}-{disk}", "name": disk, "path": str(pathlib.Path(folder) / f"{disk}.raw"),
                    "format": "raw"} for disk in disks]
        server = {"id": name, "name": name, "project_id": self.project, "volumes": volumes}
        self.call("POST", "/antipode/v1/servers", {"server": server})
        return name

    def _wait(self, path, wrapper, good, bad):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            body = self.call("GET", path)[wrapper]
            if body["status"] == good:
                return body
            if body["status"] in bad or time.monotonic() > deadline:
                raise RuntimeError(f"{path}: {body}")
            time.sleep(POLL_SECONDS)

    def back_up(self, changes=None, server=None):
        """Backs up a server; returns the item's id and the seconds. `changes`: (since, {disk: extents})."""
        server, backup = server or self.server, {}
        if changes:
            since, extents = changes
            volumes = [{"id": f"{server}-{disk}", "extents": [{"offset": offset, "length": length}
                        for offset, length in listed]} for disk, listed in extents.items()]
            backup["changes"] = {"since": since, "volumes": volumes}
        start = time.perf_counter()
        answer = self.call("POST", f"/antipode/v1/servers/{server}/backups", {"backup": backup})
        item = answer["backup"]["checkpoint_item_id"]
        self._wait(f"/antipode/v1/checkpoint_items/{item}", "checkpoint_item", "available", ["error"])
        return item, time.perf_counter() - start

    def make_policy(self, name):
        """A policy over the server, run by hand; its id."""
        operation = {"name": "backup", "enabled": False, "operation_type": "backup", "operation_definition": {},
                     "trigger": {"properties": {"pattern": "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=1;"
                                                "BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"}}}
        policy = {"name": name, "provider_id": PROVIDER, "parameters": {"common": {}}, "scheduled_operations": [operation],
                  "resources": [{"id": self.server, "type": "OS::Nova::Server", "name": self.server}]}
        return self.call("POST", f"/v1/{self.project}/policies", {"policy": policy})["policy"]["id"]

    def run_policy(self, policy):
        """Runs a policy and waits for its backups."""
        body = {"checkpoint": {"plan_id": policy, "parameters": {"auto_trigger": False}}}
        path = f"/v1/{self.project}/providers/{PROVIDER}/checkpoints"
        checkpoint = self.call("POST", path, body)["checkpoint"]["id"]
        listed = self.call("GET", f"/v1/{self.project}/checkpoint_items?checkpoint_id={checkpoint}")
        for item in listed["checkpoint_items"]:
            self._wait(f"/antipode/v1/checkpoint_items/{item['id']}", "checkpoint_item", "available", ["error"])

    def replicate(self, policy, far, accelerated):
        """Replicates what a policy made and waits for it; the ids of the records."""
        order = {"policy_id": policy, "destination_region": far.name, "destination_project_id": far.project,
                 "enable_acceleration": accelerated}
        path = f"/v1/{self.project}/providers/{PROVIDER}/checkpoints/replicate"
        ordered = self.call("POST", path, {"replication": order})["replication"]["checkpoint_items"]
        records = [row["replication_record_id"] for row in ordered]
        for record in records:
            self._wait(f"/v1/{self.project}/replication_records/{record}", "replication_record", "success", ["fail", "skip"])
        return records

    def replicate_item(self, far):
        """Replicates the newest backup and waits for it."""
        [item] = self.call("GET", f"/v1/{self.project}/checkpoint_items?limit=1")["checkpoint_items"]
        order = {"replication": {"destination_region": far.name, "destination_project_id": far.project}}
        path = f"/v1/{self.project}/providers/{PROVIDER}/checkpoint_items/{item['id']}/replicate"
        record = self.call("POST", path, order)["replication"]["replication_record_id"]
        self._wait(f"/v1/{self.project}/replication_records/{record}", "replication_record", "success", ["fail", "skip"])

    def record(self, record):
        """A replication record as our own surface shows it."""
        return self.call("GET", f"/antipode/v1/replication_records/{record}")["replication_record"]

    def restore(self, item):
        """Restores an item of the first disk; returns the seconds."""
        shown = self.call("GET", f"/v1/{self.project}/checkpoint_items/{item}")["checkpoint_item"]
        [backup] = shown["extend_info"]["volume_backups"]
        volumes = [{"backup_id": backup["id"], "volume_id": f"target-{self.disks[0]}"}]
        order = {"restore": {"checkpoint_id": shown["checkpoint_id"], "provider_id": PROVIDER, "parameters": {
            "checkpoint_item_id": item, "power_on": False,
            "targets": {"server_id": self.target, "volumes": volumes}}}}
        start = time.perf_counter()
        restore = self.call("POST", f"/v1/{self.project}/restores", order)["restore"]["id"]
        self._wait(f"/antipode/v1/restores/{restore}", "restore", "success", ["fail"])
        return time.perf_counter() - start

    def list_items(self, limit):
        """Lists a page of so many items; returns the seconds."""
        start = time.perf_counter()
        self.call("GET", f"/v1/{self.project}/checkpoint_items?limit={limit}")
        return time.perf_counter() - start

    def peak_mib(self):
        """The most memory the process had since the last call."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="utf-8")
        return int(peak.split()[1]) / 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Ends the service; nothing happens when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
