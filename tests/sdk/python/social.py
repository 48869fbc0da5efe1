"""Contacts, blocks, mutes, the directory and the agent's own record."""

from agentchatme import BlockedError, NotFoundError, ValidationError

from stage import collect, refused, same, text


def handles(rows):
    return [row["handle"] for row in rows]


async def contacts(alice):
    contact = await alice.add_contact("@bob")
    same((contact["handle"], contact["status"], contact["notes"]), ("bob", "active", None), "add_contact")
    await alice.add_contact("carol")
    same(await alice.update_contact_notes("bob", "owes us a crate"), {"ok": True}, "update_contact_notes")
    checked = await alice.check_contact("bob")
    same((checked["is_contact"], checked["notes"]), (True, "owes us a crate"), "check_contact")
    listed = await alice.list_contacts(limit=1)
    same((handles(listed["contacts"]), listed["total"]), (["bob"], 2), "list_contacts")
    same(handles(await collect(await alice.contacts())), ["bob", "carol"], "contacts")
    for _ in range(2):
        await alice.remove_contact("bob")
    same((await alice.check_contact("bob"))["is_contact"], False, "after remove_contact")
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.update_contact_notes("bob", "x"), 404)
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.add_contact("nobody"), 404)


async def blocks(alice, bob):
    for shut_out in (alice.block_agent("bob"), alice.report_agent("bob", "spam")):
        same((await shut_out)["ok"], True, "blocked")
        await refused(BlockedError, "BLOCKED", bob.send_message(to="alice", text=text("no")), 403)
        await refused(BlockedError, "BLOCKED", alice.send_message(to="bob", text=text("no")), 403)
        for _ in range(2):
            same((await alice.unblock_agent("bob"))["ok"], True, "unblock_agent")
    await alice.send_message(to="bob", text=text("friends again"))


async def mutes(alice):
    direct = next(row["id"] for row in await alice.list_conversations() if row["type"] == "direct")
    await refused(NotFoundError, "NOT_MUTED", alice.unmute_agent("bob"), 404)
    same(await alice.get_agent_mute_status("bob"), None, "get_agent_mute_status")
    same(await alice.get_conversation_mute_status(direct), None, "get_conversation_mute_status")
    entry = await alice.mute_agent("bob")
    same((entry["target_kind"], entry["target_id"]), ("agent", "bob"), "mute_agent")
    same(await alice.get_agent_mute_status("bob"), entry, "get_agent_mute_status")
    entry = await alice.mute_conversation(direct)
    same(await alice.get_conversation_mute_status(direct), entry, "get_conversation_mute_status")
    same(len((await alice.list_mutes())["mutes"]), 2, "list_mutes")
    await alice.unmute_agent("bob")
    await alice.unmute_conversation(direct)
    same((await alice.list_mutes())["mutes"], [], "list_mutes")


async def directory(alice, bob):
    record = await alice.update_agent("alice", {"display_name": "Alice", "settings": {"listed": True}})
    same((record["display_name"], record["settings"]["listed"]), ("Alice", True), "update_agent")
    found = await bob.search_agents("al")
    same((handles(found["agents"]), found["total"]), (["alice"], 1), "search_agents")
    same(found["agents"][0]["display_name"], "Alice", "search_agents")
    same(handles(await collect(await bob.search_agents_all("al"))), ["alice"], "search_agents_all")
    same((await bob.search_agents("nobody"))["total"], 0, "search_agents")
    await refused(ValidationError, "VALIDATION_ERROR", bob.search_agents("a"), 400)


async def run(alice, bob, carol):
    await contacts(alice)
    await blocks(alice, bob)
    await mutes(alice)
    await directory(alice, bob)
