import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import test from 'node:test'
import { PushClient } from '../pushpod.js'
import { browser, settle, world } from './fake.js'

test('The handshake asks for what the client understands, and the token is not in the URL', async (t) => {
  const w = world(t)
  w.make({ token: () => 'abc.def', ping: 'app,20' }, 'https://pod.test:8443/ws?user=a b%2Bc#top')
  const s = await w.next()
  assert.equal(s.url.protocol, 'wss:')
  assert.equal(s.url.host, 'pod.test:8443')
  assert.equal(s.url.search, '?user=a%20b%2Bc&ping=app%2C20&refuse=close&goaway=1')
  assert.equal(s.url.hash, '')
  assert.deepEqual(s.protocols, ['pushpod.v1', 'bearer.abc.def'])
})

test('Without a token the cookies decide; without ping= the server pings as it likes', async (t) => {
  const w = world(t)
  w.make({ ping: false })
  const s = await w.next()
  assert.deepEqual(s.protocols, ['pushpod.v1'])
  assert.equal(s.url.search, '?refuse=close&goaway=1')
})

test('In a page, the URL may be a path', async (t) => {
  browser(t)
  const w = world(t)
  w.make({}, '/push/ws')
  const s = await w.next()
  assert.equal(s.url.origin + s.url.pathname, 'wss://app.test/push/ws')
})

test('What cannot be connected to is a TypeError', (t) => {
  assert.throws(() => new PushClient('ftp://pod.test/ws', { WebSocket: class {} }), TypeError)
  assert.throws(() => new PushClient('pod.test/ws', { WebSocket: class {} }), TypeError)
  assert.throws(() => new PushClient('ws://pod.test/push', { WebSocket: null }), /give one as option WebSocket/)
  const { WebSocket } = globalThis // Node 20 has none
  t.after(() => (globalThis.WebSocket = WebSocket))
  globalThis.WebSocket = undefined
  assert.throws(() => new PushClient('ws://pod.test/ws'), /give one as option WebSocket/)
})

test('A user interface sees each state with what belongs to it', async (t) => {
  const w = world(t)
  const client = w.make()
  const states = []
  const reasons = []
  client.addEventListener('close', (e) => reasons.push(e.reason))
  client.addEventListener('state', (e) => states.push([e.before.name, e.state]))
  assert.deepEqual(client.state, { name: 'connecting' })
  const s = (await w.next()).welcome()
  assert.deepEqual(client.state, { name: 'open', uuid: 'uuid-1', user: 'alice', via: 'websocket' })
  s.end(1013, 'overload retry_ms=4000')
  assert.deepEqual(client.state, { name: 'waiting', until: Date.now() + 4000, code: 1013, reason: 'overload retry_ms=4000' })
  await w.pass(4000)
  assert.deepEqual(client.state, { name: 'connecting', code: 1013, reason: 'overload retry_ms=4000' })
  ;(await w.next()).end(4003, 'blocked')
  assert.deepEqual(client.state, { name: 'closed', code: 4003, reason: 'blocked' })
  assert.deepEqual(states.map(([before, { name }]) => `${before} → ${name}`), [
    'connecting → open',
    'open → waiting',
    'waiting → connecting',
    'connecting → closed',
  ])
  client.close()
  assert.deepEqual(client.state, { name: 'closed', code: 4003, reason: 'blocked' }, 'why it was is still seen')
  assert.deepEqual(w.told(), ['open uuid-1', 'close 1013', 'close 4003 final'])
  assert.deepEqual(reasons, ['overload retry_ms=4000', 'blocked'])
})

test('A push is told with its data, its id, and the frame as it came', async (t) => {
  const w = world(t)
  const client = w.make()
  let got
  client.addEventListener('message', (e) => (got = e))
  const text = '{"type":"message","id":"m1","data":{"n":12345678901234567890},"topic":"x"}'
  ;(await w.next()).welcome().say(text)
  assert.equal(got.id, 'm1')
  assert.equal(typeof got.data.n, 'number')
  assert.equal(got.text, text)
})

