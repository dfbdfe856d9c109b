import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import test from 'node:test'
import { RequestError } from '../pushpod.js'
import { settle, world } from './fake.js'

async function opened(t, options) {
  const w = world(t)
  const client = w.make(options)
  const s = (await w.next()).welcome()
  return { w, client, s }
}

/** What a promise has come to. */
function outcome(promise) {
  const o = { is: 'pending' }
  promise.then(
    (value) => Object.assign(o, { is: 'resolved', value }),
    (error) => Object.assign(o, { is: 'rejected', error }),
  )
  return o
}

test('A request is settled by its receipt', async (t) => {
  const { client, s } = await opened(t)
  const first = outcome(client.request({ n: 1 }, { id: 'r1' }))
  const second = outcome(client.request('two', { id: 'r2' }))
  await settle()
  assert.deepEqual(s.sent, [
    { type: 'request', id: 'r1', data: { n: 1 } },
    { type: 'request', id: 'r2', data: 'two' },
  ])
  s.receipt('r2', 'not_allowed')
  s.receipt('r1')
  await settle()
  assert.deepEqual(first, { is: 'resolved', value: 'r1' })
  assert.ok(second.error instanceof RequestError)
  assert.equal(second.error.code, 'not_allowed')
  assert.equal(second.error.id, 'r2')
  assert.equal(String(second.error), 'RequestError: request r2: not_allowed')
  assert.equal(new RequestError('r3', 'closed', '4500 revoked').message, 'request r3: closed: 4500 revoked')
})

test('Requests have ids of their own', async (t) => {
  const { client, s } = await opened(t)
  client.request(1).catch(() => {})
  client.request(1).catch(() => {})
  await settle()
  const [a, b] = s.requests()
  assert.match(a, /^[0-9a-f]{32}$/)
  assert.notEqual(a, b)
})

test('A request waits for a connection, and goes out again over the next one with the same id', async (t) => {
  const w = world(t)
  const client = w.make()
  const r = outcome(client.request(1, { id: 'r1' }))
  let s = (await w.next()).welcome()
  assert.deepEqual(s.requests(), ['r1'])
  s.end(1006)
  await w.pass(250)
  s = (await w.next()).welcome()
  assert.deepEqual(s.requests(), ['r1'])
  s.receipt('r1')
  await settle()
  assert.equal(r.is, 'resolved')
})

test('unavailable means not known: the same again, later and later', async (t) => {
  const { w, client, s } = await opened(t)
  const r = outcome(client.request(1, { id: 'r1' }))
  await settle()
  for (const wait of [375, 750, 1500]) {
    s.receipt('r1', 'unavailable')
    await w.pass(wait - 1)
    const before = s.requests().length
    await w.pass(1)
    assert.equal(s.requests().length, before + 1)
  }
  assert.equal(r.is, 'pending')
  s.receipt('r1')
  await settle()
  assert.equal(r.is, 'resolved')
  assert.deepEqual(s.requests(), ['r1', 'r1', 'r1', 'r1'])
})

test('rate holds all requests back for a second', async (t) => {
  const { w, client, s } = await opened(t)
  client.request(1, { id: 'r1' }).catch(() => {})
  await settle()
  s.receipt('r1', 'rate')
  client.request(2, { id: 'r2' }).catch(() => {})
  await w.pass(999)
  assert.deepEqual(s.requests(), ['r1'])
  await w.pass(1)
  assert.deepEqual(s.requests(), ['r1', 'r1', 'r2'])
})

test('At most 32 requests are under way: the server bounds frames per second', async (t) => {
  const { client, s } = await opened(t)
  const all = Array.from({ length: 100 }, (_, i) => outcome(client.request(i, { id: `r${i}` })))
  await settle()
  assert.equal(s.requests().length, 32)
  for (let i = 0; i < 100; i++) s.receipt(`r${i}`)
  await settle()
  assert.deepEqual(new Set(s.requests()).size, 100)
  assert.ok(all.every((o) => o.is === 'resolved'))
})

test('After 1008 fewer are: the bound may be a low one', async (t) => {
  const { w, client, s } = await opened(t)
  for (let i = 0; i < 100; i++) client.request(i, { id: `r${i}` }).catch(() => {})
  await settle()
  s.end(1006)
  await w.pass(250)
  const same = (await w.next()).welcome()
  assert.equal(same.requests().length, 32)
  same.end(1008, 'rate')
  await w.pass(750)
  const next = (await w.next()).welcome()
  assert.equal(next.requests().length, 8)
})

test('What the pod would close the connection for is not sent', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome({ max_message: 100 })
  const small = outcome(client.request('é'.repeat(20), { id: 's' }))
  const large = outcome(client.request('é'.repeat(40), { id: 'l' }))
  await settle()
  assert.deepEqual(s.requests(), ['s'])
  assert.equal(large.error.code, 'too_large')
  assert.equal(small.is, 'pending')
})

