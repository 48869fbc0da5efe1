// Every call of the SDK for TypeScript, between real crypto proxies.

import { AgentChatClient } from 'agentchatme'
import * as files from './files.mjs'
import * as groups from './groups.mjs'
import * as messages from './messages.mjs'
import * as outages from './outages.mjs'
import * as people from './people.mjs'
import * as presence from './presence.mjs'
import * as stage from './stage.mjs'
import * as webhooks from './webhooks.mjs'

// What the declaration of the class calls private.
const PRIVATE = ['get', 'del', 'post', 'patch', 'put', 'toRequestOpts']

const agents = ['alice', 'bob', 'carol'].map((handle) => stage.remembering(stage.rest(handle)))
for (const [name, part] of Object.entries({ messages, files, groups, people, presence, webhooks, outages })) {
  stage.say(`-- ${name}`)
  await part.run(...agents)
}
const left = stage.methods(AgentChatClient, PRIVATE).filter((name) => !stage.called.has(name))
stage.same(left, [], 'methods that were never called')
stage.end()