test('Unknown types and members are ignored; what is no frame breaks the connection', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome({ later: 1 })
  s.say({ type: 'later' })
  s.say({ type: 'error', error: 'rate' })
  s.say({ type: 'welcome', uuid: 'another', user: 'mallory' })
  s.say({ type: 'close', code: 4500, reason: 'a frame of server-sent events' })
  for (const text of ['[]', '7', '"message"', '{"type":["message"]}', '{"data":1}']) s.say(text)
  assert.deepEqual(w.told(), ['open uuid-1'])
  s.say('null')
  s.say({ type: 'receipt', id: 'nobody', status: 'accepted' })
  s.receipt('nobody', 'unavailable')
  await settle() // what a listener throws comes behind it
  assert.equal(client.state.name, 'open')
  s.say('{')
  assert.equal(client.state.code, 1006)
  assert.equal(s.closed, 1000)
})

test('An id that was seen is dropped, over connections, and the last 1024 are remembered', async (t) => {
  const w = world(t)
  w.make()
  const message = (id) => ({ type: 'message', id, data: id })
  let s = (await w.next()).welcome()
  s.say(message('a'))
  s.say(message('a'))
  s.say({ type: 'message', data: 1 })
  s.say({ type: 'message', data: 1 })
  assert.deepEqual(w.told(), ['open uuid-1', 'message "a"', 'message 1', 'message 1'])
  s.end(1001, 'retry_ms=1')
  await w.pass(1)
  s = (await w.next()).welcome()
  s.say(message('b'))
  s.say(message('a')) // and so a is remembered for longer than b
  for (let i = 0; i < 1023; i++) s.say(message(`n${i}`))
  w.told()
  s.say(message('a'))
  assert.deepEqual(w.told(), [])
  s.say(message('b'))
  assert.deepEqual(w.told(), ['message "b"'])
})

test('close() ends the connection and is final until connect()', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  client.close()
  client.close()
  assert.equal(s.closed, 1000)
  s.say({ type: 'message', data: 'late' })
  s.end(1000)
  await w.pass(3_600_000)
  assert.equal(await w.next(), undefined)
  assert.deepEqual(client.state, { name: 'closed', code: 1000, reason: '' })
  client.connect()
  ;(await w.next()).welcome()
  assert.deepEqual(w.told(), ['open uuid-1', 'close 1000 final', 'open uuid-2'])
})

test('close() while an attempt is under way leaves nothing behind', async (t) => {
  const w = world(t)
  let give
  const client = w.make({ token: () => new Promise((resolve) => (give = resolve)) })
  await settle()
  client.close()
  give('abc')
  assert.equal(await w.next(), undefined)
  client.connect()
  await settle()
  give('abc')
  const s = await w.next()
  client.close()
  assert.equal(s.closed, 1000)
  s.welcome()
  assert.equal(client.state.name, 'closed')
})

test('A listener may close the client', async (t) => {
  const w = world(t)
  const client = w.make()
  client.addEventListener('state', () => client.close(), { once: true })
  ;(await w.next()).welcome()
  assert.deepEqual(w.told(), ['close 1000 final'])
  assert.equal(client.state.name, 'closed')
})

test('Nothing is told behind the final close, whichever listener has called close()', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  client.addEventListener('state', (e) => e.state.name === 'waiting' && client.close())
  s.end(1006)
  assert.deepEqual(w.told(), ['open uuid-1', 'close 1000 final'])
})

test('A listener that closes the client at the beginning of an attempt ends it: no token is asked for', async (t) => {
  const w = world(t)
  let asked = 0
  const client = w.make({ token: () => `t${++asked}` })
  ;(await w.next()).end(1006)
  client.addEventListener('state', (e) => e.state.name === 'connecting' && client.close())
  await w.pass(250)
  assert.equal(await w.next(), undefined)
  assert.equal(asked, 1)
  assert.equal(w.timers.size, 0)
})

