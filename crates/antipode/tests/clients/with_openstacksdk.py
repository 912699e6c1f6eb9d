#!/usr/bin/env python3
"""openstacksdk: a connection for each region. It has no module for CSBS, so its proxy of the service makes the calls.

    with_openstacksdk.py DEV_JSON
"""

import openstack
from openstack import service_description

import story


class Speaker(story.Speaker):
    """One region, spoken to through a connection and a plain proxy of the service type."""

    def __init__(self, region):
        self.connection = openstack.connect(
            auth_url=region["identity_url"], username=region["username"], password=region["password"],
            user_domain_name=region["domain_name"], project_name=region["project_name"],
            project_domain_name=region["domain_name"], region_name=region["name"], load_yaml_config=False,
            load_envvars=False)
        self.connection.add_service(service_description.ServiceDescription(service_type="data-protect"))
        self.proxy = self.connection.data_protect
        self.proxy.skip_discovery = True

    def get(self, path):
        return self.checked(self.proxy.get(path))

    def post(self, path, body):
        return self.checked(self.proxy.post(path, json=body))

    def delete(self, path):
        self.checked(self.proxy.delete(path))

    @staticmethod
    def checked(response):
        openstack.exceptions.raise_from_response(response)
        return response.json() if response.content else None


def main():
    story.introduce("openstacksdk", "keystoneauth1")
    near, far = story.regions()
    here, there = Speaker(near), Speaker(far)
    project = here.connection.current_project
    assert (project.id, project.name) == (near["project_id"], near["project_name"]), project
    services = sorted(service["type"] for service in here.connection.service_catalog)
    story.say(f"logged in to project {project.name}; the catalogue has {', '.join(services)}")
    assert "data-protect" in services
    story.tell("openstacksdk", here, there, near, far)


if __name__ == "__main__":
    main()
