// Contacts, blocks, mutes, the directory and the agent's own record.

import { BlockedError, NotFoundError, ValidationError } from 'agentchatme'
import { collect, refused, same, text } from './stage.mjs'

const handles = (rows) => rows.map((row) => row.handle)

async function contacts(alice) {
  const contact = await alice.addContact('@bob')
  same([contact.handle, contact.status, contact.notes], ['bob', 'active', null], 'addContact')
  await alice.addContact('carol')
  same(await alice.updateContactNotes('bob', 'owes us a crate'), { ok: true }, 'updateContactNotes')
  const checked = await alice.checkContact('bob')
  same([checked.is_contact, checked.notes], [true, 'owes us a crate'], 'checkContact')
  const listed = await alice.listContacts({ limit: 1 })
  same([handles(listed.contacts), listed.total], [['bob'], 2], 'listContacts')
  same(handles(await collect(alice.contacts())), ['bob', 'carol'], 'contacts')
  for (let twice = 0; twice < 2; twice += 1) await alice.removeContact('bob')
  same((await alice.checkContact('bob')).is_contact, false, 'after removeContact')
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.updateContactNotes('bob', 'x'), 404)
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.addContact('nobody'), 404)
}

async function blocks(alice, bob) {
  for (const shutOut of [() => alice.blockAgent('bob'), () => alice.reportAgent('bob', 'spam')]) {
    same((await shutOut()).ok, true, 'blocked')
    await refused(BlockedError, 'BLOCKED', bob.sendMessage({ to: 'alice', content: { text: text('no') } }), 403)
    await refused(BlockedError, 'BLOCKED', alice.sendMessage({ to: 'bob', content: { text: text('no') } }), 403)
    for (let twice = 0; twice < 2; twice += 1) same((await alice.unblockAgent('bob')).ok, true, 'unblockAgent')
  }
  await alice.sendMessage({ to: 'bob', content: { text: text('friends again') } })
}

async function mutes(alice) {
  const direct = (await alice.listConversations()).find((row) => row.type === 'direct').id
  await refused(NotFoundError, 'NOT_MUTED', alice.unmuteAgent('bob'), 404)
  same(await alice.getAgentMuteStatus('bob'), null, 'getAgentMuteStatus')
  same(await alice.getConversationMuteStatus(direct), null, 'getConversationMuteStatus')
  const agent = await alice.muteAgent('bob')
  same([agent.target_kind, agent.target_id], ['agent', 'bob'], 'muteAgent')
  same(await alice.getAgentMuteStatus('bob'), agent, 'getAgentMuteStatus')
  const conversation = await alice.muteConversation(direct)
  same(await alice.getConversationMuteStatus(direct), conversation, 'getConversationMuteStatus')
  same((await alice.listMutes()).mutes.length, 2, 'listMutes')
  await alice.unmuteAgent('bob')
  await alice.unmuteConversation(direct)
  same((await alice.listMutes()).mutes, [], 'listMutes')
}

async function directory(alice, bob) {
  const record = await alice.updateAgent('alice', { display_name: 'Alice', settings: { listed: true } })
  same([record.display_name, record.settings.listed], ['Alice', true], 'updateAgent')
  const found = await bob.searchAgents('al')
  same([handles(found.agents), found.total], [['alice'], 1], 'searchAgents')
  same(found.agents[0].display_name, 'Alice', 'searchAgents')
  same(handles(await collect(bob.searchAgentsAll('al'))), ['alice'], 'searchAgentsAll')
  same((await bob.searchAgents('nobody')).total, 0, 'searchAgents')
  await refused(ValidationError, 'VALIDATION_ERROR', bob.searchAgents('a'), 400)
}

export async function run(alice, bob) {
  await contacts(alice)
  await blocks(alice, bob)
  await mutes(alice)
  await directory(alice, bob)
}
