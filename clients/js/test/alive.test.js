import assert from 'node:assert/strict'
import test from 'node:test'
import { browser, settle, world } from './fake.js'

const probe = { type: 'ping', id: 'alive' }

test('A ping is answered by a pong', async (t) => {
  const w = world(t)
  w.make()
  const s = (await w.next()).welcome()
  s.say({ type: 'ping' })
  assert.deepEqual(s.sent, [{ type: 'pong' }])
})

test('A server that is silent is asked, and then taken for dead', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome({ ping: 20 })
  await w.pass(24_999)
  assert.deepEqual(s.sent, [])
  await w.pass(1)
  assert.deepEqual(s.sent, [probe])
  await w.pass(4_999)
  assert.equal(client.state.name, 'open')
  await w.pass(1)
  assert.equal(client.state.reason, 'the server is silent')
  assert.equal(s.closed, 1000)
  await w.pass(250)
  assert.equal((await w.next()).query.replaces, 'uuid-1')
})

test('Any frame shows that the server lives', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome({ ping: 20 })
  for (let i = 0; i < 20; i++) {
    await w.pass(20_000)
    s.say({ type: 'ping' })
  }
  await w.pass(25_000)
  s.receipt('alive')
  await w.pass(24_000)
  assert.equal(client.state.name, 'open')
  assert.equal(s.sent.filter((f) => f.type === 'ping').length, 1)
})

test('After a sleep the server is asked before it counts as dead', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome({ ping: 20 })
  await w.pass(8 * 3_600_000)
  assert.deepEqual(s.sent, [probe])
  s.say({ type: 'ping' }) // had been waiting in the socket
  await w.pass(5_000)
  assert.equal(client.state.name, 'open')
})

test('A page that is looked at, or gets a network, checks its connection', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  page.show('hidden')
  assert.deepEqual(s.sent, [])
  page.show('visible')
  assert.deepEqual(s.sent, [probe])
  s.receipt('alive')
  page.fire('online')
  assert.deepEqual(s.sent, [probe, probe])
  await w.pass(5_000)
  assert.equal(client.state.reason, 'the server is silent')
})

test('A page that is looked at does not wait out its own backoff, but what the server asked for', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  ;(await w.next()).end(1006)
  page.show('visible')
  let s = await w.next()
  assert.ok(s, 'at once')
  s.end(1013, 'retry_ms=9000')
  page.show('visible')
  assert.equal(await w.next(), undefined)
  assert.equal(client.state.until, Date.now() + 9000)
  await w.pass(9000)
  assert.ok(await w.next())
})

test('offline is a state of its own, which ends with online', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  page.navigator.onLine = false
  page.fire('offline')
  assert.equal(client.state.name, 'open', 'the network may be another one')
  assert.deepEqual(s.sent, [probe])
  s.end(1006)
  assert.equal(client.state.name, 'offline')
  await w.pass(250)
  assert.equal(client.state.name, 'offline', 'although an attempt is under way')
  ;(await w.next()).end(1006) // a browser may err about it: attempts go on
  page.fire('offline')
  assert.equal(await w.next(), undefined)
  assert.equal(client.state.name, 'offline')
  page.navigator.onLine = true
  page.fire('online')
  assert.equal(client.state.name, 'connecting')
  ;(await w.next()).end(1013, 'retry_ms=9000')
  page.navigator.onLine = false
  page.fire('offline')
  assert.deepEqual(client.state, { name: 'offline', until: Date.now() + 9000, code: 1013, reason: 'retry_ms=9000' })
  page.navigator.onLine = true
  page.fire('online')
  assert.deepEqual(client.state, { name: 'waiting', until: Date.now() + 9000, code: 1013, reason: 'retry_ms=9000' })
})

test('A page that is put away has no connection, and one again when it comes back', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  let s = (await w.next()).welcome()
  const r = client.request(1, { id: 'r1' })
  await settle()
  page.fire('pagehide', { persisted: true })
  assert.equal(s.closed, 1000)
  assert.deepEqual(client.state, { name: 'offline', code: 1006, reason: 'the page was put away' })
  page.fire('online')
  await w.pass(60_000)
  assert.equal(await w.next(), undefined)
  page.fire('pageshow', { persisted: true })
  s = (await w.next()).welcome()
  assert.deepEqual(w.told(), ['open uuid-1', 'close 1006', 'open uuid-2'])
  assert.deepEqual(s.requests(), ['r1'])
  s.receipt('r1')
  await r
  page.fire('pageshow', { persisted: false })
  assert.equal(await w.next(), undefined)
})

test('A closed client stays closed over the back/forward cache', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  ;(await w.next()).end(4003)
  page.fire('pagehide', { persisted: true })
  page.fire('pageshow', { persisted: true })
  assert.equal(await w.next(), undefined)
  client.close()
  client.connect()
  await w.next()
  page.fire('pagehide', { persisted: true })
  client.close()
  page.fire('pageshow', { persisted: true })
  assert.equal(await w.next(), undefined)
})

test('A page that is looked at again and again does not put off what it waits for', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  for (let i = 0; i < 5; i++) {
    page.show('visible')
    await w.pass(1_000)
  }
  assert.deepEqual(s.sent, [probe])
  assert.equal(client.state.reason, 'the server is silent')
})

test('A page that was frozen checks its connection when it is let go on', async (t) => {
  browser(t)
  const w = world(t)
  w.make()
  const s = (await w.next()).welcome()
  document.dispatchEvent(new Event('resume'))
  assert.deepEqual(s.sent, [probe])
})

test('What happens to the page while an attempt is under way changes nothing', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  await w.next()
  page.show('visible')
  page.fire('online')
  assert.equal(client.state.name, 'connecting')
  assert.equal(await w.next(), undefined)
})

test('Where the server said to stay away, nothing that happens to the page changes that', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  ;(await w.next()).end(4003, 'blocked')
  page.show('visible')
  page.fire('online')
  assert.deepEqual(client.state, { name: 'closed', code: 4003, reason: 'blocked' })
  assert.equal(await w.next(), undefined)
})

test('A server without pings is not asked', async (t) => {
  const w = world(t)
  w.make()
  const s = (await w.next()).welcome({ ping: 0 })
  await w.pass(1)
  await w.pass(3_600_000)
  assert.deepEqual(s.sent, [])
})

test('A page that comes back after the client was told to connect has one connection', async (t) => {
  const page = browser(t)
  const w = world(t)
  const client = w.make()
  ;(await w.next()).welcome()
  page.fire('pagehide', { persisted: true })
  client.connect()
  ;(await w.next()).welcome()
  page.fire('pageshow', { persisted: true })
  assert.equal(await w.next(), undefined)
})
