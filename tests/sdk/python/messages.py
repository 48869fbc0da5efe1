"""Direct messages: send, send again, fetch, settle, read, hide."""

from agentchatme import AgentChatError, NotFoundError, ValidationError, last_sync_delivery_id, render_message_context
from agentchatme.types import Agent, AgentProfile, ConversationListItem, ConversationParticipant, Message

from stage import eventually, holds, refused, same, settle, text

NO_MESSAGE = "msg_" + "0" * 32
NO_CONVERSATION = "conv_" + "0" * 32


async def run(alice, bob, carol):
    await identities(alice)
    sent = await sends(alice)
    await drains(bob, sent)
    conversation = await histories(alice, bob, sent)
    await reads(alice, bob, sent[0])
    await hides(alice, bob, sent[1])
    await conversations(alice, bob, conversation)
    await refusals(alice, bob, carol, conversation)


async def identities(alice):
    me = Agent.model_validate(await alice.get_me())
    same((me.handle, me.status, me.paused_by_owner), ("alice", "active", "none"), "get_me")
    for name in ("bob", "@bob", "@Bob"):
        profile = AgentProfile.model_validate(await alice.get_agent(name))
        same((profile.handle, profile.status), ("bob", "active"), f"get_agent({name})")
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.get_agent("nobody-at-all"), 404)


async def sends(alice):
    """Four messages in the forms in which agents write them, each stored once."""
    forms = [
        {"text": text("the first"), "metadata": {"task": 1}},
        {"content": {"type": "text", "text": text("the second")}},
        {"content": text("the third, a bare string")},
        {"data": {"price": 1.5, "note": text("the fourth")}, "type": "structured"},
    ]
    sent = []
    for to, form in zip(("@bob", "bob", "@BOB", "bob"), forms):
        result = await alice.send_message(to=to, client_msg_id=f"m-{len(sent)}", **form)
        holds(result.backlog_warning is None, "a warning", result)
        message = Message.model_validate(result.message)
        same((message.sender, message.status), ("alice", "stored"), "send_message")
        same(message.seq, len(sent) + 1, "seq of what was sent")
        sent.append(message)
    same(sent[0].metadata, {"task": 1}, "metadata")
    same(sent[2].content.text, forms[2]["content"], "a bare string is a text")
    same(sent[3].content.data["price"], 1.5, "data")
    same({message.conversation_id for message in sent}, {sent[0].conversation_id}, "conversation")

    again = await alice.send_message(to="bob", client_msg_id="m-0", text=text("not this"))
    first = Message.model_validate(again.message)
    same((first.id, first.content), (sent[0].id, sent[0].content), "an idempotent resend")
    return sent


async def drains(bob, sent):
    """Everything once, oldest first; settled by its last delivery and not before."""

    async def all_there():
        rows = await bob.sync()
        return rows if len(rows) == len(sent) else None

    rows = await eventually("bob has what alice sent", all_there)
    same([row["id"] for row in rows], [message.id for message in sent], "sync, oldest first")
    for row, message in zip(rows, sent):
        got = Message.model_validate(row)
        same((got.sender, got.content), ("alice", message.content), "a row of sync")
        same((got.context.sender.handle, got.context.conversation.type), ("alice", "direct"), "context")
        holds(row["delivery_id"].startswith("del_"), "delivery_id", row)
    shown = render_message_context(rows[0], self_handle="bob")
    holds("From: @alice" in shown and "direct message" in shown, "what a model is shown", shown)

    page = await bob.sync(limit=2)
    same([row["id"] for row in page], [row["id"] for row in rows[:2]], "a page of sync")
    rest = await bob.sync(after=page[-1]["delivery_id"])
    same([row["id"] for row in rest], [row["id"] for row in rows[2:]], "sync after a delivery")
    same(len(await bob.sync()), len(sent), "reading settles nothing")

    same(await bob.sync_ack(page[-1]["delivery_id"]), {"acked": 2}, "an ack of two")
    same(await bob.sync_ack(last_sync_delivery_id(rest)), {"acked": 2}, "an ack of the rest")
    same(await bob.sync_ack(last_sync_delivery_id(rest)), {"acked": 0}, "the same ack again")
    same(await bob.sync_ack("del_" + "0" * 32), {"acked": 0}, "an ack of nothing")
    same(await bob.sync(), [], "sync when all is settled")


