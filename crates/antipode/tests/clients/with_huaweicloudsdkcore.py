#!/usr/bin/env python3
"""huaweicloudsdkcore: the core of the origin cloud's SDK for Python. It signs each request with an access key
(SDK-HMAC-SHA256) instead of carrying a token.

    with_huaweicloudsdkcore.py DEV_JSON
"""

import json
import sys
import time
from urllib.parse import parse_qsl, urlsplit

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.client import Client, ClientBuilder
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkcore.sdk_response import SdkResponse
from keystoneauth1 import session
from keystoneauth1.identity.generic import password

import story


def make_access_key(region):
    """What a person does once, logged in by password."""
    login = password.Password(
        auth_url=region["identity_url"], username=region["username"], password=region["password"],
        user_domain_name=region["domain_name"], project_name=region["project_name"],
        project_domain_name=region["domain_name"])
    body = {"credential": {"description": "signs requests of the SDK"}}
    answer = session.Session(auth=login).post(f"{region['api_url']}/antipode/v1/credentials", json=body)
    return answer.json()["credential"]


class Answer(SdkResponse):
    """The SDK's services have a class for each answer; here one stands for all, and its raw content is read."""

    openapi_types = {}


class Speaker(story.Speaker):
    """One region, spoken to with signed requests."""

    def __init__(self, region, key):
        self.credentials = BasicCredentials(key["id"], key["secret"], region["project_id"])
        self.changed_at = 0
        self.client = self.client_of(region["api_url"])
        catalog = self.call("GET", urlsplit(region["identity_url"]).path + "/auth/catalog")["catalog"]
        service = next(one for one in catalog if one["type"] == "data-protect")
        self.endpoint = next(one["url"] for one in service["endpoints"] if one["interface"] == "public")
        address = urlsplit(self.endpoint)
        self.client = self.client_of(f"{address.scheme}://{address.netloc}")
        self.base = address.path

    def client_of(self, address):
        client = ClientBuilder(Client).with_credentials(self.credentials).with_endpoint(address).build()
        client.model_package = sys.modules[__name__]
        return client

    def call(self, method, target, body=None):
        if method != "GET":
            # A signature that changes something is good once, and its date counts seconds.
            while int(time.time()) == self.changed_at:
                time.sleep(0.01)
            self.changed_at = int(time.time())
        target = urlsplit(target)
        response = self.client.do_http_request(
            method, target.path, response_type="Answer", query_params=parse_qsl(target.query, keep_blank_values=True),
            header_params={"Content-Type": "application/json"}, body=body)
        return json.loads(response.raw_content) if response.raw_content else None

    def get(self, path):
        return self.call("GET", self.base + path)

    def post(self, path, body):
        return self.call("POST", self.base + path, body)

    def delete(self, path):
        self.call("DELETE", self.base + path)


def a_wrong_secret_opens_nothing(region, key):
    try:
        Speaker(region, {"id": key["id"], "secret": key["secret"][::-1]})
    except ServiceResponseException as refusal:
        assert refusal.status_code == 401, refusal
        story.say(f"a wrong secret is refused: {refusal.error_msg}")
        return
    raise AssertionError("a wrong secret opened the catalogue")


def main():
    story.introduce("huaweicloudsdkcore")
    near, far = story.regions()
    keys = [make_access_key(region) for region in (near, far)]
    here, there = Speaker(near, keys[0]), Speaker(far, keys[1])
    story.say(f"endpoint in the catalogue, asked for with a signature: {here.endpoint}")
    a_wrong_secret_opens_nothing(near, keys[0])
    story.tell("huaweicloudsdkcore", here, there, near, far)


if __name__ == "__main__":
    main()
