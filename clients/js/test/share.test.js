import assert from 'node:assert/strict'
import test from 'node:test'
import { browser, settle, world } from './fake.js'

async function tabs(t, n, options = { share: true }) {
  const page = browser(t)
  const w = world(t)
  const clients = []
  for (let i = 0; i < n; i++) {
    clients.push(w.make(options))
    await settle()
  }
  return { w, page, clients, s: await w.next() }
}

test('Tabs share one connection, and each has the pushes and the states', async (t) => {
  const { w, clients, s } = await tabs(t, 3)
  assert.equal(await w.next(), undefined, 'there is one connection')
  s.welcome()
  await settle()
  assert.deepEqual(clients.map((c) => c.state.uuid), ['uuid-1', 'uuid-1', 'uuid-1'])
  w.told()
  s.say({ type: 'message', id: 'a', data: 'a' })
  s.say({ type: 'message', id: 'a', data: 'a' })
  await settle()
  assert.deepEqual(w.told(), ['message "a"', 'message "a"', 'message "a"'])
  s.end(1013, 'retry_ms=5000')
  await settle()
  assert.deepEqual(clients.map((c) => c.state.until), Array(3).fill(Date.now() + 5000))
})

test('A tab that comes later is told the state', async (t) => {
  const { w, clients, s } = await tabs(t, 1)
  s.welcome()
  const late = w.make({ share: true })
  await settle()
  assert.equal(late.state.uuid, clients[0].state.uuid)
  assert.deepEqual(w.told(), ['open uuid-1', 'open uuid-1'])
})

test('Requests of all tabs go over the one connection', async (t) => {
  const { clients, s } = await tabs(t, 2)
  const results = []
  clients[1].request(1, { id: 'r1' }).then((id) => results.push(id))
  s.welcome()
  await settle()
  clients[1].request(2, { id: 'r2' }).catch((e) => results.push(`${e.code} ${e.reason}`))
  clients[0].request(3, { id: 'r3' }).then((id) => results.push(id))
  await settle()
  assert.deepEqual(s.requests().sort(), ['r1', 'r2', 'r3'])
  s.receipt('r1')
  s.say({ type: 'receipt', id: 'r2', status: 'rejected', error: 'not_allowed', reason: 'because' })
  s.receipt('r3')
  await settle()
  assert.deepEqual(results.sort(), ['not_allowed because', 'r1', 'r3'])
})

test('When the tab with the connection leaves, another one connects, and requests go out again', async (t) => {
  const { w, clients, s } = await tabs(t, 3)
  s.welcome()
  await settle()
  const requests = [clients[1].request(1, { id: 'r1' }), clients[2].request(2, { id: 'r2' })]
  await settle()
  w.told()
  clients[0].close()
  assert.equal(s.closed, 1000)
  const next = await w.next()
  assert.equal(next.query.replaces, 'uuid-1')
  next.welcome()
  await settle()
  assert.equal(await w.next(), undefined)
  assert.deepEqual(w.told().sort(), ['close 1000 final', 'close 1006', 'close 1006', 'open uuid-2', 'open uuid-2'])
  assert.deepEqual(next.requests(), ['r1', 'r2'])
  next.receipt('r1')
  next.receipt('r2')
  await Promise.all(requests)
})

test('A tab that is put away leaves the others a connection, and shares theirs when it comes back', async (t) => {
  const page = browser(t)
  const w = world(t)
  const first = w.make({ share: true })
  await settle()
  page.fire('pagehide', { persisted: true }) // the only tab so far: but its page comes back
  const second = w.make({ share: true })
  await settle()
  const [a, b] = [await w.next(), await w.next()]
  assert.equal(a.closed, 1000)
  b.welcome()
  page.fire('pageshow', { persisted: true })
  await settle()
  assert.equal(await w.next(), undefined)
  assert.equal(first.state.uuid, second.state.uuid)
})

