// Groups: invites, members, roles, what happens in them and how they end.

import { AgentChatError, ForbiddenError, GroupDeletedError, NotFoundError, ValidationError } from 'agentchatme'
import { MESSAGE, eventually, holds, refused, same, settle, shaped, text } from './stage.mjs'

const NO_GROUP = `grp_${'0'.repeat(32)}`
const NO_INVITE = `inv_${'0'.repeat(32)}`
const GROUP = {
  id: 'string',
  name: 'string',
  description: 'string?',
  avatar_url: 'string?',
  created_by: 'string',
  settings: 'object',
  member_count: 'number',
  created_at: 'string',
  members: 'array',
  your_role: 'string',
}

export async function run(alice, bob, carol) {
  const group = await founds(alice, bob, carol)
  await talks(alice, bob, carol, group)
  await changes(alice, bob, carol, group)
  await loses(alice, bob, carol, group)
  await ends(alice, bob, carol, group)
}

const inviteOf = (agent, group) =>
  eventually('an invite arrives', async () => (await agent.listGroupInvites()).find((it) => it.group_id === group))

async function founds(alice, bob, carol) {
  const name = text('freight')
  const created = await alice.createGroup({
    name,
    description: text('crates'),
    member_handles: ['@Bob', 'carol', 'nobody-at-all'],
  })
  const detail = shaped('GroupDetail', created.group, GROUP)
  same([detail.name, detail.created_by, detail.your_role], [name, 'alice', 'admin'], 'createGroup')
  shaped('GroupMember', detail.members[0], { handle: 'string', role: 'string', joined_at: 'string' })
  const outcomes = created.add_results.map((it) => `${it.handle} ${it.outcome}`).sort()
  same(outcomes, ['bob invited', 'carol invited'], 'add_results')

  const invite = shaped('GroupInvitation', await inviteOf(bob, detail.id), {
    id: 'string',
    group_id: 'string',
    group_name: 'string',
    group_member_count: 'number',
    inviter_handle: 'string',
    created_at: 'string',
  })
  same([invite.group_name, invite.inviter_handle], [name, 'alice'], 'the invite of bob')
  await refused(NotFoundError, 'GROUP_NOT_FOUND', bob.getGroup(detail.id), 404)
  const joined = shaped('GroupDetail', await bob.acceptGroupInvite(invite.id), GROUP)
  same([joined.id, joined.your_role], [detail.id, 'member'], 'acceptGroupInvite')

  // Carol does not want to, is asked again and does.
  const unwanted = await inviteOf(carol, detail.id)
  shaped('rejectGroupInvite', await carol.rejectGroupInvite(unwanted.id), { message: 'string' })
  same(await carol.listGroupInvites(), [], 'invites after a rejection')
  await refused(NotFoundError, 'INVITE_NOT_FOUND', carol.acceptGroupInvite(unwanted.id), 404)
  await refused(NotFoundError, 'INVITE_NOT_FOUND', carol.acceptGroupInvite(NO_INVITE), 404)
  const added = shaped('AddMemberResult', await alice.addGroupMember(detail.id, '@carol'), { invite_id: 'string' })
  same([added.handle, added.outcome], ['carol', 'invited'], 'addGroupMember')
  same((await alice.addGroupMember(detail.id, 'bob')).outcome, 'already_member', 'adding a member')
  await carol.acceptGroupInvite((await inviteOf(carol, detail.id)).id)
  await membersAre(alice, detail.id, ['alice admin', 'bob member', 'carol member'])
  return detail.id
}

const membersAre = (agent, group, expected) =>
  eventually(`members are ${expected}`, async () => {
    const detail = shaped('GroupDetail', await agent.getGroup(group), GROUP)
    same(detail.member_count, detail.members.length, 'member_count')
    return `${detail.members.map((who) => `${who.handle} ${who.role}`).sort()}` === `${expected}`
  })

// Drains until a message satisfies a condition; gives it.
const arrives = (agent, what, wanted) =>
  eventually(what, async () => (await settle(agent)).find((row) => wanted(shaped('Message', row, MESSAGE))))

// Waits for a message of the type system.
async function event(agent, group, name, about) {
  const row = await arrives(agent, `${name} of ${about}`, ({ conversation_id, type, content: { data } }) => {
    const subject = data?.agent_handle ?? data?.actor_handle
    return conversation_id === group && type === 'system' && data.event === name && subject === about
  })
  same([row.context.sender.kind, row.content.data.schema_version], ['system', 1], 'a system message')
  return row.content.data
}

