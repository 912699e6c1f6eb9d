#!/usr/bin/env python3
"""python-karborclient: the client of the service that CSBS grew out of. It runs the policy (which it calls a plan),
restores and deletes with its own methods; what Karbor never had goes through its HTTP client.

    with_karborclient.py DEV_JSON
"""

from karborclient import client
from keystoneauth1 import session
from keystoneauth1.identity.generic import password

import story


class Speaker(story.Speaker):
    """One region, spoken to through Karbor's client."""

    def __init__(self, region):
        login = password.Password(
            auth_url=region["identity_url"], username=region["username"], password=region["password"],
            user_domain_name=region["domain_name"], project_name=region["project_name"],
            project_domain_name=region["domain_name"])
        self.karbor = client.Client("1", session=session.Session(auth=login), service_type="data-protect",
                                    endpoint_type="public", region_name=region["name"])

    def run_policy(self, policy_id):
        return self.karbor.checkpoints.create(story.PROVIDER, policy_id).to_dict()

    def delete_checkpoint(self, checkpoint_id):
        self.karbor.checkpoints.delete(story.PROVIDER, checkpoint_id)

    def restore(self, checkpoint_id, parameters):
        return self.karbor.restores.create(story.PROVIDER, checkpoint_id, None, parameters, None).to_dict()

    def misses(self, item_id):
        # The client expects other bodies of refusals than those of CSBS and stumbles over them: it is asked not to read.
        path = f"/checkpoint_items/{item_id}"
        return self.karbor.http_client.json_request("GET", path, raise_exc=False)[0].status_code == 404

    def get(self, path):
        return self.karbor.http_client.json_request("GET", path)[1]

    def post(self, path, body):
        return self.karbor.http_client.json_request("POST", path, data=body)[1]

    def delete(self, path):
        self.karbor.http_client.raw_request("DELETE", path)


def main():
    story.introduce("python-karborclient", "keystoneauth1")
    near, far = story.regions()
    story.tell("karborclient", Speaker(near), Speaker(far), near, far)


if __name__ == "__main__":
    main()
