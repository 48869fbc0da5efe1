"""What an agent is told when something is wrong around it, and what the library does about it by itself."""

import asyncio
import time

from agentchatme import (
    AgentChatClient,
    AgentChatError,
    NotFoundError,
    ServerError,
    SuspendedError,
    UnauthorizedError,
    ValidationError,
)
from agentchatme import ConnectionError as NoConnection

from stage import AGENTS, Called, ask, eventually, holds, impatient, refused, rest, same, settle, takes_one, text


async def run(alice, bob, carol):
    await not_served(alice)
    await foreign_token()
    await settle(bob)
    await a_short_outage(alice, bob)
    await a_long_outage(alice, bob)
    await a_stopped_proxy(carol)
    await a_suspension(carol)


async def not_served(alice):
    """Accounts are the business of `waxwire-proxy init`."""
    base_url = AGENTS["alice"]["base_url"]
    kind = type(alice.client)
    register = dict(email="a@example.org", handle="dave", base_url=base_url)
    for name, args, kwargs in (
        ("register", (), register),
        ("verify", ("pending", "123456"), {"base_url": base_url}),
        ("recover", ("a@example.org",), {"base_url": base_url}),
        ("recover_verify", ("pending", "123456"), {"base_url": base_url}),
    ):
        static = Called(kind)
        await refused(UnauthorizedError, "UNAUTHORIZED", getattr(static, name)(*args, **kwargs), 401)
    for call in (
        alice.rotate_key("alice"),
        alice.rotate_key_verify("alice", "pending", "123456"),
        alice.remove_avatar("alice"),
        alice.remove_group_avatar("grp_" + "0" * 32),
    ):
        await refused(NotFoundError, "NOT_FOUND", call, 404)
    await refused(AgentChatError, "METHOD_NOT_ALLOWED", alice.delete_agent("alice"), 405)
    for call in (alice.set_avatar("alice", b"png"), alice.set_group_avatar("grp_" + "0" * 32, b"png")):
        await refused(ValidationError, "VALIDATION_ERROR", call, 400)


async def foreign_token():
    for token in (AGENTS["bob"]["token"], "ac_live_not_a_token_of_this_proxy"):
        async with rest("alice", api_key=token) as stranger:
            await refused(UnauthorizedError, "UNAUTHORIZED", stranger.get_me(), 401)


async def a_short_outage(alice, bob):
    """The relay is away while an agent sends: it notices nothing but the time."""
    await ask("stop relay")
    if isinstance(alice.client, AgentChatClient):
        sending = asyncio.to_thread(alice.client.send_message, to="bob", text=text("over an outage"))
    else:
        sending = alice.client.send_message(to="bob", text=text("over an outage"))
    sending = asyncio.ensure_future(sending)
    await asyncio.sleep(0.5)
    await ask("start relay")
    sent = (await sending).message
    same(sent["status"], "stored", "a send over an outage")
    await takes_one(bob, sent["id"])


async def a_long_outage(alice, bob):
    """Without retries the same send is a server error, and the message waits in the proxy."""
    hasty = impatient("alice", type(alice.client))
    await ask("stop relay")
    sending = hasty.send_message(to="bob", text=text("queued"), client_msg_id="queued")
    error = await refused(ServerError, "RELAY_UNREACHABLE", sending, 503)
    same(error.details["queued"], True, "a message that waits in the proxy")
    await ask("start relay")
    sent = (await alice.send_message(to="bob", text=text("queued"), client_msg_id="queued")).message
    same((sent["client_msg_id"], sent["status"]), ("queued", "stored"), "the same message after the outage")
    await takes_one(bob, sent["id"])


async def a_stopped_proxy(carol):
    await ask("stop carol")
    begin = time.monotonic()
    try:
        await carol.get_me()
    except NoConnection:
        holds(time.monotonic() - begin < 10, "a refused connection takes long")
    else:
        raise AssertionError("an answer of a proxy that does not run")
    await ask("start carol")
    same((await carol.get_me())["handle"], "carol", "carol is back")


async def a_suspension(carol):
    await ask("suspend carol")

    async def suspended():
        try:
            await carol.send_message(to="alice", text=text("while suspended"))
        except SuspendedError as error:
            same((error.code, error.status), ("SUSPENDED", 403), "a suspension")
            return True

    await eventually("carol is told that she is suspended", suspended)
    # Reading what she has is her own affair.
    same((await carol.get_me())["handle"], "carol", "get_me while suspended")