test('close() leaves no timer behind, whatever was going on', async (t) => {
  const w = world(t)
  const client = w.make()
  const closed = (what) => {
    client.close()
    assert.equal(w.timers.size, 0, what)
    client.connect()
  }
  await settle()
  closed('connecting')
  await w.next()
  ;(await w.next()).end(1013, 'retry_ms=9000')
  closed('waiting')
  let s = (await w.next()).welcome()
  closed('open')
  s = (await w.next()).welcome()
  s.say({ type: 'goaway', within_ms: 3000 })
  await w.next()
  closed('in a handover')
  s = (await w.next()).welcome()
  s.say({ type: 'goaway', within_ms: 3000 })
  ;(await w.next()).welcome()
  closed('behind a handover')
  s = (await w.next()).welcome()
  for (const error of ['unavailable', 'rate']) {
    client.request(1, { id: error }).catch(() => {})
    await settle()
    s.receipt(error, error)
  }
  closed('requests held back')
  s = (await w.next()).welcome()
  client.request(1, { id: 'r2' }).catch(() => {})
  await settle()
  assert.deepEqual(s.requests(), ['r2'], 'the pause is over, too')
})

test('The WebSocket of the platform is the default', async (t) => {
  const w = world(t)
  const before = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket') // Node 20 has none
  t.after(() => (before ? Object.defineProperty(globalThis, 'WebSocket', before) : delete globalThis.WebSocket))
  Object.defineProperty(globalThis, 'WebSocket', { value: w.Socket, configurable: true, writable: true })
  w.make({ WebSocket: undefined })
  assert.ok(await w.next())
})

test('connect() changes nothing where there is a connection', async (t) => {
  const w = world(t)
  const client = w.make()
  ;(await w.next()).welcome()
  client.connect()
  await w.pass(600)
  assert.equal(await w.next(), undefined)
  assert.deepEqual(w.told(), ['open uuid-1'])
})

test('connect() behind close() begins anew: the state says nothing of before, and the backoff is short', async (t) => {
  const w = world(t)
  const client = w.make({ sse: false })
  for (let i = 0; i < 6; i++) {
    ;(await w.next()).end(1006)
    await w.pass(client.state.until - Date.now())
  }
  await w.next()
  client.close()
  client.connect()
  assert.deepEqual(client.state, { name: 'connecting' })
  ;(await w.next()).end(1006)
  assert.equal(client.state.until - Date.now(), 250)
})

test('close() leaves no listener on the page behind', async (t) => {
  const page = browser(t)
  const w = world(t)
  const listeners = () =>
    ['online', 'offline', 'pagehide', 'pageshow'].flatMap((type) => getEventListeners(page.window, type)).length +
    ['visibilitychange', 'freeze', 'resume'].flatMap((type) => getEventListeners(document, type)).length
  const client = w.make({ share: true })
  const open = listeners()
  assert.ok(open > 0)
  page.fire('pagehide', { persisted: true })
  page.fire('pageshow', { persisted: true })
  assert.equal(listeners(), open)
  document.dispatchEvent(new Event('freeze'))
  document.dispatchEvent(new Event('resume'))
  assert.equal(listeners(), open)
  client.close()
  assert.equal(listeners(), 0)
})

test('The token callback may name the client', async (t) => {
  const w = world(t)
  const client = w.make({ token: () => `t-${client.state.name}` })
  assert.deepEqual((await w.next()).protocols, ['pushpod.v1', 'bearer.t-connecting'])
})

test('A listener that connects at once does not keep the close from being told', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  client.addEventListener('state', (e) => e.state.name === 'waiting' && client.connect())
  s.end(1006)
  ;(await w.next()).welcome()
  assert.deepEqual(w.told(), ['open uuid-1', 'close 1006', 'open uuid-2'])
})
