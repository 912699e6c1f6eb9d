"""The story that every client tells: back up a server in one region, replicate, restore in the other, clean up.

A client script logs in with a client's own means and finds the endpoints with them; what it hands to `tell` are two
speakers, one for each region.
"""

import importlib.metadata
import json
import sys
import time

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"
EVERY_NIGHT = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
PATIENCE_SECONDS = 60


class Speaker:
    """Speaks CSBS v1 to one region. A client brings `get`, `post` and `delete`: they take paths below the endpoint
    `…/v1/{project_id}`, answer decoded JSON, and raise what the client raises when a call fails. A client that has
    methods of its own for some of the calls below uses them."""

    def run_policy(self, policy_id):
        body = {"checkpoint": {"plan_id": policy_id, "parameters": {"auto_trigger": False}}}
        return self.post(f"/providers/{PROVIDER}/checkpoints", body)["checkpoint"]

    def delete_checkpoint(self, checkpoint_id):
        self.delete(f"/providers/{PROVIDER}/checkpoints/{checkpoint_id}")

    def restore(self, checkpoint_id, parameters):
        body = {"restore": {"checkpoint_id": checkpoint_id, "provider_id": PROVIDER, "restore_target": None,
                            "parameters": parameters}}
        return self.post("/restores", body)["restore"]

    def misses(self, item_id):
        """Whether a look at a backup is answered with 404."""
        try:
            self.get(f"/checkpoint_items/{item_id}")
        except Exception as error:
            return status_of(error) == 404
        return False


def regions():
    """The two regions of the `dev.json` that the command line names, each with its servers under `servers`."""
    with open(sys.argv[1], encoding="utf-8") as file:
        description = json.load(file)
    for region in description["regions"]:
        region["servers"] = [one for one in description["servers"] if one["region"] == region["name"]]
    return description["regions"]


def introduce(*packages):
    """Says who tells the story."""
    for package in packages:
        say(f"{package} {importlib.metadata.version(package)}")


def say(text):
    print(text, flush=True)


def tell(client, here, there, near, far):
    """The whole story. `here` and `there` speak to the regions `near` and `far`."""
    server = near["servers"][0]
    policy = make_policy(client, here, server)
    item = back_up(here, policy, server)
    replica = replicate(here, there, policy, item, far)
    restore(there, replica, far)
    clean_up(here, there, policy, item, replica)


def make_policy(client, here, server):
    body = {"policy": {
        "name": f"nightly-{client}", "description": f"made by {client}", "provider_id": PROVIDER,
        "parameters": {"common": {}},
        "resources": [{"id": server["id"], "type": "OS::Nova::Server", "name": server["name"]}],
        "scheduled_operations": [{
            "name": "backup", "enabled": True, "operation_type": "backup",
            "operation_definition": {"max_backups": "20", "retention_duration_days": "-1", "permanent": "false"},
            "trigger": {"properties": {"pattern": EVERY_NIGHT}},
        }],
    }}
    policy = here.post("/policies", body)["policy"]
    assert policy["status"] == "suspended", policy
    assert policy["scheduled_operations"][0]["trigger"]["properties"]["pattern"] == EVERY_NIGHT
    listed = here.get(f"/policies?name=nightly-{client}")["policies"]
    assert [one["id"] for one in listed] == [policy["id"]], listed
    say(f"policy {policy['id']} for server {server['name']}")
    return policy


def back_up(here, policy, server):
    checkpoint = here.run_policy(policy["id"])

    def look():
        found = here.get(f"/checkpoint_items?checkpoint_id={checkpoint['id']}")["checkpoint_items"]
        assert [one["resource_id"] for one in found] == [server["id"]], found
        assert found[0]["status"] in ("protecting", "available"), found[0]
        return found[0] if found[0]["status"] == "available" else None

    item = wait_for("the backup", look)
    size = sum(volume["size"] for volume in item["extend_info"]["volume_backups"])
    say(f"backup {item['id']} is available, {size} MiB on {len(item['extend_info']['volume_backups'])} disks")
    return item


def replicate(here, there, policy, item, far):
    destinations = here.get("/replication_capabilities")["regions"][0]["replication_destinations"]
    assert far["name"] in destinations, destinations
    body = {"replication": {"policy_id": policy["id"], "destination_region": far["name"],
                            "destination_project_id": far["project_id"]}}
    path = f"/providers/{PROVIDER}/checkpoints/replicate"
    queued = here.post(path, body)["replication"]["checkpoint_items"]
    assert [one["checkpoint_item_id"] for one in queued] == [item["id"]], queued
    assert here.post(path, body)["replication"]["checkpoint_items"] == [], "asked again, nothing is left"

    def look():
        record = here.get(f"/replication_records/{queued[0]['replication_record_id']}")["replication_record"]
        assert record["status"] in ("waiting_replicate", "replicating", "success"), record
        return record if record["status"] == "success" else None

    record = wait_for("the replication", look)
    assert here.get(f"/checkpoint_items/{item['id']}")["checkpoint_item"]["extend_info"]["copy_status"] == "success"
    replica = there.get(f"/checkpoint_items/{record['destination_checkpoint_item_id']}")["checkpoint_item"]
    assert replica["extend_info"]["copy_from"] == record["source_region"], replica
    assert replica["protected_at"] == item["protected_at"], "it is of the same moment"
    say(f"replica {replica['id']} is in {far['name']}")
    return replica


def restore(there, replica, far):
    """Onto the disks of the server of the same name in the other region."""
    server = next(one for one in far["servers"] if one["name"] == replica["extend_info"]["resource_name"])
    targets = {volume["name"]: volume["id"] for volume in server["volumes"]}
    volumes = [{"backup_id": one["id"], "volume_id": targets[one["source_volume_name"]]}
               for one in replica["extend_info"]["volume_backups"]]
    begun = there.restore(replica["checkpoint_id"], {
        "checkpoint_item_id": replica["id"], "power_on": False,
        "targets": {"server_id": server["id"], "volumes": volumes},
    })
    assert begun["status"] == "in_progress", begun

    # CSBS v1 has no call that shows a restore: the backup is `restoring` meanwhile.
    def look():
        item = there.get(f"/checkpoint_items/{replica['id']}")["checkpoint_item"]
        assert item["status"] in ("waiting_restore", "restoring", "available"), item
        assert item["extend_info"]["fail_reason"] == "", item
        return item if item["status"] == "available" else None

    wait_for("the restore", look)
    say(f"restored onto {len(volumes)} disks of server {server['name']} in {far['name']}")


def clean_up(here, there, policy, item, replica):
    here.delete(f"/policies/{policy['id']}")
    for speaker, one in ((here, item), (there, replica)):
        speaker.delete_checkpoint(one["checkpoint_id"])
        wait_for("the deletion", lambda: is_gone(speaker, one["id"]))
    assert here.get("/policies")["policies"] == []
    say("policy, backup and replica are deleted")


def is_gone(speaker, item_id):
    """Whether the list has it no more, and whether a look at it is refused as known clients expect."""
    listed = speaker.get("/checkpoint_items")["checkpoint_items"]
    return all(one["id"] != item_id for one in listed) and speaker.misses(item_id)


def status_of(error):
    """The status of an answer, under the name that each client has for it."""
    names = ("status_code", "http_status", "code")
    return next((getattr(error, name) for name in names if getattr(error, name, None)), None)


def wait_for(what, look):
    """What `look` answers once it is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not come about in {PATIENCE_SECONDS} seconds")
