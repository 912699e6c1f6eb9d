#!/usr/bin/env python3
"""The `openstack` command (python-openstackclient): what an operator does with identity. It has no commands for CSBS
without plugins, so this story is about logging in, catalogues, projects, users and roles.

    with_openstack_command.py DEV_JSON
"""

import json
import os
import pathlib
import subprocess
import sys

import story

PROGRAM = pathlib.Path(sys.executable).with_name("openstack")


class Operator:
    """Somebody at a terminal, with the usual environment."""

    def __init__(self, region, username, password, **scope):
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("OS_")
        } | {
            "OS_AUTH_URL": region["identity_url"], "OS_USERNAME": username, "OS_PASSWORD": password,
            "OS_USER_DOMAIN_NAME": region["domain_name"], "OS_REGION_NAME": region["name"],
            "OS_IDENTITY_API_VERSION": "3", **scope,
        }

    def run(self, *words):
        """What a command prints, as JSON."""
        done = subprocess.run([PROGRAM, *words, "--format", "json"], env=self.environment, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, f"openstack {' '.join(words)}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def do(self, *words):
        """A command that prints nothing."""
        done = subprocess.run([PROGRAM, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"openstack {' '.join(words)}\n{done.stdout}{done.stderr}"


def main():
    story.introduce("python-openstackclient", "openstacksdk", "keystoneauth1")
    near, _ = story.regions()
    in_project = {"OS_PROJECT_NAME": near["project_name"], "OS_PROJECT_DOMAIN_NAME": near["domain_name"]}
    member = Operator(near, near["username"], near["password"], **in_project)
    token = member.run("token", "issue")
    assert token["project_id"] == near["project_id"], token
    catalogue = {one["Type"]: one["Endpoints"] for one in member.run("catalog", "list")}
    urls = [one["url"] for one in catalogue["data-protect"]]
    assert urls == [f"{near['api_url']}/v1/{near['project_id']}"], urls
    story.say(f"openstack token issue; openstack catalog list: data-protect at {urls[0]}")


if __name__ == "__main__":
    main()