async def histories(alice, bob, sent):
    ids = [message.id for message in sent]
    for agent, conversation in ((alice, sent[0].conversation_id), (bob, await only_conversation(bob))):

        async def rows(**query):
            found = [Message.model_validate(row) for row in await agent.get_messages(conversation, **query)]
            return [message.id for message in found]

        same(await rows(), ids[::-1], "history, newest first")
        same(await rows(after_seq=0), ids, "history after a number, oldest first")
        same(await rows(after_seq=1, limit=2), ids[1:3], "a page of it")
        same(await rows(before_seq=3), ids[1::-1], "history before a number, newest first")
    return conversation


async def only_conversation(agent):
    rows = await agent.list_conversations()
    same(len(rows), 1, "conversations")
    return rows[0]["id"]


async def reads(alice, bob, message):
    """The author learns of it, by a receipt that the reader's proxy signed."""

    async def status_is(status):
        rows = await alice.get_messages(message.conversation_id, after_seq=message.seq - 1, limit=1)
        row = Message.model_validate(rows[0])
        return row if row.status == status else None

    delivered = await eventually("alice sees delivered", lambda: status_is("delivered"))
    holds(delivered.delivered_at and delivered.read_at is None, "times of a delivered message", delivered)
    for _ in range(2):
        same((await bob.mark_as_read(message.id))["id"], message.id, "mark_as_read")
    read = await eventually("alice sees read", lambda: status_is("read"))
    holds(read.read_at, "the time of a read message", read)
    await refused(NotFoundError, "MESSAGE_NOT_FOUND", alice.mark_as_read(message.id), 404)
    await refused(NotFoundError, "MESSAGE_NOT_FOUND", bob.mark_as_read(NO_MESSAGE), 404)


async def hides(alice, bob, message):
    for _ in range(2):
        holds("message" in await bob.delete_message(message.id), "delete_message")
    conversation = await only_conversation(bob)
    ids = [row["id"] for row in await bob.get_messages(conversation)]
    holds(message.id not in ids, "hidden for who deleted it", ids)
    ids = [row["id"] for row in await alice.get_messages(message.conversation_id)]
    holds(message.id in ids, "kept for the other side", ids)
    await refused(NotFoundError, "MESSAGE_NOT_FOUND", bob.delete_message(NO_MESSAGE), 404)


async def conversations(alice, bob, conversation):
    item = ConversationListItem.model_validate((await bob.list_conversations())[0])
    same((item.id, item.type, item.is_muted), (conversation, "direct", False), "list_conversations")
    same([who.handle for who in item.participants], ["alice"], "participants of a list item")
    people = await bob.get_conversation_participants(conversation)
    same([ConversationParticipant.model_validate(row).handle for row in people], ["alice"], "participants")

    same((await bob.hide_conversation(conversation))["ok"], True, "hide_conversation")
    same(await bob.list_conversations(), [], "conversations, one hidden")
    await alice.send_message(to="bob", text=text("are you there?"))

    async def back():
        return [row["id"] for row in await bob.list_conversations()] == [conversation]

    await eventually("the conversation comes back with a message", back)
    await settle(bob)


async def refusals(alice, bob, carol, conversation):
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.send_message(to="nobody-at-all", text="x"), 404)
    issue = await refused(ValidationError, "VALIDATION_ERROR", alice.send_message(to="alice", text="x"), 400)
    holds(issue.details["issues"], "where a request is wrong", issue.details)
    await refused(ValidationError, "VALIDATION_ERROR", alice.send_message(text="x"), 400)
    await refused(ValidationError, "VALIDATION_ERROR", alice.send_message(to="bob"), 400)
    await refused(ValidationError, "VALIDATION_ERROR", alice.send_message(to="bob", text="x", type="system"), 400)
    long = await refused(ValidationError, "VALIDATION_ERROR", alice.send_message(to="bob", text="x" * 10_001), 400)
    same((long.details["limit"], long.details["max"], long.details["actual"]), ("text", 10_000, 10_001), "a limit")
    nothing = alice.send_message(conversation_id=NO_CONVERSATION, text="x")
    await refused(NotFoundError, "CONVERSATION_NOT_FOUND", nothing, 404)
    # Who takes no part in a conversation cannot tell it from none.
    for call in (
        carol.get_messages(conversation),
        carol.get_conversation_participants(conversation),
        carol.hide_conversation(conversation),
    ):
        await refused(NotFoundError, "CONVERSATION_NOT_FOUND", call, 404)
    try:
        await alice.send_message(to="bob", data={"not": float("nan")})
    except (AgentChatError, ValueError) as error:
        # The library refuses it itself, or the proxy does.
        holds(getattr(error, "status", 400) == 400, "NaN", error)
    else:
        raise AssertionError("NaN was sent")
