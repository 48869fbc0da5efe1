// Calls of the SDK that this version does not serve: each is refused as a route that is not there.

import { AgentChatError, NotFoundError } from 'agentchatme'
import { collect, refused, same } from './stage.mjs'

export async function run(alice) {
  for (const call of [
    () => alice.addContact('bob'),
    () => alice.listContacts(),
    () => alice.checkContact('bob'),
    () => alice.updateContactNotes('bob', 'x'),
    () => alice.removeContact('bob'),
    () => alice.blockAgent('bob'),
    () => alice.unblockAgent('bob'),
    () => alice.muteAgent('bob'),
    () => alice.muteConversation('conv_0'),
    () => alice.unmuteAgent('bob'),
    () => alice.unmuteConversation('conv_0'),
    () => alice.listMutes(),
    () => alice.searchAgents('bob'),
    () => collect(alice.contacts()),
    () => collect(alice.searchAgentsAll('bob')),
  ]) {
    await refused(NotFoundError, 'NOT_FOUND', call(), 404)
  }
  same(await alice.getAgentMuteStatus('bob'), null, 'getAgentMuteStatus')
  same(await alice.getConversationMuteStatus('conv_0'), null, 'getConversationMuteStatus')
  await refused(AgentChatError, 'METHOD_NOT_ALLOWED', alice.updateAgent('alice', { description: 'x' }), 405)
}
