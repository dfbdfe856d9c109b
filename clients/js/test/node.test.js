// In Node, with the package ws on both sides: real sockets, and a server that knows nothing of the client's inside.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { PushClient } from '../pushpod.js'

async function serve(t) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const clients = []
  t.after(() => {
    clients.forEach((c) => c.close())
    server.clients.forEach((c) => c.terminate())
    server.close()
  })
  return {
    make(options) {
      const client = new PushClient(`ws://127.0.0.1:${server.address().port}/ws`, { WebSocket, backoff: { min: 10, max: 50 }, ...options })
      clients.push(client)
      return client
    },
    async next() {
      const [socket, request] = await once(server, 'connection')
      const frames = []
      let wanted
      socket.on('message', (text) => (frames.push(JSON.parse(text)), wanted?.()))
      return {
        socket,
        request,
        say: (frame) => socket.send(JSON.stringify(frame)),
        welcome() {
          this.say({ type: 'welcome', uuid: 'u', user: 'alice', ping: 25, max_message: 65536 })
        },
        async frame() {
          if (!frames.length) await new Promise((resolve) => (wanted = resolve))
          return frames.shift()
        },
      }
    },
  }
}

const event = (client, type) => new Promise((resolve) => client.addEventListener(type, resolve, { once: true }))

test('With the package ws: pushes, requests, pings, close codes', async (t) => {
  const server = await serve(t)
  const client = server.make({ token: async () => 'abc' })
  let s = await server.next()
  assert.equal(s.request.headers['sec-websocket-protocol'], 'pushpod.v1,bearer.abc')
  s.welcome()
  await event(client, 'open')
  s.say({ type: 'message', id: 'a', data: { text: 'hé' } })
  assert.deepEqual((await event(client, 'message')).data, { text: 'hé' })
  s.say({ type: 'ping' })
  assert.deepEqual(await s.frame(), { type: 'pong' })
  const receipt = client.request({ n: 1 }, { id: 'r1' })
  assert.deepEqual(await s.frame(), { type: 'request', id: 'r1', data: { n: 1 } })
  const next = server.next()
  s.socket.terminate()
  s = await next
  s.welcome()
  assert.equal((await s.frame()).id, 'r1')
  s.say({ type: 'receipt', id: 'r1', status: 'accepted' })
  assert.equal(await receipt, 'r1')
  s.socket.close(4600, 'bye')
  const closed = await event(client, 'close')
  assert.deepEqual([closed.code, closed.reason, closed.final], [4600, 'bye', true])
})

test('A server that cannot be reached is a state, not an error that ends the process', async (t) => {
  const client = new PushClient('ws://127.0.0.1:1/ws', { WebSocket, sse: false })
  t.after(() => client.close())
  while (client.state.name !== 'waiting') await event(client, 'state')
  assert.equal(client.state.code, 1006)
})

test('close() says goodbye to the server', async (t) => {
  const server = await serve(t)
  const client = server.make()
  const s = await server.next()
  s.welcome()
  await event(client, 'open')
  client.close()
  const [code] = await once(s.socket, 'close')
  assert.equal(code, 1000)
})
