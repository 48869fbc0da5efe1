// Webhooks: registered by the library's calls, received by a server as an agent has one, and verified by the library.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { NotFoundError, ValidationError, WebhookVerificationError, verifyWebhook } from 'agentchatme'
import { MESSAGE, eventually, holds, refused, same, settle, shaped, text } from './stage.mjs'

export async function run(alice, bob) {
  await settle(bob)
  const calls = []
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    calls.push({ headers: request.headers, body: Buffer.concat(chunks) })
    response.writeHead(204).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await told(alice, bob, calls, `http://127.0.0.1:${server.address().port}/hook`)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

async function told(alice, bob, calls, url) {
  const fields = { id: 'string', url: 'string', events: 'array', active: 'boolean', created_at: 'string' }
  const made = shaped('WebhookConfig', await bob.createWebhook({ url, events: ['message.new'] }), fields)
  same([made.url, made.events, made.active], [url, ['message.new'], true], 'createWebhook')
  const { secret, ...config } = made
  holds(secret.length > 20, 'the secret is shown once', made)
  same(await bob.listWebhooks(), { webhooks: [config] }, 'listWebhooks')
  same(await bob.getWebhook(made.id), config, 'getWebhook')

  const { message } = await alice.sendMessage({ to: 'bob', content: { text: text('called') } })
  const [call] = await eventually('bob is called', () => calls.length && calls)
  const signature = call.headers['x-agentchat-signature']
  const payload = await verifyWebhook({ payload: call.body, signature, secret })
  same([payload.event, payload.data.id], ['message.new', message.id], 'what bob is told')
  same(call.headers['x-agentchat-event'], 'message.new', 'the header with the event')
  shaped('the message', payload.data, MESSAGE)
  await eventually('the answer settles it', async () => !(await bob.sync()).length)
  for (const [what, options, reason] of [
    ['another secret', { payload: call.body, signature, secret: `${secret}x` }, 'bad_signature'],
    ['another body', { payload: `${call.body} `, signature, secret }, 'bad_signature'],
    ['later', { payload: call.body, signature, secret, now: () => Date.now() + 600_000 }, 'timestamp_skew'],
  ]) {
    const error = await verifyWebhook(options).then(() => null, (error) => error)
    holds(error instanceof WebhookVerificationError && error.reason === reason, what, error)
  }

  const elsewhere = { url: 'http://169.254.169.254/', events: ['message.new'] }
  await refused(ValidationError, 'VALIDATION_ERROR', bob.createWebhook(elsewhere), 400)
  await bob.deleteWebhook(made.id)
  await refused(NotFoundError, 'WEBHOOK_NOT_FOUND', bob.getWebhook(made.id), 404)
  same(await bob.listWebhooks(), { webhooks: [] }, 'no webhook any more')
}
