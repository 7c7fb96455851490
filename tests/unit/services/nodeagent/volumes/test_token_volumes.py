"""Service account tokens: what is asked for, and when they are replaced."""

import base64
import json
import time

from services.nodeagent.volumes import tokens
from tests.fakes.podlife import container, pod


class Api:
    async def create(self, path, obj, query=None):
        self.path, self.obj = path, obj
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return {"status": {"token": "t", "expirationTimestamp": expires}}


def jwt(issued, expires):
    body = base64.urlsafe_b64encode(json.dumps({"iat": issued, "exp": expires}).encode()).decode().rstrip("=")
    return f"x.{body}.y"


async def test_a_token_is_bound_to_its_pod_and_renewed_in_time():
    api = Api()
    token = await tokens.request(api, pod(container("c"), serviceAccountName="sa"), {"audience": "vault"})
    assert api.path == "/api/v1/namespaces/default/serviceaccounts/sa/token"
    assert api.obj["spec"]["audiences"] == ["vault"]
    assert api.obj["spec"]["boundObjectRef"] == {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}
    assert 3600 * 0.7 < token.renew_at - time.time() < 3600 * 0.81


def test_a_token_on_disk_is_used_until_it_is_due():
    now = time.time()
    assert tokens.existing(jwt(now, now + 3600)).text.startswith("x.")
    assert tokens.existing(jwt(now - 3000, now + 600)) is None


def test_what_is_no_token_is_replaced():
    assert tokens.existing("") is None
    assert tokens.existing("a.b.c") is None


def test_a_very_long_lived_token_is_replaced_every_day():
    now = time.time()
    assert tokens.existing(jwt(now, now + 1e7)).renew_at - now <= 24 * 3600
