// The client in Chromium against real pods and a real Redis. The tests wait for conditions, on slow machines too.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openTab, startBrowser, startBrowserWithLid, unable } from './chromium.js'
import { eventually, patient, read, sign, startBalancer, startEvents, startPod, startRedis, startSite } from './servers.js'

const secret = 'a secret of at least thirty-two bytes'

describe('In Chromium', { skip: unable, concurrency: 3, timeout: 900_000 }, () => {
  let browser
  before(async () => (browser = await startBrowser()))
  after(() => browser?.close())

  /** Servers of a test's own, and a way to open tabs. */
  async function setUp(t, { pods = 1, settings, from = browser } = {}) {
    const [redis, site, context] = await Promise.all([startRedis(t), startSite(t), from.newContext()])
    t.after(() => context.close().catch(() => {}))
    const started = await Promise.all(Array.from({ length: pods }, () => startPod(t, redis, settings)))
    const balancer = await startBalancer(t, ...started)
    return { redis, context, pods: started, balancer, url: `${balancer.url}?user=alice`, settings, tab: () => openTab(context, site), site }
  }

  test('Pushes come down, requests go up', async (t) => {
    const { redis, url, tab } = await setUp(t)
    const a = await tab()
    await a.connect(url)
    const { uuid, user, via } = await a.until('open')
    assert.match(uuid, /^[0-9a-f-]{36}$/)
    assert.deepEqual([user, via], ['alice', 'websocket'])
    assert.equal(await redis.push('alice', { text: 'hé €' }, 'id', 'm1'), 1)
    await redis.push('alice', { text: 'twice' }, 'id', 'm1')
    await redis.command('PUBLISH', 'push:all', '{"all":true,"data":"all"}')
    await a.gets('all')
    assert.deepEqual(await a.got(), [{ text: 'hé €' }, 'all'])
    assert.match(await a.request({ n: 1 }), /^[0-9a-f]{32}$/)
    assert.equal(await redis.command('XLEN', 'push:uplink'), 1)
    const refused = await a.page.evaluate(() => window.client.request('x'.repeat(70_000)).catch((e) => [e instanceof window.RequestError, e.code]))
    assert.deepEqual(refused, [true, 'too_large'])
    const all = await a.page.evaluate(async () => (await Promise.all(Array.from({ length: 60 }, (_, i) => window.client.request(i)))).length)
    assert.equal(all, 60, 'more than the pod takes in a second')
    await a.page.evaluate(() => window.client.close())
    await eventually('presence is gone', async () => (await redis.connections('alice')) === 0)
    assert.deepEqual(await a.told(), ['open', 'close 1000 final'])
  })

  test('A pod that is killed is followed by a connection to another one', async (t) => {
    const { redis, url, tab, pods } = await setUp(t, { pods: 2 })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    pods[0].signal('SIGKILL')
    await eventually('the page has connected anew', async () => (await a.told()).length === 3)
    assert.deepEqual(await a.told(), ['open', 'close 1006', 'open'])
    assert.equal(await redis.push('alice', 'there'), 1)
    await a.gets('there')
    assert.equal(await redis.connections('alice'), 1, 'the dead one is replaced')
  })

  test('A roll of all pods loses nothing and shows nothing', async (t) => {
    const w = await setUp(t, { pods: 2 })
    const { redis, tab, balancer } = w
    const tabs = [await tab(), await tab()]
    for (const [i, a] of tabs.entries()) await a.connect(`${balancer.url}?user=user${i}`)
    for (const a of tabs) await a.until('open')
    let n = 0
    let rolling = true
    const pushing = (async () => {
      for (; rolling; n++) {
        for (const i of tabs.keys()) await redis.push(`user${i}`, n, 'id', `m${n}`)
        await sleep(20)
      }
    })()
    for (const old of w.pods) {
      balancer.pods.push(await startPod(t, redis))
      old.signal('SIGTERM')
      const [code] = await old.ended
      assert.equal(code, 0)
      balancer.pods = balancer.pods.filter((pod) => pod !== old)
    }
    rolling = false
    await pushing
    for (const a of tabs) {
      await eventually('all have arrived', async () => (await a.got()).length >= n)
      // What was on its way over the old connection may come behind the first over the new one.
      const got = (await a.got()).sort((x, y) => x - y)
      assert.deepEqual(got, Array.from({ length: n }, (_, i) => i))
      const told = await a.told()
      assert.ok(told.length > 1, 'the connection has moved')
      assert.deepEqual(told, ['open', ...told.slice(1).map(() => 'handover')])
    }
  })

  test('A Redis that is killed ends no connection, and a request outlives it', async (t) => {
    const { redis, url, tab, pods } = await setUp(t, { settings: patient })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    await redis.process.kill()
    await a.page.evaluate(() => void window.client.request('during').then((id) => (window.done = id)))
    await eventually('the pod knows', async () => !(await pods[0].ready()))
    assert.equal(await a.page.evaluate(() => window.done), undefined)
    await redis.start()
    await eventually('the request is taken', () => a.page.evaluate(() => window.done))
    await eventually('presence is whole again', async () => (await redis.connections('alice')) === 1)
    await eventually('the functions are loaded', () => redis.push('alice', 'after', 'id', 'a'))
    await a.gets('after')
    assert.deepEqual(await a.told(), ['open'])
  })

  test('A pod that hangs is noticed by its silence', async (t) => {
    const { redis, url, tab, pods, balancer } = await setUp(t, { pods: 2 })
    const a = await tab()
    await a.connect(url, { ping: 'app,15' })
    await a.until('open')
    balancer.pods = [pods[1]]
    pods[0].signal('SIGSTOP')
    await eventually('the page has connected anew', async () => (await a.told()).length === 3, 100)
    assert.deepEqual(await a.told(), ['open', 'close 1006', 'open'])
    await redis.push('alice', 'there')
    await a.gets('there')
  })

  test('A page that is looked at again notices it at once', async (t) => {
    const { url, tab, pods, balancer } = await setUp(t, { pods: 2 })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    balancer.pods = [pods[1]]
    pods[0].signal('SIGSTOP')
    await a.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
    await eventually('the page has connected anew', async () => (await a.told()).length === 3, 60)
    assert.deepEqual(await a.told(), ['open', 'close 1006', 'open'])
  })

  test('A laptop that sleeps misses nothing while the pod still holds its connection', async (t) => {
    const lid = await startBrowserWithLid(t)
    const { redis, url, tab } = await setUp(t, { from: lid.browser, settings: patient })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    lid.shut()
    for (let i = 0; i < 3; i++) {
      assert.equal(await redis.push('alice', i), 1)
      await sleep(1000)
    }
    lid.open()
    await a.gets(2)
    assert.deepEqual(await a.got(), [0, 1, 2])
    assert.deepEqual(await a.told(), ['open'])
  })

  test('A laptop that sleeps for longer comes back by itself', async (t) => {
    const lid = await startBrowserWithLid(t)
    const { redis, url, tab } = await setUp(t, { from: lid.browser, settings: { 'conn.ping': '1s', 'conn.ping_timeout': '1s' } })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    lid.shut()
    await eventually('the pod has given it up', async () => (await redis.connections('alice')) === 0)
    lid.open()
    await eventually('the page has connected anew', async () => (await a.told()).length === 3)
    await redis.push('alice', 'awake')
    await a.gets('awake')
  })

  test('Tokens: expired, refused, renewed, revoked', async (t) => {
    const settings = { 'auth.mode': 'jwt', 'auth.hmac_secret': secret, 'auth.leeway': '0s', 'auth.cookie': 'session' }
    const { redis, balancer, tab, context, site } = await setUp(t, { settings })
    const asked = []
    const lasts = [-60, 8]
    await context.exposeFunction('askToken', (refused) => {
      asked.push(refused)
      return sign(secret, 'bob', lasts.shift() ?? 600)
    })
    const a = await tab()
    await a.connect(balancer.url, { asks: true })
    await eventually('the token has expired, and a fresh one was taken', async () => (await a.told()).length === 3)
    assert.deepEqual(await a.told(), ['open', 'close 4000', 'open'])
    assert.deepEqual(asked, [false, true, true])
    await a.page.evaluate(() => window.client.refresh())

    await redis.command('SET', 'push:block:{bob}', 'spam', 'EX', 600)
    let state = await a.until('closed')
    assert.equal(state.code, 4500)
    await a.page.evaluate(() => window.client.connect())
    await eventually('refused', async () => (await a.state()).code === 4003)
    state = await a.until('closed')
    assert.match(state.reason, /blocked/)

    const none = await tab()
    await none.connect(balancer.url)
    assert.equal((await none.until('closed')).code, 4001)

    await context.addCookies([{ name: 'session', value: sign(secret, 'carol', 600), url: site }])
    const cookie = await tab()
    await cookie.connect(balancer.url)
    assert.equal((await cookie.until('open')).user, 'carol')
  })

  test('Tabs share one connection, and one takes over when another is closed', async (t) => {
    const { redis, url, tab } = await setUp(t)
    const tabs = [await tab(), await tab(), await tab()]
    for (const a of tabs) await a.connect(url, { share: 'alice' })
    for (const a of tabs) await a.until('open')
    assert.equal(await redis.connections('alice'), 1)
    await redis.push('alice', 'to all tabs', 'id', 'm1')
    for (const a of tabs) await a.gets('to all tabs')
    assert.ok(await tabs[2].request('from the third'))
    assert.equal(await redis.command('XLEN', 'push:uplink'), 1)
    const [{ uuid: before }] = await Promise.all([tabs[1].state(), tabs[0].page.close()])
    await eventually('the second has connected', async () => {
      const { name, uuid } = await tabs[1].state()
      return name === 'open' && uuid !== before
    })
    await eventually('the third knows', async () => (await tabs[2].state()).uuid === (await tabs[1].state()).uuid)
    await eventually('the first is gone', async () => (await redis.connections('alice')) === 1)
    await redis.push('alice', 'again', 'id', 'm2')
    for (const a of tabs.slice(1)) await a.gets('again')
    assert.deepEqual(await tabs[2].told(), ['open', 'close 1006', 'open'])
  })

  test('A tab that is about to be frozen leaves the shared connection to one that runs', async (t) => {
    const { redis, url, tab } = await setUp(t)
    const [a, b] = [await tab(), await tab()]
    await a.connect(url, { share: 'alice' })
    const { uuid } = await a.until('open')
    await b.connect(url, { share: 'alice' })
    await b.until('open')
    // Without a screen Chromium freezes no page, so the page is told only.
    const tell = (type) => a.page.evaluate((type) => document.dispatchEvent(new Event(type)), type)
    await tell('freeze')
    await eventually('the other tab has connected', async () => {
      const state = await b.state()
      return state.name === 'open' && state.uuid !== uuid
    })
    await redis.push('alice', 'running', 'id', 'm1')
    await b.gets('running')
    await tell('resume')
    await eventually('it shares again', async () => (await a.state()).uuid === (await b.state()).uuid)
    await eventually('there is one connection', async () => (await redis.connections('alice')) === 1)
  })

  test('A page in the back/forward cache has no connection, and one when it comes back', async (t) => {
    const { redis, url, tab, site } = await setUp(t)
    const a = await tab()
    await a.connect(url, { share: true })
    await a.until('open')
    await a.page.goto(`${site}/other`)
    await eventually('its connection is gone', async () => (await redis.connections('alice')) === 0)
    await a.page.evaluate(() => history.back())
    await eventually('the page comes from the cache', () => a.page.evaluate(() => window.shown === 1))
    await eventually('it has connected anew', async () => (await a.told()).length === 3)
    await redis.push('alice', 'back')
    await a.gets('back')
  })

  test('Where a proxy lets no WebSocket through, server-sent events come', async (t) => {
    const { balancer, url, redis, tab } = await setUp(t)
    const answer = await fetch(url.replace('ws:', 'http:').replace('/ws', '/sse'))
    await answer.body.cancel()
    if (answer.status === 404) return t.skip('this pod has no GET /sse')
    balancer.strict = true
    const a = await tab()
    await a.connect(url)
    assert.equal((await a.until('open')).via, 'sse')
    await redis.push('alice', { text: 'hé €' }, 'id', 'm1')
    await a.gets({ text: 'hé €' })
    balancer.strict = false
    await a.page.evaluate(() => window.client.close())
    await eventually('presence is gone', async () => (await redis.connections('alice')) === 0)
  })

  test('Server-sent events are read as they come, with the token in a header field', async (t) => {
    const [site, context, events] = await Promise.all([startSite(t), browser.newContext(), startEvents(t)])
    t.after(() => context.close())
    const a = await openTab(context, site)
    await a.connect(events.url, { token: 'abc' })
    assert.equal((await a.until('open')).via, 'sse')
    const [{ request, response }] = events.streams
    assert.equal(request.headers.authorization, 'Bearer abc')
    response.write(': comment\n\ndata: {"type":"message","data":"hé €"}\n\n')
    await a.gets('hé €')
    response.end('event: close\ndata: {"type":"close","code":4500,"reason":"revoked"}\n\n')
    assert.equal((await a.until('closed')).code, 4500)
  })

  test('The page in README.md does what it says', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis, { 'auth.mode': 'jwt', 'auth.hmac_secret': secret })
    const [, html] = (await read('../README.md')).match(/```html\n(.*?)```/s)
    assert.match(html, /wss:\/\/push.example.com\/ws/)
    const site = await startSite(t, {
      '/readme': ['text/html', html.replace('wss://push.example.com', `ws://127.0.0.1:${pod.port}`)],
      '/push-token': ['text/plain', sign(secret, 'alice', 600)],
    })
    const context = await browser.newContext()
    t.after(() => context.close())
    const page = await context.newPage()
    const failed = []
    page.on('pageerror', (error) => failed.push(error.message))
    await page.goto(`${site}/readme`)
    const shows = (what) => eventually(`the page shows ${what}`, async () => (await page.innerText('body')).includes(what))
    await shows('open')
    await page.click('#hello')
    await shows('sent')
    await redis.push('alice', { text: 'good morning' })
    await shows('good morning')
    pod.signal('SIGKILL')
    await shows('next attempt in')
    assert.deepEqual(failed, [])
  })

  test('Without a network the page says so, and comes back with it', async (t) => {
    const { url, tab, context, pods } = await setUp(t, { pods: 2 })
    const a = await tab()
    await a.connect(url)
    await a.until('open')
    await context.setOffline(true)
    pods[0].signal('SIGKILL')
    await a.until('offline')
    await context.setOffline(false)
    await a.until('open')
  })
})
