#!/usr/bin/env python3
"""otcextensions: openstacksdk with the services of one CSBS cloud. Its `csbs` module finds the endpoint and signs
in, but this version has no calls of its own, so the story goes through the module's `get`, `post`, `put` and `delete`.

    with_otcextensions.py DEV_JSON
"""

import openstack
from otcextensions import sdk

import story


class Speaker(story.Speaker):
    """One region, spoken to through the `csbs` proxy."""

    def __init__(self, region):
        connection = openstack.connect(
            auth_url=region["identity_url"], username=region["username"], password=region["password"],
            user_domain_name=region["domain_name"], project_name=region["project_name"],
            project_domain_name=region["domain_name"], region_name=region["name"], load_yaml_config=False,
            load_envvars=False)
        sdk.register_otc_extensions(connection)
        self.csbs = connection.csbs

    def get(self, path):
        return self.checked(self.csbs.get(path))

    def post(self, path, body):
        return self.checked(self.csbs.post(path, json=body))

    def delete(self, path):
        self.checked(self.csbs.delete(path))

    @staticmethod
    def checked(response):
        openstack.exceptions.raise_from_response(response)
        return response.json() if response.content else None


def main():
    story.introduce("otcextensions", "openstacksdk")
    near, far = story.regions()
    here, there = Speaker(near), Speaker(far)
    story.say(f"endpoint of csbs: {here.csbs.get_endpoint()}")
    story.tell("otcextensions", here, there, near, far)


if __name__ == "__main__":
    main()
