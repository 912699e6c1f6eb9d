#!/usr/bin/env python3
"""keystoneauth1: what most Python clients of OpenStack log in and find endpoints with.

    with_keystoneauth.py DEV_JSON
"""

from keystoneauth1 import adapter, session
from keystoneauth1.identity import v3
from keystoneauth1.identity.generic import password

import story


class Speaker(story.Speaker):
    """One region, spoken to through an adapter: it finds the endpoint in the catalogue by itself."""

    def __init__(self, region):
        # The generic plugin asks the identity service which versions it speaks.
        login = password.Password(
            auth_url=region["identity_url"].removesuffix("/v3"), username=region["username"], password=region["password"],
            user_domain_name=region["domain_name"], project_name=region["project_name"],
            project_domain_name=region["domain_name"])
        self.session = session.Session(auth=login)
        self.adapter = adapter.Adapter(
            self.session, service_type="data-protect", interface="public", region_name=region["name"])

    def get(self, path):
        return self.adapter.get(path).json()

    def post(self, path, body):
        return self.adapter.post(path, json=body).json()

    def delete(self, path):
        self.adapter.delete(path)


def other_ways_to_log_in(region):
    """By ids instead of names, by a token, without a scope; and what becomes of a token that is revoked."""
    by_name = session.Session(auth=v3.Password(
        auth_url=region["identity_url"], username=region["username"], password=region["password"],
        user_domain_id="default", project_id=region["project_id"]))
    token, user_id = by_name.get_token(), by_name.get_user_id()
    by_id = session.Session(auth=v3.Password(
        auth_url=region["identity_url"], user_id=user_id, password=region["password"], unscoped=True))
    assert by_id.get_project_id() is None
    projects = by_id.get(f"{region['identity_url']}/auth/projects").json()["projects"]
    assert [one["id"] for one in projects] == [region["project_id"]], projects
    by_token = session.Session(auth=v3.Token(
        auth_url=region["identity_url"], token=by_id.get_token(), project_id=projects[0]["id"]))
    endpoint = by_token.get_endpoint(service_type="data-protect", interface="public", region_name=region["name"])
    assert endpoint == f"{region['api_url']}/v1/{region['project_id']}", endpoint
    assert by_token.get(f"{endpoint}/policies").status_code == 200
    by_name.delete(f"{region['identity_url']}/auth/tokens", headers={"X-Subject-Token": token})
    # The session notices by the 401, logs in once more and repeats the call.
    assert by_name.get(f"{endpoint}/policies").status_code == 200
    assert by_name.get_token() != token
    story.say("logged in by name, by id, by token and without a scope; a revoked token is noticed and renewed")


def main():
    story.introduce("keystoneauth1")
    near, far = story.regions()
    here, there = Speaker(near), Speaker(far)
    story.say(f"endpoint in the catalogue: {here.adapter.get_endpoint()}")
    other_ways_to_log_in(near)
    story.tell("keystoneauth", here, there, near, far)


if __name__ == "__main__":
    main()
