import assert from 'node:assert/strict'
import test from 'node:test'
import { settle, world } from './fake.js'

// Contract: what the client does after each close code. 'away', or the ms until the next attempt (Math.random() is 0.5, and
// the first ceiling 500 ms).
const table = [
  [1000, '', 'away'],
  [1001, 'retry_ms=1234', 1234],
  [1001, 'going away', 250],
  [1001, 'retry_ms=99999999999', 3_600_000],
  [1002, '', 'away'],
  [1003, '', 'away'],
  [1005, '', 250],
  [1006, 'retry_ms=5', 250],
  [1007, '', 'away'],
  [1008, 'rate', 375],
  [1008, 'not_allowed', 375],
  [1009, '', 'away'],
  [1011, '', 250],
  [1013, 'slow consumer, retry_ms=2000', 2000],
  [1013, '', 250],
  [3000, '', 250],
  [4000, 'token expired', 250], // no callback: the cookie may have been renewed
  [4001, '', 'away'],
  [4003, '', 'away'],
  [4029, 'retry_ms=7000', 7000],
  [4053, 'retry_ms=800', 800],
  [4100, 'retry_ms=5', 250],
  [4499, '', 250],
  [4500, 'revoked', 'away'],
  [4501, 'replaced', 'away'],
  [4600, '', 'away'],
  [4999, '', 'away'],
]

for (const [code, reason, want] of table) {
  for (const welcomed of [true, false]) {
    test(`${code} ${JSON.stringify(reason)} ${welcomed ? 'after' : 'before'} the welcome: ${want}`, async (t) => {
      const w = world(t)
      const client = w.make()
      const s = await w.next()
      if (welcomed) s.welcome()
      s.end(code, reason)
      if (want === 'away') {
        assert.deepEqual(client.state, { name: 'closed', code, reason })
        await w.pass(7_200_000)
        return assert.equal(await w.next(), undefined)
      }
      assert.deepEqual(client.state, { name: 'waiting', until: Date.now() + want, code, reason })
      await w.pass(want - 1)
      assert.equal(await w.next(), undefined)
      await w.pass(1)
      assert.ok(await w.next())
    })
  }
}

test('Waits grow with full jitter up to the longest, and begin anew after a connection that lasted', async (t) => {
  const w = world(t)
  const client = w.make({ backoff: { min: 1000, max: 5000 }, sse: false })
  const waits = async (draw, end) => {
    Math.random.mock.mockImplementation(() => draw)
    end()
    const wait = client.state.until - Date.now()
    await w.pass(wait)
    return wait
  }
  const ceilings = []
  for (let i = 0; i < 5; i++) {
    const s = await w.next()
    ceilings.push(await waits(1, () => s.end(1006)))
  }
  assert.deepEqual(ceilings, [1000, 2000, 4000, 5000, 5000])
  let s = await w.next()
  assert.equal(await waits(0.25, () => s.end(1006)), 1250)
  s = (await w.next()).welcome()
  await w.pass(4999)
  assert.equal(await waits(1, () => s.end(1006)), 5000, 'a welcome alone does not count')
  s = (await w.next()).welcome({ ping: 0 })
  await w.pass(5000)
  assert.equal(await waits(1, () => s.end(1006)), 1000)
})

test('connect() does not wait', async (t) => {
  const w = world(t)
  const client = w.make()
  ;(await w.next()).end(1013, 'retry_ms=60000')
  client.connect()
  client.connect()
  assert.ok(await w.next())
  assert.equal(await w.next(), undefined)
  await w.pass(60000)
  assert.equal(client.state.reason, 'no answer')
})

test('An attempt without welcome ends at the timeout', async (t) => {
  const w = world(t)
  const client = w.make({ timeout: 3000 })
  const s = await w.next()
  await w.pass(2999)
  s.say({ type: 'later' }) // is no welcome
  await w.pass(1)
  assert.equal(s.closed, 1000)
  assert.equal(client.state.name, 'waiting')
  assert.equal(client.state.code, 1006)
})

