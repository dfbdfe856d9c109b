import assert from 'node:assert/strict'
import test from 'node:test'
import { browser, settle, world } from './fake.js'

/** Plays GET /sse by fetch. `next()` is the next request, which a test answers. */
function events(t, w) {
  const asked = []
  t.mock.method(globalThis, 'fetch', (url, init) => {
    const { promise, resolve, reject } = withResolvers()
    init.signal.addEventListener('abort', () => reject(init.signal.reason))
    const encoder = new TextEncoder()
    let stream
    let response
    const body = new ReadableStream({ start: (controller) => (stream = controller) })
    init.signal.addEventListener('abort', () => stream.error(init.signal.reason))
    asked.push({
      url: new URL(url),
      init,
      query: Object.fromEntries(new URL(url).searchParams),
      refuse: (status, body, headers) => resolve(new Response(body, { status, headers })),
      fail: () => reject(new TypeError('fetch failed')),
      async send(text) {
        resolve((response ??= new Response(body, { headers: { 'content-type': 'text/event-stream' } })))
        stream.enqueue(typeof text === 'string' ? encoder.encode(text) : text)
        await settle()
      },
      async finish() {
        stream.close()
        await settle()
      },
      welcome(uuid) {
        return this.send(`data: {"type":"welcome","uuid":"${uuid}","user":"alice","ping":25}\n\n`)
      },
    })
    return promise
  })
  return async () => {
    await settle()
    return asked.shift()
  }
}

function withResolvers() {
  const r = {}
  r.promise = new Promise((resolve, reject) => Object.assign(r, { resolve, reject }))
  return r
}

/** Fails WebSocket until it is the turn of server-sent events. */
async function fallen(t, options) {
  const w = world(t)
  const next = events(t, w)
  const client = w.make(options)
  ;(await w.next()).end(1006)
  await w.pass(250)
  ;(await w.next()).end(1006)
  await w.pass(500)
  const e = await next()
  return {
    w,
    client,
    next,
    e,
    /** The welcome, and then the failure of WebSocket, which is tried at once. */
    async open() {
      await e.welcome('e1')
      await w.pass(1)
      ;(await w.next()).end(1006)
    },
  }
}

test('Where WebSocket fails twice, server-sent events are tried', async (t) => {
  const { w, client, e } = await fallen(t, { token: () => 'abc' })
  assert.equal(e.url.href, 'http://pod.test/sse?refuse=close&goaway=1')
  assert.deepEqual(e.init.headers, { accept: 'text/event-stream', authorization: 'Bearer abc' })
  assert.equal(e.init.cache, 'no-store')
  assert.equal(e.init.credentials, 'include')
  await e.welcome('e1')
  assert.deepEqual(client.state, { name: 'open', uuid: 'e1', user: 'alice', via: 'sse' })
  await e.send('event: x\nid: 1-0\ndata: {"type":"message","id":"a","data":"ä')
  await e.send('"}\n\n')
  await e.send(': comment\n\ndata:{"type":"message",\r')
  await e.send('\ndata: "data":[1,\ndata: 2]}\r\n\r')
  await e.send('\ndata: {"type":"message","data":3}\r\r')
  await e.send('data: {"type":"message","data":4}\n\n')
  assert.deepEqual(w.told(), ['open e1', 'message "ä"', 'message [1,2]', 'message 3', 'message 4'])
})

test('A letter that is split between two chunks stays whole', async (t) => {
  const { w, e } = await fallen(t)
  await e.welcome('e1')
  const bytes = new TextEncoder().encode('data: {"type":"message","data":"€"}\n\n')
  const cut = bytes.indexOf(0xe2) + 1
  await e.send(bytes.slice(0, cut))
  await e.send(bytes.slice(cut))
  assert.deepEqual(w.told(), ['open e1', 'message "€"'])
})

test('event: close says what to do next, and the next attempt is by server-sent events again', async (t) => {
  const { w, client, e, next, open } = await fallen(t)
  await open()
  await e.send('event: close\ndata: {"type":"close","code":1001,"reason":"retry_ms=700"}\n\n')
  assert.deepEqual(client.state, { name: 'waiting', until: Date.now() + 700, code: 1001, reason: 'retry_ms=700' })
  assert.ok(e.init.signal.aborted)
  await w.pass(700)
  const again = await next()
  await again.welcome('e2')
  await again.finish()
  assert.equal(client.state.code, 1006)
})

test('A comment shows that the server lives; silence is noticed', async (t) => {
  const { w, client, e, open } = await fallen(t)
  await open()
  await w.pass(25_000)
  await e.send(': \n\n')
  await w.pass(29_000)
  await e.send(':\n\n')
  await w.pass(30_000)
  await w.pass(4_999)
  assert.equal(client.state.name, 'open')
  await w.pass(1)
  assert.equal(client.state.reason, 'the server is silent')
})

test('A way back to WebSocket is tried, later and later, and taken without a gap', async (t) => {
  const { w, client, e, next, open } = await fallen(t)
  await open()
  const live = async (ms) => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      await e.send(':\n\n')
      await w.pass(10_000)
    }
  }
  await live(30_000)
  let s = await w.next()
  assert.equal(s.query.replaces, 'e1')
  s.end(1006)
  assert.equal(client.state.uuid, 'e1')
  await live(50_000)
  assert.equal(await w.next(), undefined)
  await live(10_000)
  s = await w.next()
  s.welcome()
  await w.pass(1000)
  assert.ok(e.init.signal.aborted)
  assert.deepEqual(w.told(), ['open e1', 'open uuid-5 handover'])
  await w.pass(1)
  s.end(1006)
  await w.pass(2000)
  s = await w.next()
  assert.ok(s, 'and then WebSocket is the way')
  s.end(1006)
  await w.pass(client.state.until - Date.now())
  ;(await w.next()).end(1006)
  await w.pass(client.state.until - Date.now())
  await (await next()).welcome('e2')
  await w.pass(1)
  assert.ok(await w.next(), 'which is tried at once, as after any outage')
})

