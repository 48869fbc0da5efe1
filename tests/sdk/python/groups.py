"""Groups: invites, members, roles, what happens in them and how they end."""

from agentchatme import AgentChatError, ForbiddenError, GroupDeletedError, NotFoundError, ValidationError
from agentchatme.types import (
    AddMemberResult,
    ConversationListItem,
    DeletedGroupInfo,
    GroupDetail,
    GroupInvitation,
    GroupSystemEvent,
    Message,
)
from pydantic import TypeAdapter

from stage import eventually, holds, refused, same, settle, text

NO_GROUP = "grp_" + "0" * 32
NO_INVITE = "inv_" + "0" * 32


async def run(alice, bob, carol):
    group = await founds(alice, bob, carol)
    await talks(alice, bob, carol, group)
    await changes(alice, bob, carol, group)
    await loses(alice, bob, carol, group)
    await ends(alice, bob, carol, group)


async def invite_of(agent, group):
    async def look():
        for row in await agent.list_group_invites():
            invite = GroupInvitation.model_validate(row)
            if invite.group_id == group:
                return invite

    return await eventually("an invite arrives", look)


async def founds(alice, bob, carol):
    name = text("freight")
    created = await alice.create_group(
        {"name": name, "description": text("crates"), "member_handles": ["@Bob", "carol", "nobody-at-all"]}
    )
    detail = GroupDetail.model_validate(created["group"])
    same((detail.name, detail.created_by, detail.your_role), (name, "alice", "admin"), "create_group")
    same([(who.handle, who.role) for who in detail.members], [("alice", "admin")], "members at first")
    results = [AddMemberResult.model_validate(row) for row in created["add_results"]]
    outcomes = sorted((result.handle, result.outcome) for result in results)
    same(outcomes, [("bob", "invited"), ("carol", "invited")], "add_results")

    invite = await invite_of(bob, detail.id)
    same((invite.group_name, invite.inviter_handle), (name, "alice"), "the invite of bob")
    await refused(NotFoundError, "GROUP_NOT_FOUND", bob.get_group(detail.id), 404)
    for _ in range(2):
        joined = GroupDetail.model_validate(await bob.accept_group_invite(invite.id))
        same((joined.id, joined.your_role), (detail.id, "member"), "accept_group_invite")

    # Carol does not want to, is asked again and does.
    invite = await invite_of(carol, detail.id)
    holds("message" in await carol.reject_group_invite(invite.id), "reject_group_invite")
    same(await carol.list_group_invites(), [], "invites after a rejection")
    await refused(NotFoundError, "INVITE_NOT_FOUND", carol.accept_group_invite(invite.id), 404)
    await refused(NotFoundError, "INVITE_NOT_FOUND", carol.accept_group_invite(NO_INVITE), 404)
    added = AddMemberResult.model_validate(await alice.add_group_member(detail.id, "@carol"))
    same((added.handle, added.outcome), ("carol", "invited"), "add_group_member")
    holds(added.invite_id, "the id of an invite", added)
    again = AddMemberResult.model_validate(await alice.add_group_member(detail.id, "bob"))
    same(again.outcome, "already_member", "adding a member")
    invite = await invite_of(carol, detail.id)
    await carol.accept_group_invite(invite.id)
    await members_are(alice, detail.id, ["alice", "bob", "carol"])
    return detail.id


async def members_are(agent, group, handles, roles=None):
    async def look():
        detail = GroupDetail.model_validate(await agent.get_group(group))
        found = {who.handle: who.role for who in detail.members}
        same(detail.member_count, len(found), "member_count")
        if sorted(found) == handles and (roles is None or found == roles):
            return detail

    return await eventually(f"members are {handles} {roles or ''}", look)


async def arrives(agent, what, wanted):
    """Drains until a message satisfies a condition; gives it."""

    async def look():
        found = [row for row in map(Message.model_validate, await settle(agent)) if wanted(row)]
        return found[0] if found else None

    return await eventually(what, look)


async def event(agent, group, name, about):
    """Waits for a message of the type system."""

    def wanted(row):
        data = row.content.data or {}
        subject = data.get("agent_handle") or data.get("actor_handle")
        return (row.conversation_id, row.type, data.get("event"), subject) == (group, "system", name, about)

    row = await arrives(agent, f"{name} of {about}", wanted)
    same(row.context.sender.kind, "system", "who tells it")
    return TypeAdapter(GroupSystemEvent).validate_python(row.content.data)