test('A connection that broke without a close frame is replaced; one that the server closed is gone by itself', async (t) => {
  const w = world(t)
  w.make()
  ;(await w.next()).welcome().end(1006)
  await w.pass(250)
  let s = await w.next()
  assert.equal(s.query.replaces, 'uuid-1')
  s.end(1006) // no welcome: the first is still to be replaced
  await w.pass(500)
  s = (await w.next()).welcome()
  assert.equal(s.query.replaces, 'uuid-1')
  s.end(1001, 'retry_ms=1')
  await w.pass(1)
  assert.equal((await w.next()).query.replaces, undefined)
})

test('Each attempt asks for a token; after 4000 and 4001 a fresh one goes at once', async (t) => {
  const w = world(t)
  const asked = []
  const client = w.make({
    token: async ({ refused }) => {
      asked.push(refused)
      return `t${asked.length}`
    },
  })
  ;(await w.next()).end(4001, 'expired')
  await w.pass(0)
  let s = await w.next()
  assert.deepEqual(s.protocols, ['pushpod.v1', 'bearer.t2'])
  s.welcome()
  await w.pass(600)
  s.end(4000, 'token expired')
  await w.pass(0)
  s = (await w.next()).welcome()
  assert.deepEqual(asked, [false, true, true])
  s.end(1001, 'retry_ms=0')
  await w.pass(0)
  await w.next()
  assert.deepEqual(asked, [false, true, true, false])
  assert.equal(client.state.name, 'connecting')
})

test('Fresh tokens that are refused too back off, and never give up', async (t) => {
  const w = world(t)
  const client = w.make({ token: () => 'bad' })
  const waits = []
  for (let i = 0; i < 5; i++) {
    ;(await w.next()).end(4001)
    waits.push(client.state.until - Date.now())
    await w.pass(waits.at(-1))
  }
  assert.deepEqual(waits, [0, 250, 500, 1000, 2000])
  ;(await w.next()).end(1013, 'retry_ms=1')
  await w.pass(1)
  ;(await w.next()).end(4001)
  assert.equal(client.state.until, Date.now(), 'another one that is fresh goes at once')
})

test('A token that is a string cannot be renewed: 4001 is final', async (t) => {
  const w = world(t)
  const client = w.make({ token: 'abc' })
  ;(await w.next()).end(4001, 'expired')
  assert.deepEqual(client.state, { name: 'closed', code: 4001, reason: 'expired' })
})

test('A failing token callback is a failure to connect', async (t) => {
  const w = world(t)
  let failing = true
  const client = w.make({
    token: () => {
      if (failing) throw new Error('login is down')
      return 'abc'
    },
  })
  await settle()
  assert.deepEqual(client.state, { name: 'waiting', until: Date.now() + 250, code: 1006, reason: 'login is down' })
  failing = false
  await w.pass(250)
  assert.ok(await w.next())
})

test('A token callback that hangs ends at the timeout', async (t) => {
  const w = world(t)
  const client = w.make({ token: () => new Promise(() => {}) })
  await w.pass(10_000)
  assert.equal(client.state.name, 'waiting')
})

test('A token that no subprotocol can hold is a failure to connect', async (t) => {
  const w = world(t)
  const client = w.make({
    token: () => 'a b',
    WebSocket: class {
      constructor() {
        throw new SyntaxError('invalid subprotocol')
      }
    },
  })
  await settle()
  assert.equal(client.state.reason, 'invalid subprotocol')
})

test('The callback is told of a refusal until it has given a token for it', async (t) => {
  const w = world(t)
  const asked = []
  w.make({
    token: ({ refused }) => {
      asked.push(refused)
      if (asked.length === 2) throw new Error('login is down')
      return 'abc'
    },
  })
  ;(await w.next()).end(4001)
  await w.pass(0)
  await w.pass(250)
  ;(await w.next()).end(1006) // that token has not been refused
  await w.pass(500)
  assert.deepEqual(asked, [false, true, true, false])
})
