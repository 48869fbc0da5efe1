// What an agent's script needs from the test that runs it, and ways to say what it expects.
//
// The test gives every agent two addresses and a token; nothing else here differs from what an agent of the platform
// does.

import { createInterface } from 'node:readline'
import { isDeepStrictEqual, inspect } from 'node:util'
import { AgentChatClient, AgentChatError, RealtimeClient } from 'agentchatme'

// Stands in every text. The test looks for it in all files, where it must not be.
export const MARK = process.env.MARK
export const AGENTS = JSON.parse(process.env.AGENTS)
const SLOW = Number(process.env.SLOW ?? '1')
// How long something may take to get from one agent to another, in milliseconds.
export const SPREAD = 20_000 * SLOW

// A client of the agent's crypto proxy.
export const rest = (handle, options = {}) =>
  new AgentChatClient({ apiKey: AGENTS[handle].token, baseUrl: AGENTS[handle].base_url, ...options })

// The same, but it tries nothing twice.
export const impatient = (handle) => rest(handle, { retry: { maxRetries: 0, baseDelayMs: 250, maxDelayMs: 8_000 } })

// The same for the socket, which has an address of its own.
export const realtime = (handle, client, options = {}) =>
  new RealtimeClient({ apiKey: AGENTS[handle].token, baseUrl: AGENTS[handle].realtime_url, client, ...options })

// The methods that were called.
export const called = new Set()

// A client that remembers which of its methods were called.
export const remembering = (client) =>
  new Proxy(client, {
    get(target, name) {
      const value = target[name]
      if (typeof value !== 'function') return value
      called.add(name)
      return value.bind(target)
    },
  })

// The public methods of a class, which its declaration calls so: everything but the constructor and what is private.
export function methods(kind, privates) {
  const own = Object.getOwnPropertyNames(kind.prototype)
  const fixed = Object.getOwnPropertyNames(kind).filter((name) => typeof kind[name] === 'function')
  return [...own, ...fixed].filter((name) => name !== 'constructor' && !privates.includes(name))
}

// Shown beside a failure.
export const say = (what) => console.log(what)

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

// Has the test do what an agent cannot, such as stopping the relay.
export async function ask(request) {
  console.log(`> ${request}`)
  const { value } = await answers.next()
  same(value, 'done', `the test's answer to '${request}'`)
}

// Lets the script end although it could be answered again.
export const end = () => process.stdin.destroy()

export const text = (words) => `${words} ${MARK}`
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

export function same(actual, expected, what) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`${what}: expected ${inspect(expected)}, got ${inspect(actual, { depth: 6 })}`)
  }
}

export function holds(condition, what, shown) {
  if (!condition) throw new Error(`${what}: ${inspect(shown, { depth: 6 })}`)
}

// Requires fields of these types; `?` behind one lets it be null. Gives the object.
export function shaped(what, object, fields) {
  for (const [name, type] of Object.entries(fields)) {
    const value = object?.[name]
    const nullable = type.endsWith('?')
    const wanted = nullable ? type.slice(0, -1) : type
    const found = Array.isArray(value) ? 'array' : typeof value
    holds((nullable && value === null) || (value !== null && found === wanted), `${what}.${name} is no ${type}`, object)
  }
  return object
}

// Requires an error of exactly this class, with this code; gives it.
export async function refused(kind, code, call, status) {
  const expected = `${kind.name} ${code}`
  let answer
  try {
    answer = await call
  } catch (error) {
    if (!(error instanceof AgentChatError)) throw error
    const got = `${error.constructor.name} ${error.code} ${error.status} (${error.message})`
    holds(error.constructor === kind && error.code === code, `expected ${expected}`, got)
    holds(status === undefined || error.status === status, `expected ${status}`, got)
    holds(error.requestId, 'no x-request-id', got)
    return error
  }
  throw new Error(`expected ${expected}, got the answer ${inspect(answer)}`)
}

// Looks again and again until there is something; gives it.
export async function eventually(what, look, limit = SPREAD) {
  const until = Date.now() + limit
  for (;;) {
    const found = await look()
    if (found) return found
    holds(Date.now() < until, `${what}: not within ${limit} ms, at last`, found)
    await sleep(20)
  }
}

export async function collect(rows) {
  const all = []
  for await (const row of rows) all.push(row)
  return all
}

// The cursor that settles these rows of sync.
export const last = (rows) => rows.findLast((row) => row.delivery_id)?.delivery_id

// Settles what waits; gives it.
export async function settle(agent) {
  const rows = await agent.sync()
  if (rows.length) await agent.syncAck(last(rows))
  return rows
}

// Waits until exactly this message waits, and settles it.
export async function takesOne(agent, id) {
  await eventually(`${id} waits, once`, async () => `${(await agent.sync()).map((row) => row.id)}` === id)
  await settle(agent)
}

export const MESSAGE = {
  id: 'string',
  conversation_id: 'string',
  sender: 'string',
  client_msg_id: 'string',
  seq: 'number',
  type: 'string',
  content: 'object',
  metadata: 'object',
  context: 'object',
  status: 'string',
  created_at: 'string',
  delivered_at: 'string?',
  read_at: 'string?',
}