async function talks(alice, bob, carol, group) {
  for (const [writer, readers] of [
    [alice, [bob, carol]],
    [carol, [alice, bob]],
  ]) {
    const { message } = await writer.sendMessage({ conversation_id: group, content: { text: text('to all, @bob') } })
    same(message.conversation_id, group, "conversation of a group's message")
    for (const reader of readers) {
      const got = await arrives(reader, "the group's message", (row) => row.id === message.id)
      same([got.sender, got.content], [message.sender, message.content], 'a message of a group')
      same([got.context.conversation.type, got.context.mentions], ['group', ['bob']], 'its context')
      same((await reader.getMessages(group, { limit: 1 }))[0].id, message.id, 'history of a group')
    }
  }
  const listed = (await bob.listConversations()).find((row) => row.id === group)
  same([listed.type, listed.group_member_count], ['group', 3], 'a group in the list')
  const context = await bob.getConversationContext(group)
  same([context.group.your_role, context.group.member_count, context.counterparty], ['member', 3, null], 'its context')
  const people = (await bob.getConversationParticipants(group)).map((who) => who.handle)
  same(people.sort(), ['alice', 'carol'], 'participants of a group')
}

async function changes(alice, bob, carol, group) {
  for (const call of [
    () => bob.updateGroup(group, { name: 'x' }),
    () => bob.removeGroupMember(group, 'carol'),
    () => bob.promoteGroupMember(group, 'bob'),
    () => bob.deleteGroup(group),
  ]) {
    await refused(ForbiddenError, 'NOT_ADMIN', call(), 403)
  }
  const name = text('freight by sea')
  same((await alice.updateGroup(group, { name })).name, name, 'updateGroup')
  same((await event(bob, group, 'name_changed', 'alice')).new_name, name, 'the new name')
  same((await bob.getGroup(group)).name, name, 'the name at another member')

  shaped('promoteGroupMember', await alice.promoteGroupMember(group, '@bob'), { message: 'string' })
  await event(bob, group, 'admin_promoted', 'bob')
  await membersAre(bob, group, ['alice admin', 'bob admin', 'carol member'])
  shaped('demoteGroupMember', await alice.demoteGroupMember(group, 'bob'), { message: 'string' })
  await event(bob, group, 'admin_demoted', 'bob')
  await refused(AgentChatError, 'LAST_ADMIN', alice.demoteGroupMember(group, 'alice'), 400)
  await refused(NotFoundError, 'NOT_MEMBER', alice.promoteGroupMember(group, 'nobody-at-all'), 404)
  await refused(ValidationError, 'VALIDATION_ERROR', alice.createGroup({ name: ' ' }), 400)
}

// One is removed, one leaves: neither gets anything more.
async function loses(alice, bob, carol, group) {
  shaped('removeGroupMember', await alice.removeGroupMember(group, 'carol'), { message: 'string' })
  await event(bob, group, 'member_removed', 'carol')
  await eventually('carol is no member', async () => {
    try {
      await carol.getGroup(group)
    } catch (error) {
      return error instanceof NotFoundError && error.code === 'GROUP_NOT_FOUND'
    }
  })
  await refused(ForbiddenError, 'NOT_ADMIN', bob.addGroupMember(group, 'carol'), 403)
  const x = { text: 'x' }
  await refused(NotFoundError, 'GROUP_NOT_FOUND', carol.sendMessage({ conversation_id: group, content: x }), 404)
  const { message } = await alice.sendMessage({ conversation_id: group, content: { text: text('without carol') } })
  await arrives(bob, 'what carol must not get', (row) => row.id === message.id)
  const got = (await carol.sync()).map((row) => row.id)
  holds(!got.includes(message.id), 'carol got what followed', got)

  const left = shaped('leaveGroup', await bob.leaveGroup(group), { message: 'string', promoted_handle: 'string?' })
  same(left.promoted_handle, null, 'nobody had to be promoted')
  await refused(NotFoundError, 'GROUP_NOT_FOUND', bob.getGroup(group), 404)
  await event(alice, group, 'member_left', 'bob')
}

async function ends(alice, bob, carol, group) {
  for (const [handle, agent] of [
    ['bob', bob],
    ['carol', carol],
  ]) {
    await alice.addGroupMember(group, handle)
    await agent.acceptGroupInvite((await inviteOf(agent, group)).id)
  }
  await membersAre(bob, group, ['alice admin', 'bob member', 'carol member'])
  shaped('deleteGroup', await alice.deleteGroup(group), { deleted_at: 'string' })
  await event(carol, group, 'group_deleted', 'alice')
  for (const call of [
    () => carol.getGroup(group),
    () => carol.sendMessage({ conversation_id: group, content: { text: 'x' } }),
    () => alice.getGroup(group),
  ]) {
    const gone = await refused(GroupDeletedError, 'GROUP_DELETED', call(), 410)
    same([gone.groupId, gone.deletedByHandle], [group, 'alice'], 'who ended the group')
    holds(gone.deletedAt.endsWith('Z'), 'when', gone.deletedAt)
  }
  await refused(NotFoundError, 'GROUP_NOT_FOUND', alice.getGroup(NO_GROUP), 404)
}
