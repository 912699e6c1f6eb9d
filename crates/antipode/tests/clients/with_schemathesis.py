#!/usr/bin/env python3
"""schemathesis: bodies and parameters made from the OpenAPI document, right ones and wrong ones, by themselves and in
chains along the document's links. What it checks, and why where that differs from its defaults, is in schemathesis.toml.

    with_schemathesis.py DEV_JSON

`ANTIPODE_SCHEMATHESIS_SEED` repeats a run, `ANTIPODE_SCHEMATHESIS_SECONDS` makes it longer.
"""

import json
import os
import pathlib
import string
import subprocess
import sys
import urllib.request

import story

HERE = pathlib.Path(__file__).parent
SECONDS = os.environ.get("ANTIPODE_SCHEMATHESIS_SECONDS", "90")
SEED = os.environ.get("ANTIPODE_SCHEMATHESIS_SEED", "41")


class Operator:
    """The operator of a region, who is also the admin of the demo project: one token opens every door."""

    def __init__(self, region):
        self.region, self.token = region, None
        domain = {"name": region["domain_name"]}
        scope = {"project": {"name": region["project_name"], "domain": domain}}
        user = {"name": region["admin_username"], "password": region["admin_password"], "domain": domain}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        self.token = self.call("POST", f"{region['identity_url']}/auth/tokens", {"auth": auth})[0]["X-Subject-Token"]

    def call(self, method, url, body=None):
        headers = {"Content-Type": "application/json", **({"X-Auth-Token": self.token} if self.token else {})}
        content = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method)) as response:
            return response.headers, json.loads(response.read())

    def make(self, wrapper, body):
        """A project or a user that may be changed and deleted; its id."""
        return self.call("POST", f"{self.region['identity_url']}/{wrapper}s", {wrapper: body})[1][wrapper]["id"]

    def still_opens_doors(self):
        self.call("GET", f"{self.region['api_url']}/v1/{self.region['project_id']}/policies")


def main():
    story.introduce("schemathesis", "hypothesis")
    story.say(f"seed {SEED}, {SECONDS} seconds")
    near, far = story.regions()
    operator = Operator(near)
    settings = string.Template((HERE / "schemathesis.toml").read_text(encoding="utf-8")).substitute(
        TOKEN=operator.token,
        HOOKS=HERE / "schemathesis_hooks.py",
        PROJECT_ID=near["project_id"],
        PROVIDER_ID=story.PROVIDER,
        OTHER_PROJECT_ID=operator.make("project", {"name": "other"}),
        OTHER_USER_ID=operator.make("user", {"name": "other", "password": "a password for tests"}),
        SERVER_ID=near["servers"][0]["id"],
        FAR_REGION=far["name"],
        FAR_PROJECT_ID=far["project_id"],
    )
    # Here is the folder of the regions: nothing stays behind.
    pathlib.Path("schemathesis.toml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{near['api_url']}/openapi.json", "--seed", SEED,
               "--max-time", SECONDS, "--no-color"]
    outcome = subprocess.run(command, check=False).returncode
    # Refused by everything, it would have found nothing.
    operator.still_opens_doors()
    sys.exit(outcome)


if __name__ == "__main__":
    main()
