// The SDK's socket between real crypto proxies: what is told live, in which order, and what survives what.
// `realtime.mjs native` uses the WebSocket of Node.js, `realtime.mjs ws` the package of that name.

import WebSocketOfWs from 'ws'
import * as stage from './stage.mjs'
import { AGENTS, MESSAGE, ask, eventually, holds, last, same, shaped, text } from './stage.mjs'

const Socket = { native: globalThis.WebSocket, ws: WebSocketOfWs }[process.argv[2]]
// Longest turn of an alternating conversation. A library that sees a hole in the numbers waits for two seconds.
const TURN = 1_500 * Number(process.env.SLOW ?? '1')
const EVENTS = [
  'message.new',
  'message.read',
  'typing.start',
  'typing.stop',
  'group.invite.received',
  'group.deleted',
]
const ids = (rows) => rows.map((row) => row.id)

// An agent that listens: what it was told, in order.
class Ear {
  heard = []
  gaps = []
  errors = []
  closed = []
  connected = 0
  // Texts with which this agent cannot cope.
  unwelcome = new Set()

  constructor(handle, options = {}) {
    this.handle = handle
    this.client = stage.rest(handle)
    this.rt = stage.realtime(handle, this.client, {
      webSocket: Socket,
      onSequenceGap: (gap) => this.gaps.push(gap),
      ...options,
    })
    for (const event of EVENTS) this.rt.on(event, (frame) => this.hear(frame))
    this.rt.onError((error) => this.errors.push(error))
    this.rt.onDisconnect((info) => this.closed.push(info))
    this.rt.onConnect(() => (this.connected += 1))
  }

  hear({ type, payload }) {
    if (type === 'message.new' && this.unwelcome.has(payload.content.text)) {
      throw new Error('the agent cannot cope with this one')
    }
    this.heard.push({ type, payload })
  }

  messages() {
    return this.heard.filter(({ type }) => type === 'message.new').map(({ payload }) => payload)
  }

  until(what, look) {
    return eventually(`${this.handle} ${what}`, async () => look())
  }

  async message(id) {
    const look = () => this.messages().find((row) => row.id === id)
    return shaped('Message', await this.until(`is told of ${id}`, look), MESSAGE)
  }

  event(name, wanted) {
    const look = () => this.heard.find(({ type, payload }) => type === name && wanted(payload))?.payload
    return this.until(`is told of a ${name}`, look)
  }

  async send(to, words) {
    const whom = to.startsWith('grp_') ? { conversation_id: to } : { to }
    return (await this.client.sendMessage({ ...whom, content: { text: text(words) } })).message
  }
}

// Agents with a socket, after their hello, while something is done.
async function listening(handles, act, options) {
  const ears = handles.map((handle) => new Ear(handle, options))
  try {
    for (const ear of ears) {
      await ear.rt.connect()
      await ear.until('connects', () => ear.rt.isConnected)
    }
    return await act(...ears)
  } finally {
    for (const ear of ears) ear.rt.disconnect()
  }
}

const settled = (ear) =>
  eventually(`${ear.handle} has settled everything`, async () => !(await ear.client.sync()).length)

// Both directions: told in milliseconds, acknowledged, echoed to the author.
const speaks = () =>
  listening(['alice', 'bob'], async (alice, bob) => {
    for (const [one, other] of [
      [alice, bob],
      [bob, alice],
    ]) {
      const sent = await one.send(other.handle, 'live')
      const got = await other.message(sent.id)
      same([got.sender, got.content.text], [one.handle, text('live')], 'a live message')
      const echo = await one.message(sent.id)
      same([echo.sender, echo.seq], [one.handle, sent.seq], 'the echo of an own message')
    }
    for (const ear of [alice, bob]) {
      await settled(ear)
      same(
        ear.messages().map((row) => row.seq),
        [1, 2],
        `what ${ear.handle} was told, in order`,
      )
      same([ear.gaps, ear.errors], [[], []], `gaps and errors of ${ear.handle}`)
    }
  })