test('A connection that is broken without having said so is found out by sending', async (t) => {
  const w = world(t)
  const client = w.make()
  const s = (await w.next()).welcome()
  s.send = () => {
    throw new Error('InvalidStateError')
  }
  client.request(1, { id: 'r1' }).catch(() => {})
  client.request(2, { id: 'r2' }).catch(() => {})
  await settle()
  assert.equal(client.state.name, 'waiting')
  await w.pass(250)
  assert.deepEqual((await w.next()).welcome().requests(), ['r1', 'r2'])
})

test('A signal ends the wait', async (t) => {
  const { client, s, w } = await opened(t)
  const stop = new AbortController()
  const r = outcome(client.request(1, { id: 'r1', signal: stop.signal }))
  await settle()
  const more = Array.from({ length: 32 }, (_, i) => client.request(i, { id: `more${i}` }))
  for (const m of more) m.catch(() => {})
  await settle()
  assert.equal(s.requests().length, 32)
  stop.abort(null) // even with a reason that is nothing
  await settle()
  assert.deepEqual(r, { is: 'rejected', error: null })
  assert.equal(s.requests().length, 33, 'its place is free')
  s.end(1006)
  await w.pass(250)
  assert.ok(!(await w.next()).welcome().requests().includes('r1'))
  await assert.rejects(client.request(1, { signal: AbortSignal.abort(new Error('enough')) }), /enough/)
})

test('A second request with the id of one under way is that one', async (t) => {
  const { client, s } = await opened(t)
  const both = [outcome(client.request(1, { id: 'r1' })), outcome(client.request(1, { id: 'r1' }))]
  await settle()
  assert.deepEqual(s.requests(), ['r1'])
  s.receipt('r1')
  await settle()
  assert.deepEqual(both.map((o) => o.is), ['resolved', 'resolved'])
})

test('The end of the client rejects what waits, and what comes', async (t) => {
  const { client, s } = await opened(t)
  const waits = outcome(client.request(1))
  await settle()
  s.end(4500, 'revoked')
  await settle()
  assert.equal(waits.error.code, 'closed')
  assert.equal(waits.error.reason, '4500 revoked')
  await assert.rejects(client.request(1), { code: 'closed' })
})

test('Bad arguments are said at once', async (t) => {
  const { client } = await opened(t)
  await assert.rejects(client.request(undefined), TypeError)
  await assert.rejects(client.request(() => {}), TypeError)
  await assert.rejects(client.request(10n), TypeError)
  await assert.rejects(client.request(1, { id: '' }), TypeError)
  await assert.rejects(client.request(1, { id: 'é'.repeat(129) }), TypeError)
  await assert.rejects(client.request(1, { id: 7 }), TypeError)
})

test('refresh() sends a fresh token over the connection that there is', async (t) => {
  let n = 0
  const { client, s } = await opened(t, { token: async () => `t${++n}` })
  const done = outcome(client.refresh())
  await settle()
  const [{ id, ...frame }] = s.sent
  assert.deepEqual(frame, { type: 'token', token: 't2' })
  s.receipt(id)
  await settle()
  assert.deepEqual(done, { is: 'resolved', value: undefined })
})

test('However many requests cannot be sent, none behind them is kept waiting', async (t) => {
  const w = world(t)
  const client = w.make()
  const large = Array.from({ length: 40 }, () => outcome(client.request('x'.repeat(100))))
  client.request(1, { id: 'small' }).catch(() => {})
  const s = (await w.next()).welcome({ max_message: 100 })
  await settle()
  assert.ok(large.every((o) => o.error?.code === 'too_large'))
  assert.deepEqual(s.requests(), ['small'])
})

test('A receipt that is not accepted resolves nothing', async (t) => {
  const { client, s } = await opened(t)
  const r = outcome(client.request(1, { id: 'r1' }))
  await settle()
  s.say({ type: 'receipt', id: 'r1', status: 'rejected' })
  await settle()
  assert.equal(r.error.code, 'rejected')
})

test('A request that is given up while it is held back leaves no timer', async (t) => {
  const { w, client, s } = await opened(t)
  const before = w.timers.size
  const stop = new AbortController()
  client.request(1, { id: 'r1', signal: stop.signal }).catch(() => {})
  await settle()
  s.receipt('r1', 'unavailable')
  assert.equal(w.timers.size, before + 1)
  stop.abort()
  assert.equal(w.timers.size, before)
})

test('refresh() rejects with the error of the callback', async (t) => {
  let fail = false
  const token = async () => {
    if (fail) throw new Error('login is down')
    return 'abc'
  }
  const { client, s } = await opened(t, { token })
  fail = true
  await assert.rejects(client.refresh(), /login is down/)
  assert.deepEqual(s.sent, [])
  assert.equal(client.state.name, 'open')
})

test('A signal that outlives its requests is not listened to any more', async (t) => {
  const { client, s } = await opened(t)
  const { signal } = new AbortController()
  const done = client.request(1, { id: 'r1', signal })
  await settle()
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  s.receipt('r1')
  await done
  await settle()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})
