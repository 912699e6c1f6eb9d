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


def log_in(region, username, password):
    domain = {"name": region["domain_name"]}
    scope = {"project": {"name": region["project_name"], "domain": domain}}
    user = {"name": username, "password": password, "domain": domain}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    request = urllib.request.Request(f"{region['identity_url']}/auth/tokens", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return response.headers["X-Subject-Token"]


def main():
    story.introduce("schemathesis", "hypothesis")
    story.say(f"seed {SEED}, {SECONDS} seconds")
    near, far = story.regions()
    settings = string.Template((HERE / "schemathesis.toml").read_text(encoding="utf-8")).substitute(
        # The operator is also the admin of the demo project: one token opens every door.
        TOKEN=log_in(near, near["admin_username"], near["admin_password"]),
        HOOKS=HERE / "schemathesis_hooks.py",
        PROJECT_ID=near["project_id"],
        SERVER_ID=near["servers"][0]["id"],
        FAR_REGION=far["name"],
        FAR_PROJECT_ID=far["project_id"],
    )
    # Here is the folder of the regions: nothing stays behind.
    pathlib.Path("schemathesis.toml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{near['api_url']}/openapi.json", "--seed", SEED,
               "--max-time", SECONDS, "--no-color"]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
