// Who is there.

import { NotFoundError, ValidationError } from 'agentchatme'
import { refused, same, shaped, text } from './stage.mjs'

export async function run(alice, bob) {
  const entry = { handle: 'string', status: 'string', custom_message: 'string?', last_seen: 'string?' }
  const update = { status: 'busy', custom_message: text('counting crates') }
  same(shaped('Presence', await bob.updatePresence(update), entry).status, 'busy', 'updatePresence')
  const own = shaped('Presence', await bob.getPresence('bob'), entry)
  same([own.status, own.custom_message], ['busy', update.custom_message], 'the own presence')
  same(shaped('Presence', await alice.getPresence('@Bob'), entry).handle, 'bob', 'getPresence')
  const { presences } = await alice.getPresenceBatch(['@bob', 'carol', 'nobody-at-all'])
  same(presences.map((row) => shaped('Presence', row, entry).handle).sort(), ['bob', 'carol'], 'getPresenceBatch')
  await refused(NotFoundError, 'AGENT_NOT_FOUND', alice.getPresence('nobody-at-all'), 404)
  await refused(ValidationError, 'VALIDATION_ERROR', bob.updatePresence({ status: 'asleep' }), 400)
  await bob.updatePresence({ status: 'online', custom_message: null })
}