// Own messages take numbers too; nobody waits for them.
const takesTurns = (turns = 20) =>
  listening(['alice', 'bob'], async (alice, bob) => {
    let longest = 0
    for (let turn = 0; turn < turns; turn += 1) {
      const [one, other] = turn % 2 ? [alice, bob] : [bob, alice]
      const begin = performance.now()
      const sent = await one.send(other.handle, `turn ${turn}`)
      await other.message(sent.id)
      longest = Math.max(longest, performance.now() - begin)
    }
    holds(longest < TURN, 'the longest turn took', longest)
    stage.say(`${turns} turns, the longest ${longest.toFixed()} ms`)
    for (const ear of [alice, bob]) {
      await ear.until('has heard every turn', () => ear.messages().length === turns)
      const seqs = ear.messages().map((row) => row.seq)
      same(
        seqs,
        seqs.map((_, at) => seqs[0] + at),
        `numbers of ${ear.handle}`,
      )
      same(ear.gaps, [], `gaps of ${ear.handle}`)
    }
  })

// What came while an agent was away is told first, in order and once, also while more comes.
async function drains(count = 30) {
  const alice = new Ear('alice')
  const away = []
  for (let n = 0; n < count; n += 1) away.push((await alice.send('bob', `away ${n}`)).id)
  await listening(['bob'], async (bob) => {
    const more = []
    for (let n = 0; n < 5; n += 1) more.push((await alice.send('bob', `more ${n}`)).id)
    await bob.until('has everything', () => bob.messages().length >= count + 5)
    same(ids(bob.messages()), [...away, ...more], 'backlog, then live, in order and once')
    await settled(bob)
    same(bob.gaps, [], 'gaps')
  })
  await listening(['bob'], async (bob) => {
    const { id } = await alice.send('bob', 'after the drain')
    await bob.message(id)
    same(ids(bob.messages()), [id], 'what was acknowledged does not come again')
    await settled(bob)
  })
}

// What an agent could not cope with is not settled: it comes again with the next connection.
async function offersAgain() {
  const alice = new Ear('alice')
  const sent = await listening(['bob'], async (bob) => {
    bob.unwelcome.add(text('unwelcome'))
    const { id } = await alice.send('bob', 'unwelcome')
    await bob.message((await alice.send('bob', 'welcome')).id)
    same(await bob.client.sync(), [], 'what is on its way over a socket is not in sync')
    return id
  })
  const bob = stage.rest('bob')
  await eventually('it is offered again once the socket is gone', async () => (await bob.sync())[0]?.id === sent)
  await listening(['bob'], async (bob) => {
    await bob.message(sent)
    same(ids(bob.messages()), [sent], 'what comes again')
    await settled(bob)
  })
}

// A frame that is lost on its way to the agent: the library sees the hole and fetches what is missing.
async function repairsGaps() {
  const lost = []
  // A WebSocket that loses the first frame with a word in it.
  class Lossy extends Socket {
    set onmessage(handler) {
      super.onmessage = (event) => {
        if (`${event.data}`.includes('to be lost') && !lost.length) lost.push(JSON.parse(event.data).payload.id)
        else handler(event)
      }
    }
  }
  const alice = new Ear('alice')
  await listening(
    ['bob'],
    async (bob) => {
      const sent = []
      for (const words of ['one', 'two, to be lost', 'three', 'four']) sent.push((await alice.send('bob', words)).id)
      await bob.until('has all four', () => bob.messages().length === 4)
      same(ids(bob.messages()), sent, 'order after a repair')
      same(lost, [sent[1]], 'what was lost')
      same(
        bob.gaps.map(({ recovered, reason }) => [recovered, reason]),
        [[true, 'gap_filled']],
        'gaps',
      )
    },
    { webSocket: Lossy },
  )
  // This library acknowledges what it fetched, too; should it not, the message is offered again.
  const bob = stage.rest('bob')
  const rows = await bob.sync()
  if (rows.length) await bob.syncAck(last(rows))
}

const tellsReads = () =>
  listening(['alice', 'bob'], async (alice, bob) => {
    const sent = []
    for (let n = 0; n < 3; n += 1) sent.push(await alice.send('bob', `to be read ${n}`))
    const got = await bob.message(sent[1].id)
    bob.rt.sendReadAck(got.conversation_id, got.seq)
    const read = await alice.event('message.read', (it) => it.message_id === sent[1].id)
    same([read.read_by, read.reader, read.read_at], ['bob', 'bob', read.at], 'who has read, and when')
    same(
      [read.conversation_id, read.through_seq],
      [sent[1].conversation_id, sent[1].seq],
      'what was read, as alice counts',
    )
    await bob.client.markAsRead(sent[2].id)
    await alice.event('message.read', (it) => it.message_id === sent[2].id)
  })

