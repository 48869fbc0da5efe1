"""Who is known, blocked, muted: contacts, blocks, mutes, the directory."""

from agentchatme import BlockedError, ForbiddenError, NotFoundError, RateLimitedError, ValidationError
from agentchatme.types import Agent, Contact

from stage import collect, eventually, holds, impatient, refused, same, text


async def run(alice, bob, carol):
    await contacts(alice)
    await blocks(alice, bob)
    await mutes(alice, bob)
    await own_record(alice, carol)
    await directory(alice)


async def contacts(alice):
    added = Contact.model_validate(await alice.add_contact("@Bob"))
    same((added.handle, added.status), ("bob", "active"), "add_contact")
    await alice.add_contact("carol")
    page = await alice.list_contacts(limit=1, offset=1)
    same((len(page["contacts"]), page["total"], page["limit"], page["offset"]), (1, 2, 1, 1), "a page of contacts")
    rows = await collect(await alice.contacts(page_size=1))
    same(sorted(Contact.model_validate(row).handle for row in rows), ["bob", "carol"], "all contacts")

    known = await alice.check_contact("bob")
    same((known["is_contact"], known["notes"]), (True, None), "check_contact")
    holds(known["added_at"], "since when", known)
    await alice.update_contact_notes("bob", text("reliable"))
    same((await alice.check_contact("bob"))["notes"], text("reliable"), "notes")
    await alice.update_contact_notes("bob", None)
    same((await alice.check_contact("bob"))["notes"], None, "notes that were taken away")
    for _ in range(2):
        await alice.remove_contact("carol")
    gone = await alice.check_contact("carol")
    same((gone["is_contact"], gone["added_at"], gone["notes"]), (False, None, None), "a contact that was removed")
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.add_contact("nobody-at-all"), 404)


async def blocks(alice, bob):
    """Both ways, and over once the agent says so."""
    conversation = next(row["id"] for row in await bob.list_conversations() if row["type"] == "direct")
    for _ in range(2):
        await bob.block_agent("alice")
    for one, other in ((alice, "bob"), (bob, "alice")):
        await refused(BlockedError, "BLOCKED", one.send_message(to=other, text=text("blocked")), 403)
    await bob.unblock_agent("alice")
    # There is nobody to report to: a report blocks.
    await bob.report_agent("alice", text("too many crates"))
    await refused(BlockedError, "BLOCKED", alice.send_message(to="bob", text=text("reported")), 403)
    for _ in range(2):
        await bob.unblock_agent("alice")
    sent = (await alice.send_message(to="bob", text=text("unblocked"))).message

    async def there():
        rows = [row for row in await bob.sync() if row["conversation_id"] == conversation]
        return [row["id"] for row in rows] == [sent["id"]] and rows[0]["delivery_id"]

    delivery = await eventually("bob has what came after the block, and nothing of what came before", there)
    await bob.sync_ack(delivery)


async def mutes(alice, bob):
    """Local to the agent that mutes; a mute suppresses pushes, never sync."""
    conversation = (await bob.send_message(to="alice", text=text("muted"))).message["conversation_id"]
    same(await bob.get_agent_mute_status("alice"), None, "no mute")
    same(await bob.get_conversation_mute_status(conversation), None, "no mute")
    entry = await bob.mute_agent("@Alice")
    same((entry["target_kind"], entry["muted_until"]), ("agent", None), "mute_agent")
    entry = await bob.mute_conversation(conversation, muted_until="2099-01-01T00:00:00Z")
    same((entry["target_kind"], entry["target_id"]), ("conversation", conversation), "mute_conversation")
    holds(entry["muted_until"].startswith("2099-01-01T00:00:00"), "until when", entry)
    kinds = [row["target_kind"] for row in (await bob.list_mutes())["mutes"]]
    same(sorted(kinds), ["agent", "conversation"], "list_mutes")
    only = (await bob.list_mutes(kind="conversation"))["mutes"]
    same([row["target_id"] for row in only], [conversation], "mutes of conversations")
    same((await bob.get_agent_mute_status("alice"))["target_kind"], "agent", "get_agent_mute_status")
    same((await bob.get_conversation_mute_status(conversation))["target_id"], conversation, "the other status")

    async def listed():
        return {row["id"]: row["is_muted"] for row in await bob.list_conversations()}

    same((await listed())[conversation], True, "is_muted")
    await bob.unmute_agent("alice")
    await bob.unmute_conversation(conversation)
    same((await listed())[conversation], False, "is_muted")
    same(await bob.get_agent_mute_status("alice"), None, "a mute that ended")
    await refused(NotFoundError, "NOT_MUTED", bob.unmute_agent("alice"), 404)


async def own_record(alice, carol):
    """Carol makes herself known; whoever does not is found by the whole handle only."""
    change = {"display_name": "Carol of the docks", "description": "moves crates", "settings": {"listed": True}}
    changed = await carol.update_agent("carol", change)
    same((changed["display_name"], changed["description"]), ("Carol of the docks", "moves crates"), "update_agent")
    me = Agent.model_validate(await carol.get_me())
    same((me.display_name, me.description), ("Carol of the docks", "moves crates"), "get_me afterwards")
    await refused(ForbiddenError, "FORBIDDEN", alice.update_agent("carol", {"description": "x"}), 403)

    async def seen():
        return (await alice.search_agents("ca"))["agents"]

    await eventually("alice finds carol", seen)


async def directory(alice):
    page = await alice.search_agents("ca", limit=10, offset=0)
    same([row["handle"] for row in page["agents"]], ["carol"], "search_agents")
    same((page["total"], page["limit"], page["offset"]), (1, 10, 0), "a page of the directory")
    found = page["agents"][0]
    same((found["display_name"], found["in_contacts"]), ("Carol of the docks", False), "an agent of the directory")
    rows = await collect(await alice.search_agents_all("bob", page_size=1))
    same([(row["handle"], row["in_contacts"]) for row in rows], [("bob", True)], "search_agents_all")
    same((await alice.search_agents("bo"))["agents"], [], "an agent that is not listed")
    await refused(ValidationError, "VALIDATION_ERROR", alice.search_agents("b"), 400)
    hasty = impatient("alice", type(alice.client))

    async def limited():
        try:
            await hasty.search_agents("zz")
        except RateLimitedError as error:
            return error

    error = await eventually("the relay has had enough of searches", limited)
    same((error.code, error.status), ("RATE_LIMITED", 429), "too many searches")
    holds(error.retry_after_ms > 0, "when to come back", error.retry_after_ms)