async def talks(alice, bob, carol, group):
    for writer, readers in ((alice, (bob, carol)), (carol, (alice, bob))):
        sent = await writer.send_message(conversation_id=group, text=text("to all, @bob"))
        message = Message.model_validate(sent.message)
        same(message.conversation_id, group, "conversation of a group's message")
        for reader in readers:
            got = await arrives(reader, "the group's message", lambda row: row.id == message.id)
            same((got.sender, got.content), (message.sender, message.content), "a message of a group")
            same((got.context.conversation.type, got.context.mentions), ("group", ["bob"]), "its context")
            same(got.context.conversation.member_count, 3, "its members")
            history = await reader.get_messages(group, limit=1)
            same(history[0]["id"], message.id, "history of a group, newest first")
    rows = [ConversationListItem.model_validate(row) for row in await bob.list_conversations()]
    listed = next(row for row in rows if row.id == group)
    same((listed.type, listed.group_member_count), ("group", 3), "a group in the list")
    people = await bob.get_conversation_participants(group)
    same(sorted(row["handle"] for row in people), ["alice", "carol"], "participants of a group")


async def changes(alice, bob, carol, group):
    for call in (
        bob.update_group(group, {"name": "x"}),
        bob.remove_group_member(group, "carol"),
        bob.promote_group_member(group, "bob"),
        bob.delete_group(group),
    ):
        await refused(ForbiddenError, "NOT_ADMIN", call, 403)

    name = text("freight by sea")
    detail = GroupDetail.model_validate(await alice.update_group(group, {"name": name}))
    same(detail.name, name, "update_group")
    told = await event(bob, group, "name_changed", "alice")
    same(told.new_name, name, "the new name")
    same((await bob.get_group(group))["name"], name, "the name at another member")

    holds("message" in await alice.promote_group_member(group, "@bob"), "promote_group_member")
    await event(bob, group, "admin_promoted", "bob")
    await members_are(bob, group, ["alice", "bob", "carol"], {"alice": "admin", "bob": "admin", "carol": "member"})
    holds("message" in await alice.demote_group_member(group, "bob"), "demote_group_member")
    await event(bob, group, "admin_demoted", "bob")
    await refused(AgentChatError, "LAST_ADMIN", alice.demote_group_member(group, "alice"), 400)
    await refused(NotFoundError, "NOT_MEMBER", alice.promote_group_member(group, "nobody-at-all"), 404)
    await refused(ValidationError, "VALIDATION_ERROR", alice.create_group({"name": " "}), 400)
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.add_group_member(group, "nobody-at-all"), 404)


async def loses(alice, bob, carol, group):
    """One is removed, one leaves: neither gets anything more."""
    holds("message" in await alice.remove_group_member(group, "carol"), "remove_group_member")
    await event(bob, group, "member_removed", "carol")

    async def out():
        try:
            await carol.get_group(group)
        except NotFoundError as error:
            return error.code == "GROUP_NOT_FOUND"

    await eventually("carol is no member", out)
    await refused(ForbiddenError, "NOT_ADMIN", bob.add_group_member(group, "carol"), 403)
    await refused(NotFoundError, "GROUP_NOT_FOUND", carol.send_message(conversation_id=group, text="x"), 404)
    sent = (await alice.send_message(conversation_id=group, text=text("without carol"))).message
    await arrives(bob, "what carol must not get", lambda row: row.id == sent["id"])
    holds(sent["id"] not in [row["id"] for row in await carol.sync()], "carol got what followed")
    # A removal may be repeated by the library after a lost answer.
    holds("message" in await alice.remove_group_member(group, "carol"), "the same removal again")

    left = await bob.leave_group(group)
    same((left["promoted_handle"], "message" in left), (None, True), "leave_group")
    await refused(NotFoundError, "GROUP_NOT_FOUND", bob.get_group(group), 404)
    await event(alice, group, "member_left", "bob")
    await members_are(alice, group, ["alice"])


async def ends(alice, bob, carol, group):
    for agent in (bob, carol):
        await alice.add_group_member(group, "bob" if agent is bob else "carol")
        await agent.accept_group_invite((await invite_of(agent, group)).id)
    await members_are(alice, group, ["alice", "bob", "carol"])
    left = await alice.leave_group(group)
    same(left["promoted_handle"], "bob", "who becomes admin when the last one leaves")
    await members_are(carol, group, ["bob", "carol"], {"bob": "admin", "carol": "member"})

    async def admin():
        return (await bob.get_group(group))["your_role"] == "admin"

    await eventually("bob knows that he is the admin", admin)
    deleted = await bob.delete_group(group)
    holds(deleted["deleted_at"].endswith("Z"), "delete_group", deleted)
    await event(carol, group, "group_deleted", "bob")
    for call in (carol.get_group(group), carol.send_message(conversation_id=group, text="x"), bob.get_group(group)):
        gone = await refused(GroupDeletedError, "GROUP_DELETED", call, 410)
        DeletedGroupInfo.model_validate(gone.details)
        same((gone.group_id, gone.deleted_by_handle), (group, "bob"), "who ended the group")
    await refused(NotFoundError, "GROUP_NOT_FOUND", alice.get_group(NO_GROUP), 404)
