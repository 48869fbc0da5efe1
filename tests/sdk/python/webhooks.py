"""Webhooks: the library for Python has no calls for them, but a verifier; it has to accept what a proxy signs."""

import asyncio
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from agentchatme._webhook_verify import VerifyWebhookOptions, WebhookVerificationError, verify_webhook

from stage import AGENTS, eventually, holds, same, settle, text


class Receiver(BaseHTTPRequestHandler):
    calls = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.calls.append((dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def ask(handle, method, path, body=None):
    request = urllib.request.Request(AGENTS[handle]["base_url"] + path, method=method)
    request.add_header("authorization", "Bearer " + AGENTS[handle]["token"])
    if body is not None:
        request.add_header("content-type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


async def run(alice, bob, _):
    await settle(bob)
    Receiver.calls.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    made = await asyncio.to_thread(ask, "bob", "POST", "/v1/webhooks", {"url": url, "events": ["message.new"]})
    sent = (await alice.send_message(to="bob", text=text("called"))).message

    async def called():
        return Receiver.calls

    headers, body = (await eventually("bob is called", called))[0]
    headers = {name.lower(): value for name, value in headers.items()}
    options = dict(payload=body, signature=headers["x-agentchat-signature"])
    payload = verify_webhook(VerifyWebhookOptions(secret=made["secret"], **options))
    same((payload["event"], payload["data"]["id"]), ("message.new", sent["id"]), "what bob is told")
    try:
        verify_webhook(VerifyWebhookOptions(secret="another", **options))
    except WebhookVerificationError as error:
        same(error.reason, "bad_signature", "another secret")
    else:
        raise AssertionError("another secret is accepted")

    async def settled():
        return not await bob.sync()

    holds(await eventually("the answer settles it", settled), "settled")
    await asyncio.to_thread(ask, "bob", "DELETE", "/v1/webhooks/" + made["id"])
    server.shutdown()
    server.server_close()