test('Where the server said to stay away, no other tab tries', async (t) => {
  const { w, clients, s } = await tabs(t, 2)
  s.welcome().end(4500, 'revoked')
  await settle()
  assert.deepEqual(clients.map((c) => c.state.code), [4500, 4500])
  clients[0].close()
  await settle()
  assert.equal(await w.next(), undefined)
  clients[1].connect()
  assert.ok(await w.next())
})

test('The wait that a server asked for goes on in the tab that takes over', async (t) => {
  const { w, clients, s } = await tabs(t, 2)
  s.welcome().end(1013, 'retry_ms=60000')
  await settle()
  const { until } = clients[1].state
  w.log.length = 0
  clients[0].close()
  await settle()
  assert.deepEqual(clients[1].state, { name: 'waiting', until, code: 1013, reason: 'retry_ms=60000' })
  await w.pass(59_999)
  assert.equal(await w.next(), undefined)
  await w.pass(1)
  assert.ok(await w.next())
})

test('A hidden tab with the connection, whose timers are held back, is reminded by the others', async (t) => {
  const { w, s } = await tabs(t, 2)
  s.welcome()
  await settle()
  const { setTimeout } = globalThis
  const held = t.mock.method(globalThis, 'setTimeout', (then, ms) => setTimeout(then, ms + 60_000))
  s.end(1006) // the leader's timer is made here; the other tab's behind a message
  held.mock.restore()
  await w.pass(1_249)
  assert.equal(await w.next(), undefined)
  await w.pass(1)
  assert.ok(await w.next())
})

test('connect() of any tab is for all', async (t) => {
  const { w, clients, s } = await tabs(t, 2)
  s.end(1013, 'retry_ms=60000')
  await settle()
  clients[1].connect()
  ;(await w.next()).welcome()
  await settle()
  assert.deepEqual(clients.map((c) => c.state.name), ['open', 'open'])
})

test('A handover is one in each tab', async (t) => {
  const { w, s } = await tabs(t, 2)
  s.welcome().say({ type: 'goaway', within_ms: 3000 })
  ;(await w.next()).welcome()
  await settle()
  assert.deepEqual(w.told(), ['open uuid-1', 'open uuid-1', 'open uuid-2 handover', 'open uuid-2 handover'])
})

test('What other tabs say cuts no wait short, and ends no staying away, but for connect()', async (t) => {
  const { w, s } = await tabs(t, 1)
  const other = otherTab(t)
  s.end(1013, 'retry_ms=60000')
  for (const said of [{ hello: true }, { late: true }, { wake: true }]) other.say(said)
  assert.equal(await w.next(), undefined)
  other.say({ connect: true })
  ;(await w.next()).end(4003)
  for (const said of [{ late: true }, { wake: true }, {}]) other.say(said)
  assert.equal(await w.next(), undefined)
})

test('Tabs that were not told to share do not', async (t) => {
  browser(t)
  const w = world(t)
  w.make()
  w.make()
  assert.ok((await w.next()) && (await w.next()))
})

test('Different names do not share, nor do tabs without locks', async (t) => {
  const page = browser(t)
  const w = world(t)
  w.make({ share: 'alice' })
  w.make({ share: 'bob' })
  w.make({ share: 'bob' }, 'ws://other.test/ws')
  page.navigator.locks = undefined
  w.make({ share: 'alice' })
  for (let i = 0; i < 4; i++) assert.ok(await w.next())
})

/** Another tab's side of the channel, played by the test; `heard` is what the tabs say. */
function otherTab(t) {
  const channel = new BroadcastChannel('pushpod ws://pod.test/ws true')
  t.after(() => channel.close())
  const heard = []
  channel.onmessage = ({ data }) => heard.push(data)
  return { heard, say: (message) => channel.postMessage(message) }
}

test('A tab that is looked at has the connection checked, whichever tab has it', async (t) => {
  const { page, w, clients, s } = await tabs(t, 2)
  s.welcome()
  const other = otherTab(t)
  page.show('visible')
  await settle()
  assert.deepEqual(other.heard, [{ wake: true }], 'the second tab asks the first')
  s.receipt('alive')
  other.say({ wake: true })
  await settle()
  assert.equal(s.sent.filter((f) => f.id === 'alive').length, 2)
  await w.pass(5_000)
  assert.equal(clients[1].state.reason, 'the server is silent')
  clients[0].close()
  clients[1].close()
  page.show('visible') // no one is there to ask
})

