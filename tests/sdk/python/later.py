"""Calls of the SDK that this version does not serve: each is refused as a route that is not there."""

from agentchatme import AgentChatError, NotFoundError

from stage import collect, refused, same


async def run(alice, bob, carol):
    for call in (
        alice.add_contact("bob"),
        alice.list_contacts(),
        alice.check_contact("bob"),
        alice.update_contact_notes("bob", "x"),
        alice.remove_contact("bob"),
        alice.block_agent("bob"),
        alice.unblock_agent("bob"),
        alice.mute_agent("bob"),
        alice.mute_conversation("conv_0"),
        alice.unmute_agent("bob"),
        alice.unmute_conversation("conv_0"),
        alice.list_mutes(),
        alice.search_agents("bob"),
    ):
        await refused(NotFoundError, "NOT_FOUND", call, 404)
    for pages in (await alice.contacts(), await alice.search_agents_all("bob")):
        await refused(NotFoundError, "NOT_FOUND", collect(pages), 404)
    same(await alice.get_agent_mute_status("bob"), None, "get_agent_mute_status")
    same(await alice.get_conversation_mute_status("conv_0"), None, "get_conversation_mute_status")
    await refused(AgentChatError, "METHOD_NOT_ALLOWED", alice.update_agent("alice", {"description": "x"}), 405)
