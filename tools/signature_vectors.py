#!/usr/bin/env python3
"""Prints the vectors of crates/antipode/src/http/signature/vectors.json: requests as huaweicloudsdkcore signs and sends
them. Run it with the package installed (tools/requirements.txt) when a case is added:

    python3 tools/signature_vectors.py > crates/antipode/src/http/signature/vectors.json
"""

import json
from urllib.parse import quote

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

ACCESS, SECRET = "ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
DATE = "20261123T010203Z"

# name, method, path, query, headers, body
CASES = [
    ("plain get", "GET", "/v1/p/policies", [], {}, ""),
    ("trailing slash", "GET", "/v1/p/policies/", [], {}, ""),
    ("root", "GET", "/", [], {}, ""),
    ("port in host", "GET", "/v1/p/policies", [], {"Host": "127.0.0.1:8780"}, ""),
    ("query in another order", "GET", "/v1/p/checkpoint_items", [("sort", "created_at:asc"), ("limit", 10)], {}, ""),
    ("repeated query keys", "GET", "/v1/p/checkpoint_items",
     [("resource_type", ["OS::Nova::Server", "OS::Ironic::BareMetalServer"]), ("a", "b")], {}, ""),
    ("empty query value", "GET", "/v1/p/checkpoint_items", [("name", ""), ("status", "available")], {}, ""),
    ("query to be encoded", "GET", "/v1/p/policies", [("name", "a b+c/d~e*f'ü&g=h%")], {}, ""),
    ("boolean in query", "GET", "/v1/p/policies", [("all_tenants", True)], {}, ""),
    ("path to be encoded", "GET", "/v1/p/policies/a b~c(d)ü", [], {}, ""),
    ("path encoded already", "GET", "/v1/p/policies/a%20b%C3%BC", [], {}, ""),
    ("json body", "POST", "/v1/p/policies", [], {"Content-Type": "application/json"}, '{"policy": {"name": "nächtlich"}}'),
    ("body with charset", "PUT", "/v1/p/policies/x", [], {"Content-Type": "application/json;charset=UTF-8"}, "{}"),
    ("delete without body", "DELETE", "/v1/p/policies/x", [], {"Content-Type": "application/json"}, ""),
    ("project header and spaces", "GET", "/v1/p/policies", [],
     {"X-Project-Id": "p", "X-Extra": "  spaces   inside  ", "User-Agent": "huaweicloud-usdk-python/3.0"}, ""),
    ("header that is not ascii", "GET", "/v1/p/policies", [], {"X-Extra": "grün"}, ""),
]


def vector(name, method, path, query, headers, body):
    headers = {"X-Sdk-Date": DATE, **headers}
    request = SdkRequest(method, "https", "csbs.example.com", path, "", query, headers, body)
    signed = Signer(BasicCredentials(ACCESS, SECRET, "p")).sign(request)
    # What urllib3 puts on the wire for such a path.
    target = quote(path, safe="/%~()'*!$&+,;=:@")
    if "?" in signed.uri:
        target += "?" + signed.uri.split("?", 1)[1]
    sent = [[key, value.encode("iso-8859-1").decode("utf-8")] for key, value in signed.header_params.items()]
    return {"name": name, "method": method, "target": target, "headers": sent, "body": body}


def main():
    vectors = [vector(*case) for case in CASES]
    print(json.dumps({"access": ACCESS, "secret": SECRET, "vectors": vectors}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
