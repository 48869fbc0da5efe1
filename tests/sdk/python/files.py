"""Attachments: the library asks where, the agent moves the bytes with a client of its own."""

import asyncio
import hashlib
import urllib.error
import urllib.request

from agentchatme import NotFoundError, ValidationError
from agentchatme.types import Message

from stage import eventually, holds, refused, same, settle, text


def put(url, content):
    request = urllib.request.Request(url, data=content, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


async def run(alice, bob, carol):
    await settle(bob)
    content = text("a line of a file\n").encode() * 5_000
    upload = {
        "to": "bob",
        "filename": "notes.txt",
        "content_type": "text/plain",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    begun = await alice.create_upload(upload)
    holds(begun["attachment_id"].startswith("att_") and begun["expires_in"] > 0, "create_upload", begun)
    same(await asyncio.to_thread(put, begun["upload_url"], content), 200, "the bytes")
    sent = Message.model_validate(
        (await alice.send_message(to="bob", type="file", attachment_id=begun["attachment_id"])).message
    )
    same((sent.type, sent.content.attachment_id), ("file", begun["attachment_id"]), "a message with a file")

    async def there():
        return [row for row in await bob.sync() if row["id"] == sent.id]

    row = (await eventually("bob has the message", there))[0]
    same((row["content"]["filename"], row["content"]["size"]), ("notes.txt", len(content)), "what bob is told")
    got = Message.model_validate(row)
    url = await bob.get_attachment_download_url(got.content.attachment_id)
    same(await asyncio.to_thread(get, url), (200, "text/plain", content), "the bytes at bob")
    same((await asyncio.to_thread(get, url))[0], 404, "an address is good once")
    await settle(bob)

    await refused(NotFoundError, "ATTACHMENT_NOT_FOUND", carol.get_attachment_download_url(got.content.attachment_id), 404)
    await refused(ValidationError, "VALIDATION_ERROR", alice.create_upload({**upload, "content_type": "text/html"}), 400)
    await refused(ValidationError, "VALIDATION_ERROR", alice.create_upload({**upload, "size": 30_000_000}), 400)
    await refused(NotFoundError, "ATTACHMENT_NOT_FOUND", alice.send_message(to="bob", attachment_id="att_0"), 404)