const tellsWhoTypes = () =>
  listening(['alice', 'bob'], async (alice, bob) => {
    const sent = await alice.send('bob', 'what do you think?')
    const got = await bob.message(sent.id)
    const told = async (event) => {
      const { sender, conversation_id } = await alice.event(event, () => true)
      same([sender, conversation_id], ['bob', sent.conversation_id], event)
    }
    bob.rt.sendTypingStart(got.conversation_id)
    await told('typing.start')
    bob.rt.sendTypingStop(got.conversation_id)
    await told('typing.stop')
  })

const tellsOfGroups = () =>
  listening(['alice', 'bob'], async (alice, bob) => {
    const created = await alice.client.createGroup({ name: text('live'), member_handles: ['bob'] })
    const group = created.group.id
    const invite = await bob.event('group.invite.received', (it) => it.group_id === group)
    same([invite.inviter_handle, invite.group_name], ['alice', text('live')], 'an invite, told live')
    await bob.client.acceptGroupInvite(invite.id)
    const joined = (row) => row.type === 'system' && row.conversation_id === group
    await alice.until('is told that bob joined', () => alice.messages().some(joined))
    for (const [one, other] of [
      [alice, bob],
      [bob, alice],
    ]) {
      const { id } = await one.send(group, 'in the group')
      same((await other.message(id)).conversation_id, group, 'a live message in a group')
    }
    await alice.client.deleteGroup(group)
    const ended = await bob.event('group.deleted', (it) => it.group_id === group)
    same(ended.deleted_by_handle, 'alice', 'who ended it')
    await settled(bob)
    same([alice.gaps, bob.gaps], [[], []], 'gaps')
  })

// The proxy goes and comes back on the same address: the library finds it, and nothing is lost or told twice.
const survivesRestarts = () =>
  listening(['alice', 'bob'], async (alice, bob) => {
    const sent = [(await alice.send('bob', 'before')).id]
    await bob.message(sent[0])
    await settled(bob)
    await ask('stop bob')
    await bob.until('is closed', () => bob.closed.length)
    same(bob.closed[0].code, 1001, 'how a stopping proxy closes')
    for (let n = 0; n < 3; n += 1) sent.push((await alice.send('bob', `meanwhile ${n}`)).id)
    await ask('start bob')
    await bob.until('connects again', () => bob.connected === 2)
    sent.push((await alice.send('bob', 'afterwards')).id)
    await bob.message(sent.at(-1))
    same(ids(bob.messages()), sent, 'over a restart, in order and once')
    await ask('kill bob')
    sent.push((await alice.send('bob', 'after a crash')).id)
    await ask('start bob')
    await bob.message(sent.at(-1))
    same(ids(bob.messages()), sent, 'over a crash, in order and once')
    await settled(bob)
  })

// 1008 is final for the library: it does not try again for ever.
async function refusesStrangers() {
  const ear = new Ear('alice', { apiKey: 'ac_live_not_a_token_of_this_proxy' })
  await ear.rt.connect()
  await ear.until('is closed', () => ear.closed.length)
  same(ear.closed[0].code, 1008, 'the code for a wrong token')
  const final = () => ear.errors.some((error) => /1008/.test(error.message))
  await ear.until('gives up', final)
  ear.rt.disconnect()
}

// A base that ends in a slash.
async function knowsSlashes() {
  const alice = new Ear('alice')
  await listening(
    ['bob'],
    async (bob) => bob.message((await alice.send('bob', 'over a slash')).id),
    { baseUrl: `${AGENTS.bob.realtime_url}/` },
  )
}

for (const part of [
  speaks,
  takesTurns,
  drains,
  offersAgain,
  repairsGaps,
  tellsReads,
  tellsWhoTypes,
  tellsOfGroups,
  survivesRestarts,
  refusesStrangers,
  knowsSlashes,
]) {
  stage.say(`-- ${part.name}`)
  await part()
}
stage.end()