test('A push that a tab passed on just before it left is told by its successor too, and passed on by nobody', async (t) => {
  const { w, clients, s } = await tabs(t, 3)
  s.welcome()
  clients[0].close()
  const next = (await w.next()).welcome()
  await settle()
  w.told()
  const other = otherTab(t)
  other.say({ text: '{"type":"message","data":"last"}' })
  await settle()
  assert.deepEqual(w.told(), ['message "last"', 'message "last"'])
  assert.deepEqual(other.heard, [])
  next.say({ type: 'message', data: 'first' })
  await settle()
  assert.deepEqual(w.told(), ['message "first"', 'message "first"'])
})

test('A tab that is opened while the others stay away is reason to try', async (t) => {
  const { w, s } = await tabs(t, 2)
  s.end(4001, 'logged out')
  await settle()
  w.make({ share: true })
  ;(await w.next()).welcome()
  await settle()
  assert.equal(await w.next(), undefined, 'one tries for all')
  assert.deepEqual(w.told().slice(2), Array(3).fill('open uuid-2'))
})

test('The first tab tells of no other that is gone', async (t) => {
  browser(t)
  const w = world(t)
  const client = w.make({ share: true })
  await w.next()
  assert.deepEqual(client.state, { name: 'connecting' })
})

test('Where a page may have no locks, as in a sandboxed frame, each tab connects for itself', async (t) => {
  const page = browser(t)
  const w = world(t)
  page.navigator.locks.request = () => Promise.reject(new DOMException('denied', 'SecurityError'))
  const client = w.make({ share: true })
  ;(await w.next()).welcome()
  assert.equal(client.state.name, 'open')
  client.close()
  await settle()
  assert.equal(await w.next(), undefined)
})

test('A tab that is closed while another one has the connection does not connect', async (t) => {
  const { w, clients, s } = await tabs(t, 2)
  s.welcome()
  await settle()
  clients[1].close()
  assert.equal(await w.next(), undefined)
  clients[0].close()
  assert.equal(await w.next(), undefined)
  assert.deepEqual(clients.map((c) => c.state.name), ['closed', 'closed'])
})

test('Tabs that are put away connect none of them', async (t) => {
  const { w, page, s } = await tabs(t, 2)
  s.welcome()
  await settle()
  page.fire('pagehide', { persisted: true })
  assert.equal(await w.next(), undefined)
})

test('More requests of a tab than may be under way follow one another', async (t) => {
  const { clients, s } = await tabs(t, 2)
  s.welcome()
  await settle()
  const all = Promise.all(Array.from({ length: 40 }, (_, i) => clients[1].request(i, { id: `r${i}` })))
  await settle()
  assert.equal(s.requests().length, 32)
  for (let i = 0; i < 32; i++) s.receipt(`r${i}`)
  await settle()
  for (let i = 32; i < 40; i++) s.receipt(`r${i}`)
  await all
})

test('A tab that is frozen leaves the connection to those that run, and shares theirs when it is let go on', async (t) => {
  browser(t)
  const w = world(t)
  const first = w.make({ share: true })
  const s = (await w.next()).welcome()
  await settle()
  document.dispatchEvent(new Event('freeze'))
  assert.equal(s.closed, 1000)
  const second = w.make({ share: true })
  const next = (await w.next()).welcome()
  document.dispatchEvent(new Event('resume'))
  await settle()
  assert.equal(await w.next(), undefined)
  assert.equal(first.state.uuid, second.state.uuid)
  assert.equal(next.closed, null)
})

test('A tab that does not share is frozen with its connection: it misses nothing while the pod holds it', async (t) => {
  browser(t)
  const w = world(t)
  w.make()
  const s = (await w.next()).welcome()
  document.dispatchEvent(new Event('freeze'))
  assert.equal(s.closed, null)
})
