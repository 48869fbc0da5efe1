// Direct messages: send, send again, fetch, settle, read, hide.

import { NotFoundError, ValidationError, renderMessageContext } from 'agentchatme'
import { MESSAGE, eventually, holds, last, refused, same, shaped, text } from './stage.mjs'

const NO_MESSAGE = `msg_${'0'.repeat(32)}`
const NO_CONVERSATION = `conv_${'0'.repeat(32)}`
const ids = (rows) => rows.map((row) => row.id)

export async function run(alice, bob, carol) {
  await identities(alice)
  const sent = await sends(alice)
  await drains(bob, sent)
  const conversation = await histories(alice, bob, sent)
  await reads(alice, bob, sent[0])
  await hides(alice, bob, sent[1])
  await conversations(alice, bob, conversation)
  await refusals(alice, carol, conversation)
}

async function identities(alice) {
  const me = shaped('Agent', await alice.getMe(), {
    id: 'string',
    handle: 'string',
    email: 'string',
    status: 'string',
    paused_by_owner: 'string',
    settings: 'object',
    created_at: 'string',
    updated_at: 'string',
  })
  same([me.handle, me.status, me.paused_by_owner], ['alice', 'active', 'none'], 'getMe')
  shaped('AgentSettings', me.settings, { inbox_mode: 'string', group_invite_policy: 'string' })
  for (const name of ['bob', '@bob', '@Bob']) {
    const profile = await alice.getAgent(name)
    shaped('AgentProfile', profile, { handle: 'string', status: 'string', created_at: 'string' })
    same(profile.handle, 'bob', `getAgent(${name})`)
  }
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.getAgent('nobody-at-all'), 404)
}

// Three messages in the forms in which agents write them, each stored once.
async function sends(alice) {
  const forms = [
    { content: { text: text('the first') }, metadata: { task: 1 } },
    { content: text('the second, a bare string') },
    { content: { data: { price: 1.5, note: text('the third') } }, type: 'structured' },
  ]
  const sent = []
  for (const [at, form] of forms.entries()) {
    const to = ['@bob', 'bob', '@BOB'][at]
    const { message, backlogWarning } = await alice.sendMessage({ to, client_msg_id: `m-${at}`, ...form })
    same(backlogWarning, null, 'a warning')
    shaped('Message', message, MESSAGE)
    same([message.sender, message.status, message.seq], ['alice', 'stored', at + 1], 'sendMessage')
    sent.push(message)
  }
  same(sent[0].metadata, { task: 1 }, 'metadata')
  same(sent[1].content, { text: forms[1].content }, 'a bare string is a text')
  same(sent[2].content, forms[2].content, 'data')
  same(new Set(sent.map((message) => message.conversation_id)).size, 1, 'conversations')

  const again = await alice.sendMessage({ to: 'bob', client_msg_id: 'm-0', content: { text: text('not this') } })
  same([again.message.id, again.message.content], [sent[0].id, sent[0].content], 'an idempotent resend')
  return sent
}

// Everything once, oldest first; settled by its last delivery and not before.
async function drains(bob, sent) {
  const rows = await eventually('bob has what alice sent', async () => {
    const rows = await bob.sync()
    return rows.length === sent.length && rows
  })
  same(ids(rows), ids(sent), 'sync, oldest first')
  for (const [at, row] of rows.entries()) {
    shaped('SyncEnvelope', row, { ...MESSAGE, delivery_id: 'string' })
    same([row.sender, row.content], ['alice', sent[at].content], 'a row of sync')
    same([row.context.sender.handle, row.context.conversation.type], ['alice', 'direct'], 'context')
  }
  const shown = renderMessageContext(rows[0], { selfHandle: 'bob' })
  holds(shown.includes('From: @alice') && shown.includes('direct message'), 'what a model is shown', shown)

  const page = await bob.sync({ limit: 2 })
  same(ids(page), ids(rows.slice(0, 2)), 'a page of sync')
  const rest = await bob.sync({ after: last(page) })
  same(ids(rest), ids(rows.slice(2)), 'sync after a delivery')
  same((await bob.sync()).length, sent.length, 'reading settles nothing')

  same(await bob.syncAck(last(page)), { acked: 2 }, 'an ack of two')
  same(await bob.syncAck(last(rest)), { acked: 1 }, 'an ack of the rest')
  same(await bob.syncAck(last(rest)), { acked: 0 }, 'the same ack again')
  same(await bob.syncAck(`del_${'0'.repeat(32)}`), { acked: 0 }, 'an ack of nothing')
  same(await bob.sync(), [], 'sync when all is settled')
}

async function onlyConversation(agent) {
  const rows = await agent.listConversations()
  same(rows.length, 1, 'conversations')
  return rows[0].id
}

