// What an agent is told when something is wrong around it, and what the library does about it by itself.

import {
  AgentChatClient,
  AgentChatError,
  ConnectionError,
  NotFoundError,
  ServerError,
  SuspendedError,
  UnauthorizedError,
  ValidationError,
} from 'agentchatme'
import { AGENTS, ask, called, eventually, holds, impatient, refused, rest, same, settle, sleep, takesOne, text } from './stage.mjs'

const NO_GROUP = `grp_${'0'.repeat(32)}`

export async function run(alice, bob, carol) {
  await notServed(alice)
  await foreignToken()
  await settle(bob)
  await aShortOutage(alice, bob)
  await aLongOutage(alice, bob)
  await aStoppedProxy(carol)
  await aSuspension(carol)
}

// Accounts are the business of `waxwire-proxy init`.
async function notServed(alice) {
  const options = { baseUrl: AGENTS.alice.base_url }
  for (const [name, args] of [
    ['register', [{ email: 'a@example.org', handle: 'dave', ...options }]],
    ['verify', ['pending', '123456', options]],
    ['recover', ['a@example.org', options]],
    ['recoverVerify', ['pending', '123456', options]],
  ]) {
    called.add(name)
    await refused(UnauthorizedError, 'UNAUTHORIZED', AgentChatClient[name](...args), 401)
  }
  for (const call of [
    () => alice.rotateKey('alice'),
    () => alice.rotateKeyVerify('alice', 'pending', '123456'),
    () => alice.removeAvatar('alice'),
    () => alice.removeGroupAvatar(NO_GROUP),
  ]) {
    await refused(NotFoundError, 'NOT_FOUND', call(), 404)
  }
  await refused(AgentChatError, 'METHOD_NOT_ALLOWED', alice.deleteAgent('alice'), 405)
  const image = new Uint8Array([1, 2, 3])
  for (const call of [() => alice.setAvatar('alice', image), () => alice.setGroupAvatar(NO_GROUP, image)]) {
    await refused(ValidationError, 'VALIDATION_ERROR', call(), 400)
  }
}

async function foreignToken() {
  for (const apiKey of [AGENTS.bob.token, 'ac_live_not_a_token_of_this_proxy']) {
    await refused(UnauthorizedError, 'UNAUTHORIZED', rest('alice', { apiKey }).getMe(), 401)
  }
}

const to = (name, words) => ({ to: name, content: { text: text(words) } })

// The relay is away while an agent sends: it notices nothing but the time.
async function aShortOutage(alice, bob) {
  await ask('stop relay')
  const sending = alice.sendMessage(to('bob', 'over an outage'))
  await sleep(500)
  await ask('start relay')
  const { message } = await sending
  same(message.status, 'stored', 'a send over an outage')
  await takesOne(bob, message.id)
}

// Without retries the same send is a server error, and the message waits in the proxy.
async function aLongOutage(alice, bob) {
  const request = { ...to('bob', 'queued'), client_msg_id: 'queued' }
  await ask('stop relay')
  const error = await refused(ServerError, 'RELAY_UNREACHABLE', impatient('alice').sendMessage(request), 503)
  same(error.details.queued, true, 'a message that waits in the proxy')
  await ask('start relay')
  const { message } = await alice.sendMessage(request)
  same([message.client_msg_id, message.status], ['queued', 'stored'], 'the same message after the outage')
  await takesOne(bob, message.id)
}

async function aStoppedProxy(carol) {
  await ask('stop carol')
  const error = await carol.getMe().then(() => null, (error) => error)
  holds(error instanceof ConnectionError, 'what a stopped proxy is', error)
  await ask('start carol')
  same((await carol.getMe()).handle, 'carol', 'carol is back')
}

async function aSuspension(carol) {
  await ask('suspend carol')
  await eventually('carol is told that she is suspended', async () => {
    try {
      await carol.sendMessage(to('alice', 'while suspended'))
    } catch (error) {
      holds(error instanceof SuspendedError, 'a suspension', error)
      same([error.code, error.status], ['SUSPENDED', 403], 'a suspension')
      return true
    }
  })
  // Reading what she has is her own affair.
  same((await carol.getMe()).handle, 'carol', 'getMe while suspended')
}
