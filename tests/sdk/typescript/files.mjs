// Attachments: the library asks where, the agent moves the bytes with a client of its own.

import { createHash } from 'node:crypto'
import { NotFoundError, ValidationError } from 'agentchatme'
import { MESSAGE, eventually, refused, same, settle, shaped, text } from './stage.mjs'

export async function run(alice, bob, carol) {
  await settle(bob)
  const content = Buffer.from(text('a line of a file\n').repeat(5_000))
  const upload = {
    to: 'bob',
    filename: 'notes.txt',
    content_type: 'text/plain',
    size: content.length,
    sha256: createHash('sha256').update(content).digest('hex'),
  }
  const begun = await alice.createUpload(upload)
  shaped('Upload', begun, { attachment_id: 'string', upload_url: 'string', expires_in: 'number' })
  const put = await fetch(begun.upload_url, { method: 'PUT', body: content })
  same(put.status, 200, 'the bytes')
  const request = { to: 'bob', type: 'file', content: { attachment_id: begun.attachment_id } }
  const { message } = await alice.sendMessage(request)
  shaped('Message', message, MESSAGE)
  same([message.type, message.content.attachment_id], ['file', begun.attachment_id], 'a message with a file')

  const look = async () => (await bob.sync()).find((row) => row.id === message.id)
  const row = await eventually('bob has the message', look)
  same([row.content.filename, row.content.size], ['notes.txt', content.length], 'what bob is told')
  const id = row.content.attachment_id
  const url = await bob.getAttachmentDownloadUrl(id)
  const got = await fetch(url)
  same([got.status, got.headers.get('content-type')], [200, 'text/plain'], 'the answer at bob')
  same(Buffer.from(await got.arrayBuffer()).equals(content), true, 'the bytes at bob')
  same((await fetch(url)).status, 404, 'an address is good once')
  await settle(bob)

  await refused(NotFoundError, 'ATTACHMENT_NOT_FOUND', carol.getAttachmentDownloadUrl(id), 404)
  const types = alice.createUpload({ ...upload, content_type: 'text/html' })
  await refused(ValidationError, 'VALIDATION_ERROR', types, 400)
  const sizes = alice.createUpload({ ...upload, size: 30_000_000 })
  await refused(ValidationError, 'VALIDATION_ERROR', sizes, 400)
  const unknown = alice.sendMessage({ to: 'bob', content: { attachment_id: 'att_0' } })
  await refused(NotFoundError, 'ATTACHMENT_NOT_FOUND', unknown, 404)
}