async function histories(alice, bob, sent) {
  const all = ids(sent)
  const conversation = await onlyConversation(bob)
  for (const [agent, id] of [
    [alice, sent[0].conversation_id],
    [bob, conversation],
  ]) {
    const rows = async (query) => {
      const found = await agent.getMessages(id, query)
      for (const row of found) shaped('Message', row, MESSAGE)
      return ids(found)
    }
    same(await rows(), all.toReversed(), 'history, newest first')
    same(await rows({ afterSeq: 0 }), all, 'history after a number, oldest first')
    same(await rows({ afterSeq: 1, limit: 1 }), [all[1]], 'a page of it')
    same(await rows({ beforeSeq: 3 }), [all[1], all[0]], 'history before a number, newest first')
    same(await rows({ aroundMessageId: all[1] }), all, 'history around a message, oldest first')
  }
  return conversation
}

// The author learns of it, by a receipt that the reader's proxy signed.
async function reads(alice, bob, message) {
  const status = (wanted) => async () => {
    const [row] = await alice.getMessages(message.conversation_id, { afterSeq: message.seq - 1, limit: 1 })
    return row.status === wanted && row
  }
  const delivered = await eventually('alice sees delivered', status('delivered'))
  holds(delivered.delivered_at && delivered.read_at === null, 'times of a delivered message', delivered)
  for (const again of [false, true]) {
    same((await bob.markAsRead(message.id)).id, message.id, `markAsRead, again: ${again}`)
  }
  const read = await eventually('alice sees read', status('read'))
  holds(read.read_at, 'the time of a read message', read)
  await refused(NotFoundError, 'MESSAGE_NOT_FOUND', alice.markAsRead(message.id), 404)
  await refused(NotFoundError, 'MESSAGE_NOT_FOUND', bob.markAsRead(NO_MESSAGE), 404)
}

async function hides(alice, bob, message) {
  shaped('deleteMessage', await bob.deleteMessage(message.id), { message: 'string' })
  const here = ids(await bob.getMessages(await onlyConversation(bob)))
  holds(!here.includes(message.id), 'hidden for who deleted it', here)
  const there = ids(await alice.getMessages(message.conversation_id))
  holds(there.includes(message.id), 'kept for the other side', there)
  await refused(NotFoundError, 'MESSAGE_NOT_FOUND', bob.deleteMessage(NO_MESSAGE), 404)
}

async function conversations(alice, bob, conversation) {
  const [item] = await bob.listConversations({ limit: 10, offset: 0 })
  shaped('ConversationListItem', item, {
    id: 'string',
    type: 'string',
    participants: 'array',
    last_message_at: 'string?',
    updated_at: 'string',
    is_muted: 'boolean',
    unread_count: 'number',
  })
  same([item.id, item.type], [conversation, 'direct'], 'listConversations')
  same(await bob.listConversations({ offset: 1 }), [], 'the page behind the last')
  const people = await bob.getConversationParticipants(conversation)
  same(
    people.map((who) => who.handle),
    ['alice'],
    'participants',
  )

  same((await bob.hideConversation(conversation)).ok, true, 'hideConversation')
  same(await bob.listConversations(), [], 'conversations, one hidden')
  const { message } = await alice.sendMessage({ to: 'bob', content: { text: text('are you there?') } })
  await eventually('the conversation comes back', async () => (await bob.listConversations())[0]?.id === conversation)

  const context = shaped('AgentConversationContext', await bob.getConversationContext(conversation), {
    conversation_id: 'string',
    type: 'string',
    group: 'object?',
    counterparty: 'object?',
    relationship: 'object?',
    unread: 'object?',
  })
  same([context.type, context.group, context.counterparty.handle], ['direct', null, 'alice'], 'getConversationContext')
  same(context.unread.newest_seq, 4, 'the newest message that is not read')
  const rows = await bob.sync()
  same(ids(rows), [message.id], 'sync')
  await bob.syncAck(last(rows))
}

async function refusals(alice, carol, conversation) {
  const x = { text: 'x' }
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.sendMessage({ to: 'nobody-at-all', content: x }), 404)
  const issue = await refused(ValidationError, 'VALIDATION_ERROR', alice.sendMessage({ to: 'alice', content: x }), 400)
  holds(issue.details.issues.length, 'where a request is wrong', issue.details)
  await refused(ValidationError, 'VALIDATION_ERROR', alice.sendMessage({ content: x }), 400)
  await refused(ValidationError, 'VALIDATION_ERROR', alice.sendMessage({ to: 'bob', content: {} }), 400)
  const system = { to: 'bob', content: x, type: 'system' }
  await refused(ValidationError, 'VALIDATION_ERROR', alice.sendMessage(system), 400)
  const long = { to: 'bob', content: { text: 'x'.repeat(10_001) } }
  const { details } = await refused(ValidationError, 'VALIDATION_ERROR', alice.sendMessage(long), 400)
  same([details.limit, details.max, details.actual], ['text', 10_000, 10_001], 'a limit')
  const nothing = alice.sendMessage({ conversation_id: NO_CONVERSATION, content: x })
  await refused(NotFoundError, 'CONVERSATION_NOT_FOUND', nothing, 404)
  // Who takes no part in a conversation cannot tell it from none.
  for (const call of [
    () => carol.getMessages(conversation),
    () => carol.getConversationParticipants(conversation),
    () => carol.getConversationContext(conversation),
    () => carol.hideConversation(conversation),
  ]) {
    await refused(NotFoundError, 'CONVERSATION_NOT_FOUND', call(), 404)
  }
}
