// The client in Node against real pods and a real Redis: what browser.test.js does in a page.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { PushClient } from '../pushpod.js'
import { eventually, patient, sign, startBalancer, startPod, startRedis } from './servers.js'

const secret = 'a secret of at least thirty-two bytes'

async function setUp(t, { pods = 1, settings } = {}) {
  const redis = await startRedis(t)
  const started = await Promise.all(Array.from({ length: pods }, () => startPod(t, redis, settings)))
  const balancer = await startBalancer(t, ...started)
  return { redis, pods: started, balancer, url: `${balancer.url}?user=alice` }
}

function connect(t, url, options) {
  const client = new PushClient(url, { WebSocket, backoff: { min: 100, max: 1000 }, ...options })
  t.after(() => client.close())
  const got = []
  const told = []
  client.addEventListener('message', (e) => got.push(e.data))
  client.addEventListener('open', (e) => told.push(e.handover ? 'handover' : 'open'))
  client.addEventListener('close', (e) => told.push(`close ${e.code}${e.final ? ' final' : ''}`))
  const is = (name) => eventually(`state ${name}`, () => client.state.name === name)
  return { client, got, told, is }
}

describe('In Node', { concurrency: 3, timeout: 600_000 }, () => {
  test('A roll of all pods loses nothing', async (t) => {
    const { redis, pods, balancer, url } = await setUp(t, { pods: 2 })
    const a = connect(t, url)
    await a.is('open')
    let n = 0
    let rolling = true
    const pushing = (async () => {
      for (; rolling; n++, await sleep(20)) await redis.push('alice', n, 'id', `m${n}`)
    })()
    for (const old of pods) {
      balancer.pods.push(await startPod(t, redis))
      old.signal('SIGTERM')
      assert.equal((await old.ended)[0], 0)
      balancer.pods = balancer.pods.filter((pod) => pod !== old)
    }
    rolling = false
    await pushing
    await eventually('all have arrived', () => a.got.length >= n)
    assert.deepEqual(
      a.got.sort((x, y) => x - y),
      Array.from({ length: n }, (_, i) => i),
    )
    assert.ok(a.told.includes('handover'))
    assert.ok(!a.told.some((what) => what.startsWith('close')), `${a.told}`)
  })

  test('Killed pods and a killed Redis are outlived by pushes and requests', async (t) => {
    const { redis, pods, url } = await setUp(t, { pods: 2 })
    const a = connect(t, url)
    await a.is('open')
    pods[0].signal('SIGKILL')
    await eventually('it has connected anew', () => a.told.length === 3)
    assert.deepEqual(a.told, ['open', 'close 1006', 'open'])
    assert.equal(await redis.connections('alice'), 1, 'the dead one is replaced')
    await redis.process.kill()
    const request = a.client.request('during')
    await eventually('the pod knows', async () => !(await pods[1].ready()))
    await redis.start()
    await request
    assert.ok((await redis.command('XLEN', 'push:uplink')) >= 1)
    await eventually('presence is whole again', async () => (await redis.connections('alice')) === 1)
    await eventually('the functions are loaded', () => redis.push('alice', 'after', 'id', 'a'))
    await eventually('it arrives', () => a.got.includes('after'))
    assert.equal(a.told.length, 3, 'Redis ended no connection')
  })

  test('Tokens: refused, expired, renewed in time, revoked', async (t) => {
    const settings = { 'auth.mode': 'jwt', 'auth.hmac_secret': secret, 'auth.leeway': '0s' }
    const { redis, balancer } = await setUp(t, { settings })
    const asked = []
    const lasts = [-60, 8]
    const token = async ({ refused }) => sign(secret, 'bob', (asked.push(refused), lasts.shift() ?? 600))
    const a = connect(t, balancer.url, { token })
    await eventually('one token was refused, the next has expired', () => a.told.length === 3)
    assert.deepEqual(a.told, ['open', 'close 4000', 'open'])
    assert.deepEqual(asked, [false, true, true])
    await a.client.refresh()
    await redis.command('SET', 'push:block:{bob}', 'spam', 'EX', 600)
    await a.is('closed')
    assert.equal(a.client.state.code, 4500)
    const none = connect(t, balancer.url)
    await none.is('closed')
    assert.equal(none.client.state.code, 4001)
  })

  for (const [what, settings, want] of [
    ['misses nothing while the pod holds its connection', patient, ['open']],
    ['comes back by itself after longer', { 'conn.ping': '1s', 'conn.ping_timeout': '1s' }, ['open', 'close', 'open']],
  ]) {
    test(`A machine that sleeps ${what}`, async (t) => {
      const { redis, url } = await setUp(t, { settings })
      const child = fork(fileURLToPath(new URL('sleeper.js', import.meta.url)), [url])
      t.after(() => child.kill('SIGKILL'))
      const told = []
      const got = []
      child.on('message', ({ type, data }) => (type === 'message' ? got.push(data) : told.push(type)))
      await once(child, 'message')
      child.kill('SIGSTOP')
      if (want.length === 1) for (const n of [0, 1, 2]) await redis.push('alice', n)
      else await eventually('the pod has given it up', async () => (await redis.connections('alice')) === 0)
      await sleep(1000)
      child.kill('SIGCONT')
      await eventually('it is as it should be', () => told.length === want.length)
      await redis.push('alice', 'awake')
      await eventually('it arrives', () => got.includes('awake'))
      assert.deepEqual(told, want)
      assert.deepEqual(got, want.length === 1 ? [0, 1, 2, 'awake'] : ['awake'])
    })
  }

  test('A pod that hangs is noticed by its silence', async (t) => {
    const { pods, balancer, url } = await setUp(t, { pods: 2 })
    const a = connect(t, url, { ping: 'app,15' })
    await a.is('open')
    balancer.pods = [pods[1]]
    pods[0].signal('SIGSTOP')
    await eventually('it has connected anew', () => a.told.length === 3, 100)
    assert.deepEqual(a.told, ['open', 'close 1006', 'open'])
  })

  test('Server-sent events alone: pushes, and a roll that loses nothing', async (t) => {
    const { redis, pods, balancer, url } = await setUp(t)
    const a = connect(t, url, { WebSocket: null })
    await a.is('open')
    await redis.push('alice', 'é', 'id', '1')
    await eventually('it arrives', () => a.got.includes('é'))
    balancer.pods = [await startPod(t, redis)]
    pods[0].signal('SIGTERM')
    await eventually('it has moved', () => a.told.length === 2)
    await redis.push('alice', 'there', 'id', '2')
    await eventually('it arrives', () => a.got.includes('there'))
    assert.deepEqual(a.told, ['open', 'handover'])
    await assert.rejects(a.client.request(1), { code: 'one_way' })
  })
})
