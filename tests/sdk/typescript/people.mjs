// Who is known, blocked, muted: contacts, blocks, mutes, the directory.

import { BlockedError, ForbiddenError, NotFoundError, RateLimitedError, ValidationError } from 'agentchatme'
import { collect, eventually, holds, impatient, last, refused, same, shaped, text } from './stage.mjs'

export async function run(alice, bob, carol) {
  await contacts(alice)
  await blocks(alice, bob)
  await mutes(alice, bob)
  await ownRecord(alice, carol)
  await directory(alice)
}

async function contacts(alice) {
  const entry = { handle: 'string', status: 'string', added_at: 'string', notes: 'string?' }
  const added = shaped('Contact', await alice.addContact('@Bob'), entry)
  same([added.handle, added.status], ['bob', 'active'], 'addContact')
  await alice.addContact('carol')
  const page = await alice.listContacts({ limit: 1, offset: 1 })
  same([page.contacts.length, page.total, page.limit, page.offset], [1, 2, 1, 1], 'a page of contacts')
  const rows = await collect(alice.contacts({ pageSize: 1 }))
  same(rows.map((row) => shaped('Contact', row, entry).handle).sort(), ['bob', 'carol'], 'all contacts')

  const known = shaped('checkContact', await alice.checkContact('bob'), { added_at: 'string', notes: 'string?' })
  same([known.is_contact, known.notes], [true, null], 'checkContact')
  await alice.updateContactNotes('bob', text('reliable'))
  same((await alice.checkContact('bob')).notes, text('reliable'), 'notes')
  await alice.updateContactNotes('bob', null)
  same((await alice.checkContact('bob')).notes, null, 'notes that were taken away')
  await alice.removeContact('carol')
  const gone = await alice.checkContact('carol')
  same([gone.is_contact, gone.added_at, gone.notes], [false, null, null], 'a contact that was removed')
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.addContact('nobody-at-all'), 404)
}

// Both ways, and over once the agent says so.
async function blocks(alice, bob) {
  const to = (name, words) => ({ to: name, content: { text: text(words) } })
  const conversation = (await bob.listConversations()).find((row) => row.type === 'direct').id
  await bob.blockAgent('alice')
  await refused(BlockedError, 'BLOCKED', alice.sendMessage(to('bob', 'blocked')), 403)
  await refused(BlockedError, 'BLOCKED', bob.sendMessage(to('alice', 'blocked')), 403)
  await bob.unblockAgent('alice')
  // There is nobody to report to: a report blocks.
  await bob.reportAgent('alice', text('too many crates'))
  await refused(BlockedError, 'BLOCKED', alice.sendMessage(to('bob', 'reported')), 403)
  await bob.unblockAgent('alice')
  const { message } = await alice.sendMessage(to('bob', 'unblocked'))
  const rows = await eventually('bob has what came after the block, and nothing of what came before', async () => {
    const rows = (await bob.sync()).filter((row) => row.conversation_id === conversation)
    return rows.length === 1 && rows[0].id === message.id && rows
  })
  await bob.syncAck(last(rows))
}

// Local to the agent that mutes; a mute suppresses pushes, never sync.
async function mutes(alice, bob) {
  const { message } = await bob.sendMessage({ to: 'alice', content: { text: text('muted') } })
  const conversation = message.conversation_id
  same(await bob.getAgentMuteStatus('alice'), null, 'no mute')
  same(await bob.getConversationMuteStatus(conversation), null, 'no mute')
  const entry = { muter_agent_id: 'string', target_kind: 'string', target_id: 'string', created_at: 'string' }
  const agent = shaped('MuteEntry', await bob.muteAgent('@Alice'), entry)
  same([agent.target_kind, agent.muted_until], ['agent', null], 'muteAgent')
  const until = { mutedUntil: '2099-01-01T00:00:00Z' }
  const other = shaped('MuteEntry', await bob.muteConversation(conversation, until), entry)
  same([other.target_kind, other.target_id], ['conversation', conversation], 'muteConversation')
  same(Date.parse(other.muted_until), Date.parse(until.mutedUntil), 'until when')
  const kinds = (await bob.listMutes()).mutes.map((row) => row.target_kind)
  same(kinds.sort(), ['agent', 'conversation'], 'listMutes')
  const only = (await bob.listMutes({ kind: 'conversation' })).mutes.map((row) => row.target_id)
  same(only, [conversation], 'mutes of conversations')
  same((await bob.getAgentMuteStatus('alice')).target_kind, 'agent', 'getAgentMuteStatus')
  same((await bob.getConversationMuteStatus(conversation)).target_id, conversation, 'getConversationMuteStatus')

  const muted = async () => (await bob.listConversations()).find((row) => row.id === conversation).is_muted
  same(await muted(), true, 'is_muted')
  await bob.unmuteAgent('alice')
  await bob.unmuteConversation(conversation)
  same(await muted(), false, 'is_muted')
  same(await bob.getAgentMuteStatus('alice'), null, 'a mute that ended')
}

// Carol makes herself known; whoever does not is found by the whole handle only.
async function ownRecord(alice, carol) {
  const names = { display_name: 'Carol of the docks', description: 'moves crates' }
  const changed = await carol.updateAgent('carol', { ...names, settings: { listed: true } })
  same([changed.display_name, changed.description], Object.values(names), 'updateAgent')
  const me = await carol.getMe()
  same([me.display_name, me.description], Object.values(names), 'getMe afterwards')
  await refused(ForbiddenError, 'FORBIDDEN', alice.updateAgent('carol', { description: 'x' }), 403)
  await eventually('alice finds carol', async () => (await alice.searchAgents('ca')).agents.length)
}

async function directory(alice) {
  const page = await alice.searchAgents('ca', { limit: 10, offset: 0 })
  const [found] = page.agents
  shaped('an agent of the directory', found, { created_at: 'string' })
  same([found.handle, found.display_name, found.in_contacts], ['carol', 'Carol of the docks', false], 'searchAgents')
  same([page.total, page.limit, page.offset], [1, 10, 0], 'a page of the directory')
  const rows = await collect(alice.searchAgentsAll('bob', { pageSize: 1 }))
  same([rows.length, rows[0].handle, rows[0].in_contacts], [1, 'bob', true], 'searchAgentsAll')
  same((await alice.searchAgents('bo')).agents, [], 'an agent that is not listed')
  await refused(ValidationError, 'VALIDATION_ERROR', alice.searchAgents('b'), 400)

  const hasty = impatient('alice')
  const error = await eventually('the relay has had enough of searches', () =>
    hasty.searchAgents('zz').then(
      () => null,
      (error) => error,
    ),
  )
  holds(error instanceof RateLimitedError, 'too many searches', error)
  same([error.code, error.status, error.retryAfterMs > 0], ['RATE_LIMITED', 429, true], 'too many searches')
}
