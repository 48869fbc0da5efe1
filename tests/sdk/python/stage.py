"""What an agent's script needs from the test that runs it, and ways to say what it expects.

The test gives every agent two addresses and a token; nothing else here differs from what an agent of the platform does.
"""

import asyncio
import inspect
import json
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager

from agentchatme import (
    AgentChatClient,
    AgentChatError,
    AsyncAgentChatClient,
    RealtimeClient,
    RetryPolicy,
    last_sync_delivery_id,
)

# Stands in every text. The test looks for it in all files, where it must not be.
MARK = os.environ["MARK"]
AGENTS = json.loads(os.environ["AGENTS"])
SLOW = int(os.environ.get("SLOW", "1"))
# How long something may take to get from one agent to another.
SPREAD = 20 * SLOW


def rest(handle, kind=AsyncAgentChatClient, **options):
    """A client of the agent's crypto proxy."""
    settings = {"api_key": AGENTS[handle]["token"], "base_url": AGENTS[handle]["base_url"]}
    return kind(**{**settings, **options})


def impatient(handle, kind):
    """The same, but it tries nothing twice."""
    return Called(rest(handle, kind, retry=RetryPolicy(max_retries=0)))


def realtime(handle, client, **options):
    """The same for the socket, which has an address of its own."""
    settings = {"api_key": AGENTS[handle]["token"], "base_url": AGENTS[handle]["realtime_url"]}
    return RealtimeClient(client=client, **{**settings, **options})


class Called:
    """A client of either kind, all calls awaited; remembers which methods were called."""

    names = set()

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        method = getattr(self.client, name)

        async def call(*args, **kwargs):
            Called.names.add(name)
            result = method(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return call


@asynccontextmanager
async def agents(kind, *handles):
    """A client of one kind for each handle."""
    async with AsyncExitStack() as stack:
        clients = []
        for handle in handles:
            client = rest(handle, kind)
            if kind is AgentChatClient:
                stack.enter_context(client)
            else:
                await stack.enter_async_context(client)
            clients.append(Called(client))
        yield clients


def methods(kind):
    """The public methods of a client."""
    own = {"close", "aclose"}
    return {name for name, value in vars(kind).items() if not name.startswith("_") and name not in own}


def say(what):
    """Shown beside a failure."""
    print(what, flush=True)


async def ask(request):
    """Has the test do what an agent cannot, such as stopping the relay."""
    print(f"> {request}", flush=True)
    answer = await asyncio.to_thread(sys.stdin.readline)
    same(answer.strip(), "done", f"the test's answer to '{request}'")


def text(words):
    return f"{words} {MARK}"


def same(actual, expected, what):
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"


def holds(condition, what, shown=None):
    assert condition, f"{what}: {shown!r}"


async def refused(kind, code, call, status=None):
    """Requires an error of exactly this class, with this code; gives it."""
    expected = f"{kind.__name__} {code}"
    try:
        answer = await call
    except AgentChatError as error:
        got = f"{type(error).__name__} {error.code} {error.status} ({error})"
        assert type(error) is kind and error.code == code, f"expected {expected}, got {got}"
        assert status in (None, error.status), f"expected {status}, got {got}"
        assert error.request_id, f"no x-request-id: {got}"
        return error
    raise AssertionError(f"expected {expected}, got the answer {answer!r}")


async def eventually(what, look, limit=SPREAD):
    """Looks again and again until there is something; gives it."""
    until = time.monotonic() + limit
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < until, f"{what}: not within {limit} s, at last {found!r}"
        await asyncio.sleep(0.02)


async def collect(pages):
    """All rows of an iterator of either kind."""
    if hasattr(pages, "__aiter__"):
        return [row async for row in pages]
    return list(pages)


async def settle(agent):
    """Settles what waits; gives it."""
    rows = await agent.sync()
    if rows:
        await agent.sync_ack(last_sync_delivery_id(rows))
    return rows


async def takes_one(agent, id):
    """Waits until exactly this message waits, and settles it."""

    async def there():
        return [row["id"] for row in await agent.sync()] == [id]

    await eventually(f"{id} waits, once", there)
    await settle(agent)