test('A page that is looked at does not end server-sent events, which cannot be asked', async (t) => {
  const page = browser(t)
  const { w, client, open } = await fallen(t)
  await open()
  page.show('visible')
  await w.pass(6_000)
  assert.equal(client.state.via, 'sse')
})

test('However many requests wait, none is left where server-sent events are all there is', async (t) => {
  const { client, open } = await fallen(t)
  const all = Promise.allSettled(Array.from({ length: 100 }, () => client.request(1)))
  await open()
  assert.ok((await all).every(({ reason }) => reason.code === 'one_way'))
})

test('A goaway over server-sent events is a handover too', async (t) => {
  const { w, e, next, open } = await fallen(t)
  await open()
  await e.send('data: {"type":"goaway","within_ms":3000}\n\n')
  ;(await next()).fail()
  await settle()
  await w.pass(250 * 2 ** 2)
  const again = await next()
  assert.equal(again.query.replaces, 'e1')
  await again.welcome('e2')
  assert.deepEqual(w.told(), ['open e1', 'open e2 handover'])
})

test('After an outage WebSocket is tried at once, and requests wait for it', async (t) => {
  const { w, client, e } = await fallen(t)
  const r = client.request(1, { id: 'r1' })
  await e.welcome('e1')
  await w.pass(1)
  const s = (await w.next()).welcome()
  assert.deepEqual(s.requests(), ['r1'])
  s.receipt('r1')
  await r
  assert.deepEqual(w.told(), ['open e1', 'open uuid-3 handover'])
})

test('Where WebSocket does not work, requests cannot go up', async (t) => {
  const { client, open } = await fallen(t)
  const before = assert.rejects(client.request(1), { code: 'one_way' })
  await open()
  await before
  await assert.rejects(client.request(1), { code: 'one_way' })
})

for (const [status, code, want] of [
  [401, 4001, 'closed'],
  [403, 4003, 'closed'],
  [429, 4029, 'waiting'],
  [503, 4053, 'waiting'],
]) {
  test(`A pod's ${status} says what ${code} says`, async (t) => {
    const { client, e } = await fallen(t)
    e.refuse(status, '{"error":"x","reason":"because"}', { 'retry-after': '7' })
    await settle()
    assert.equal(client.state.name, want)
    assert.equal(client.state.code, code)
    assert.equal(client.state.reason, 'because retry_ms=7000')
    if (want === 'waiting') assert.equal(client.state.until, Date.now() + 7000)
  })
  test(`A proxy's ${status} counts as a failure to connect`, async (t) => {
    const { client, e } = await fallen(t)
    e.refuse(status, '<h1>no</h1>')
    await settle()
    assert.equal(client.state.name, 'waiting')
    assert.equal(client.state.code, 1006)
    assert.equal(client.state.reason, `HTTP ${status}`)
  })
}

test('A server that is away is asked by both ways in turn; 404 means that there is no other way', async (t) => {
  const { w, client, e, next } = await fallen(t)
  e.fail()
  await settle()
  await w.pass(client.state.until - Date.now())
  ;(await w.next()).end(1006)
  await w.pass(client.state.until - Date.now())
  ;(await next()).refuse(404, '{"error":"not_found"}')
  await settle()
  for (let i = 0; i < 4; i++) {
    await w.pass(client.state.until - Date.now())
    ;(await w.next()).end(1006)
  }
})

test('A close code, even of a refusal, shows that WebSocket works', async (t) => {
  const w = world(t)
  const next = events(t, w)
  const client = w.make()
  for (let i = 0; i < 6; i++) {
    ;(await w.next()).end(4053, 'retry_ms=1')
    await w.pass(1)
  }
  assert.equal(await next(), undefined)
  assert.equal(client.state.name, 'connecting')
})

test('Server-sent events may be the only way, at another URL, or none', async (t) => {
  const w = world(t)
  const next = events(t, w)
  const only = w.make({ WebSocket: null, sse: '/events?x=1' })
  const e = await next()
  assert.equal(e.url.href, 'http://pod.test/events?x=1&refuse=close&goaway=1')
  await e.welcome('e1')
  await assert.rejects(only.request(1), { code: 'one_way' })
  await w.pass(20_000)
  await e.send(':\n\n')
  await w.pass(20_000)
  assert.equal(only.state.via, 'sse')
  assert.equal(w.sockets.length, 0)

  const client = w.make({ sse: false })
  for (let i = 0; i < 5; i++) {
    ;(await w.next()).end(1006)
    await w.pass(client.state.until - Date.now())
  }
  assert.equal(await next(), undefined)
})

test('A 404 does not end it where server-sent events are the only way', async (t) => {
  const w = world(t)
  const next = events(t, w)
  const client = w.make({ WebSocket: null })
  ;(await next()).refuse(404, '')
  await settle()
  await w.pass(client.state.until - Date.now())
  assert.ok(await next())
})
