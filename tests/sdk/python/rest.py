"""Every call of the SDK for Python, between real crypto proxies: `rest.py sync` or `rest.py async`."""

import asyncio
import sys

from agentchatme import AgentChatClient, AsyncAgentChatClient

import files
import groups
import messages
import outages
import people
import presence
import stage
import webhooks

KINDS = {"sync": AgentChatClient, "async": AsyncAgentChatClient}


async def main(kind):
    async with stage.agents(kind, "alice", "bob", "carol") as agents:
        for part in (messages, files, groups, people, presence, webhooks, outages):
            stage.say(f"-- {part.__name__}")
            await part.run(*agents)
    left = stage.methods(kind) - stage.Called.names
    stage.same(left, set(), "methods that were never called")


asyncio.run(main(KINDS[sys.argv[1]]))
