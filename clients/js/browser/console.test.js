// The pages of admin.listen in Chromium, against real pods: the console, the demo, the form for the token.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { startBrowser, unable } from './chromium.js'
import { command, envelope, readable } from '../../../admin/console/shared.js'
import { eventually, sign, startPod, startRedis } from './servers.js'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }
const token = 'a token of operators'

test('Lines of a shell are what they stand for, and show it in its order', () => {
  for (const word of ['alice', '', "it's", 'a b\n$(id)`id`"\\', '{"a":1}', '\u202eabc\u2066', "it's \\ \u200f", 'نص', '👩‍👩‍👧']) {
    const line = command('printf %s', word)
    assert.equal(execFileSync('bash', ['-c', line], { encoding: 'utf8' }), word)
    assert.doesNotMatch(line, /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/)
  }
  const turned = { user: '\u202eabc' }
  assert.equal(readable(envelope(turned, '1')), '{"user":"\\u202eabc","data":1}')
  assert.deepEqual(JSON.parse(readable(JSON.stringify(turned))), turned)
})

describe('The console', { skip: unable, timeout: 600_000 }, () => {
  let browser
  before(async () => (browser = await startBrowser()))
  after(() => browser?.close())

  /** A page of a pod's admin listener. Whatever it logs as an error, or the policy refuses, fails the test. */
  async function open(t, pod, path, options = {}) {
    const context = await browser.newContext(options)
    t.after(() => context.close())
    const page = await context.newPage()
    page.setDefaultTimeout(40_000)
    page.errors = []
    page.on('console', (m) => m.type() === 'error' && page.errors.push(m.text()))
    page.on('pageerror', (e) => page.errors.push(String(e)))
    await page.goto(`http://127.0.0.1:${pod.admin}${path}`)
    return page
  }
  const loaded = (page) => page.waitForFunction(() => document.documentElement.dataset.loaded)
  const text = (page, selector) => page.locator(selector).innerText()

  /** What axe finds, as the names of its rules and what broke them. It comes past the policy, as an extension does. */
  async function findings(page) {
    const session = await page.context().newCDPSession(page)
    await session.send('Runtime.evaluate', { expression: axe })
    const { violations } = await page.evaluate(() => window.axe.run())
    await session.detach()
    return violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(', ')}`)
  }

  /** Looks a user up as one does. */
  async function lookUp(page, user) {
    await page.fill('#user-form input', user)
    await page.keyboard.press('Enter')
  }

  const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)

  test('axe finds nothing, in light and dark, wide and on a phone', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    await redis.command('HSET', 'push:user:{bob}', '01890000-0000-7000-8000-000000000001', 'push:pod:192.0.2.1:8080')
    await redis.command('PERSIST', 'push:user:{bob}')
    for (const colorScheme of ['light', 'dark']) {
      const page = await open(t, pod, '/', { colorScheme, ...(colorScheme === 'dark' && phone) })
      await loaded(page)
      const look = async (what) => {
        assert.deepEqual(await findings(page), [], `${what} ${colorScheme}`)
        assert.ok(await fits(page), `${what} ${colorScheme} is wider than the screen`)
      }
      for (const part of ['pods', 'user', 'push', 'bad', 'config', 'client']) {
        await page.locator(`nav a[href="#${part}"]`).click()
        await page.locator(`#${part}`).waitFor()
        if (part === 'user') {
          await lookUp(page, 'alice')
          await page.getByText('alice is not online').waitFor()
          await look('nobody')
          await lookUp(page, 'bob')
          await page.locator('#user-rows tr').waitFor()
        }
        if (part === 'bad') {
          await redis.command('PUBLISH', 'push:all', '{"all":true}')
          await page.locator('#bad-rows tr').first().waitFor()
        }
        if (part === 'client') {
          await page.locator('#client-form [name=go]').click()
          await page.locator('#frames', { hasText: 'welcome' }).waitFor()
        }
        await look(part)
      }
      await page.goto(`http://127.0.0.1:${pod.admin}/demo`)
      await loaded(page)
      await look('the demo')
      assert.deepEqual(page.errors, [])
      await page.context().close()
    }
  })

  test('Pods are seen as they come, go and work', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    const page = await open(t, pod, '/')
    await loaded(page)
    await page.getByText('Ready', { exact: true }).waitFor()
    await page.locator('#pods-rows tr', { hasText: `127.0.0.1:${pod.port} (this one)` }).waitFor()
    const other = await startPod(t, redis)
    await page.locator('#pods-rows tr', { hasText: `127.0.0.1:${other.port}` }).getByText('alive').waitFor()
    await other.kill()
    await page.locator('#pods-rows tr', { hasText: `127.0.0.1:${other.port}` }).getByText('dead').waitFor()
    assert.equal(await page.getByRole('img', { name: /^Connections: 0;/ }).count(), 1)
    await page.evaluate((url) => (window.ws = new WebSocket(url)), `ws://127.0.0.1:${pod.port}/ws?user=alice`)
    await page.getByRole('img', { name: /^Connections: 1;/ }).waitFor()
    await page.locator('#pods-sum', { hasText: '1 connection on 1 pod; 1 more dead' }).waitFor()
    await page.getByRole('img', { name: /^Connections of all pods: 1;/ }).waitFor()
    await page.getByRole('img', { name: `Connections of 127.0.0.1:${pod.port}: 1; highest in two minutes 1` }).waitFor()
    await redis.push('alice', { text: 'hi' })
    await page.getByRole('img', { name: /^Publish to write, p99: [\d.]+ ms;/ }).waitFor()
    await redis.process.kill()
    await page.getByText('Not ready').waitFor()
    await page.locator('#problems li.bad').first().waitFor()
    await page.locator('#pods-error', { hasText: 'refused' }).waitFor()
    assert.deepEqual(await findings(page), [])
    await pod.kill()
    await page.getByText(/The pod does not answer; trying again\. What you see is of \d/).waitFor()
  })

  test('A pod that leaves is seen to, and does not wait for who looks', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis, { 'shutdown.delay': '3s' }) // the feed looks once a second
    const page = await open(t, pod, '/')
    await loaded(page)
    await page.evaluate((url) => (window.ws = new WebSocket(url)), `ws://127.0.0.1:${pod.port}/ws?user=alice`)
    await page.getByRole('img', { name: /^Connections: 1;/ }).waitFor()
    pod.signal('SIGTERM')
    await page.locator('#health', { hasText: 'Not ready' }).waitFor()
    await page.locator('#problems', { hasText: /leav|drain/ }).waitFor()
    assert.deepEqual((await pod.ended).slice(0, 1), [0])
    await page.getByText('The pod does not answer; trying again').waitFor()
  })

  test('Rates begin anew with a pod that was restarted; who may not look is told why', async (t) => {
    const pod = await startPod(t, await startRedis(t))
    const page = await open(t, pod, '/healthz')
    const counters = { ready: true, problems: [], warnings: [], connections: 0, queued_bytes: 0, redis_rtt_ms: 1, envelopes: 0, accepted: 0, refused: 0, lost: 0, misses: 0, bad: 0 }
    const event = (time, written, late) => `event: pod\ndata: ${JSON.stringify({ ...counters, time, written, latency: [...Array(bounds.length).fill(0), late] })}\n\n`
    const { bounds } = await (await fetch(`http://127.0.0.1:${pod.admin}/console/info`)).json()
    const answers = [
      { contentType: 'text/event-stream', body: event(1000, 900, 9) + event(2000, 5, 0) + event(3000, 7, 2) },
      { status: 503, body: '' },
      { contentType: 'text/event-stream', body: event(4000, 11, 2) },
    ]
    await page.route('**/console/events', (route) => route.fulfill(answers.shift() ?? { status: 503, body: '' }))
    await page.goto(`http://127.0.0.1:${pod.admin}/`)
    const written = page.getByRole('img', { name: 'Messages written: 2/s; highest in two minutes 2/s' })
    await written.waitFor()
    assert.doesNotMatch(await written.locator('path').getAttribute('d'), /L/, 'there is a rate between the two')
    await page.getByRole('img', { name: `Publish to write, p99: over ${bounds.at(-1)} s;` }).waitFor()
    await page.getByText('As many look at this pod as may; trying again').waitFor()
    await page.getByRole('img', { name: /^Messages written: 4\/s;/ }).waitFor()
  })

  test('Names that users have chosen do no harm', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis, { 'redis.control': 'true' })
    const page = await open(t, pod, '/#user', phone)
    page.on('dialog', () => page.errors.push('a dialog of the browser'))
    await loaded(page)
    for (const name of ['<img src=x onerror=alert(1)><script>alert(2)</script>', 'x'.repeat(256), '\u202eشركة abc', `'"\`$(id) &lt;`]) {
      await redis.command('HSET', `push:user:{${name}}`, '01890000-0000-7000-8000-000000000001', `push:pod:127.0.0.1:${pod.port}`)
      await lookUp(page, name)
      const status = page.locator('#user-status', { hasText: 'has 1 connection' })
      await status.waitFor()
      assert.equal(await status.locator('bdi').textContent(), name)
      await page.locator('#user-kick').click()
      assert.equal(await page.locator('#confirm-h bdi').textContent(), name)
      assert.doesNotMatch(await text(page, '#confirm-command'), /\u202e/)
      assert.match(await text(page, '#confirm-command'), / PUBLISH push:ctl:127\.0\.0\.1:/)
      assert.ok(await fits(page), `${name} is wider than the screen`)
      await page.locator('#confirm [value=no]').click()
      await page.locator('#user-push').click()
      await page.locator('#push-form button.main').click()
      await page.locator('#push-status', { hasText: /addressed/ }).waitFor()
      assert.ok(await fits(page), `${name} is wider than the screen`)
      assert.deepEqual(await findings(page), [])
      await page.getByRole('link', { name: 'User' }).click()
    }
    await redis.command('PUBLISH', 'push:all', '{"<img src=x onerror=alert(1)>":1,"all":true')
    await page.getByRole('link', { name: 'Bad envelopes' }).click()
    await page.locator('#bad-rows tr').waitFor()
    assert.deepEqual(page.errors, [])
  })

  test('A user with a thousand devices: the first ones, all for who asks; what is selected stays', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    const fields = Array.from({ length: 1000 }, (_, i) => [`01890000-0000-7000-8000-${String(i).padStart(12, '0')}`, `push:pod:10.0.0.${i % 40}:8080`])
    await redis.command('HSET', 'push:user:{many}', ...fields.flat())
    const page = await open(t, pod, '/#user/many', phone) // an address that was handed on
    await loaded(page)
    await page.getByText('many has 1,000 connections').waitFor()
    assert.equal(await page.locator('#user-rows tr').count(), 20)
    assert.ok(await fits(page))
    const kick = page.getByRole('button', { name: 'Kick connection' }).first()
    assert.equal(await kick.evaluate((b) => b.getBoundingClientRect().right <= innerWidth), true, 'a phone shows the row in part')
    await page.locator('#user-kick').click()
    assert.equal(await page.getByRole('button', { name: 'Do it' }).evaluate((b) => b.getBoundingClientRect().bottom <= innerHeight), true, 'the answer is out of sight')
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Show all 1,000' }).click()
    await eventually('all are shown', async () => (await page.locator('#user-rows tr').count()) === 1000)
    const first = page.locator('#user-rows tr').first()
    const uuid = await first.locator('code').innerText()
    await first.locator('code').evaluate((code) => getSelection().selectAllChildren(code))
    await first.getByRole('button', { name: 'Push' }).focus()
    await redis.command('HDEL', 'push:user:{many}', fields.map(([f]) => f).find((f) => f !== uuid))
    await page.getByText('many has 999 connections').waitFor() // they were read anew
    assert.equal(await page.evaluate(() => String(getSelection())), uuid)
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), `Push to connection ${uuid}`)
    await redis.command('HDEL', 'push:user:{many}', uuid)
    await page.getByText('many has 998 connections').waitFor()
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Connections')
  })

  test('Nothing of one user is shown under the name of another, nor under an address that is none', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    await redis.command('HSET', 'push:user:{alice}', '01890000-0000-7000-8000-000000000001', 'push:pod:192.0.2.1:8080')
    const page = await open(t, pod, '/#user/%')
    await loaded(page)
    await lookUp(page, 'alice')
    await page.locator('#user-rows tr').waitFor()
    assert.match(page.url(), /#user\/alice$/)
    await redis.process.kill()
    await page.locator('#user-error', { hasText: 'What you see is of before' }).waitFor()
    assert.equal(await page.locator('#user-rows tr').count(), 1)
    await lookUp(page, 'bob')
    assert.equal(await page.locator('#user-rows tr').count(), 0)
    await page.locator('#user-error', { hasText: /unavailable|refused/ }).waitFor()
    assert.equal(await page.locator('#user-rows tr').count(), 0)
    assert.equal(await text(page, '#user-status'), '')
    assert.match(await text(page, '#user-command'), /\{bob\}/)
    assert.deepEqual(await findings(page), [])
  })

  test('A push to everybody asks first; the lines name each pod', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    const [one, two] = [1, 2].map((n) => `01890000-0000-7000-8000-00000000000${n}`)
    await redis.command('HSET', 'push:user:{alice}', one, 'push:pod:192.0.2.1:8080', two, 'push:pod:192.0.2.2:8080')
    const page = await open(t, pod, '/#user/alice')
    await loaded(page)
    await page.getByRole('button', { name: `Push to connection ${one}` }).click()
    await page.locator('#push-connections textarea').fill(`${one} ${two}`)
    const lines = (await text(page, '#push-command')).split('\n')
    assert.match(lines[0], /HGETALL 'push:user:\{alice\}'$/)
    for (const [i, uuid] of [one, two].entries()) assert.match(lines[i + 1], new RegExp(`PUBLISH push:pod:192.0.2.${i + 1}:8080 '\\{"to":"${uuid}","of":"alice",`))
    await page.locator('#push-form button.main').click()
    await page.locator('#push-status', { hasText: 'no such connection' }).waitFor()

    await page.getByRole('radio', { name: 'everybody' }).check()
    await page.locator('#push-form button.main').click()
    await page.locator('#confirm-h', { hasText: 'Push to everybody: 0 connections on 1 pod?' }).waitFor()
    assert.match(await text(page, '#confirm-command'), /PUBLISH push:all '\{"all":true,/)
    await page.keyboard.press('Escape')
    await page.locator('#push-form button.main').click()
    await page.locator('#confirm [value=yes]').click()
    await page.getByText('1 pod told').waitFor()
    assert.equal(await page.locator('#push-done li').count(), 3 - 1)

    // Nobody is told where nobody is named, nor where the data is no JSON.
    await page.getByRole('radio', { name: 'a user' }).check()
    await page.locator('#push-user input').fill('')
    assert.match(await text(page, '#push-command'), /'push:user:\{USER\}'/)
    await page.locator('#push-form button.main').click()
    assert.equal(await page.evaluate(() => document.activeElement.name), 'user')
    await page.locator('#push-user input').fill('alice')
    await page.locator('#push-form [name=data]').fill('{')
    await page.locator('#push-form button.main').click()
    assert.equal(await page.evaluate(() => document.activeElement.name), 'data')
    assert.equal(await page.locator('#push-done li').count(), 2)
    assert.deepEqual(page.errors, [])
  })

  test('A user is looked up, pushed to, kicked and blocked, by keyboard alone', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    const page = await open(t, pod, '/#client')
    await loaded(page)
    await page.locator('#client-form [name=go]').focus()
    await page.keyboard.press('Enter')
    await page.getByText('"type":"welcome"').waitFor()
    await page.locator('#send-form [name=go]').focus()
    await page.keyboard.press('Enter')
    await page.getByText('"status":"accepted"').waitFor()
    assert.equal(await redis.command('XLEN', 'push:uplink'), 1)

    await page.getByRole('link', { name: 'User' }).focus()
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main')
    await page.locator('#user-form input').focus()
    await page.keyboard.type('alice')
    await page.keyboard.press('Enter')
    const row = page.locator('#user-rows tr')
    await row.getByText('(this one)').waitFor()
    assert.match(await row.innerText(), /127\.0\.0\.1\s/)
    assert.match(await text(page, '#user-command'), /HGETALL 'push:user:\{alice\}'/)

    // Push to the one connection; the form shows what it stands for.
    await row.getByRole('button', { name: /^Push to connection/ }).focus()
    await page.keyboard.press('Enter')
    await page.waitForFunction(() => document.activeElement.name === 'data')
    await page.keyboard.press('Control+A')
    await page.keyboard.type("{\"text\":\"it's \"")
    await page.getByText('This is not JSON').waitFor()
    await page.keyboard.type('}')
    assert.match(await text(page, '#push-envelope'), /^\{"to":"[0-9a-f-]{36}","of":"alice","at":\d+,"data":\{"text":"it's "\}\}$/)
    assert.match(await text(page, '#push-command'), new RegExp(`PUBLISH push:pod:127.0.0.1:${pod.port} '.*it'\\\\''s "\\}\\}'$`, 's'))
    await page.locator('#push-form button.main').focus()
    await page.keyboard.press('Enter')
    await page.getByText('1 connection addressed').waitFor()
    await page.getByRole('link', { name: 'Client' }).focus()
    await page.keyboard.press('Enter')
    await page.locator('#frames', { hasText: `"data":{"text":"it's "}` }).waitFor()

    // Escape leaves the dialog without doing anything.
    await page.getByRole('link', { name: 'User' }).focus()
    await page.keyboard.press('Enter')
    await page.locator('#block-form button').focus()
    await page.keyboard.press('Enter')
    assert.match(await text(page, '#confirm-command'), /SET 'push:block:\{alice\}' '' PX 3600000\n.*PUBLISH/)
    assert.deepEqual(await findings(page), [])
    await page.keyboard.press('Escape')
    assert.equal(await redis.connections('alice'), 1)
    await page.locator('#block-form [name=reason]').fill('spam')
    await page.keyboard.press('Enter')
    await page.locator('#confirm [value=yes]').focus()
    await page.keyboard.press('Enter')
    await page.locator('#user-told', { hasText: '1 connection closed, user blocked' }).waitFor()
    await page.locator('#user-done', { hasText: 'PUBLISH' }).waitFor()
    await page.getByText('alice is not online').waitFor()
    await page.locator('#user-block', { hasText: 'Blocked: spam' }).waitFor()
    assert.equal(await redis.command('GET', 'push:block:{alice}'), 'spam')
    await page.locator('#user-unblock').focus()
    await page.keyboard.press('Enter')
    await page.locator('#user-block').waitFor({ state: 'hidden' })
    assert.equal(await redis.command('GET', 'push:block:{alice}'), null)
    await page.goto(`http://127.0.0.1:${pod.admin}/#client`)
    await page.locator('#frames', { hasText: 'closed 4500 blocked: spam' }).waitFor()
    assert.deepEqual(page.errors, [])
  })

  test('Bad envelopes are seen by their reason, never by what was in them', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis)
    const page = await open(t, pod, '/#bad')
    await loaded(page)
    await page.getByText('None so far').waitFor()
    await redis.command('PUBLISH', `push:pod:127.0.0.1:${pod.port}`, '{"data":"a secret"}')
    await page.locator('#bad-rows', { hasText: 'no target: to, user or all' }).waitFor()
    assert.doesNotMatch(await page.content(), /a secret/)
  })

  test('The configuration is seen by what differs from defaults, without secrets', async (t) => {
    const pod = await startPod(t, await startRedis(t), { 'auth.mode': 'jwt', 'auth.hmac_secret': 'a secret of at least thirty-two bytes' })
    const page = await open(t, pod, '/#config')
    await loaded(page)
    await page.locator('#config-rows', { hasText: 'auth.mode' }).waitFor()
    await page.locator('#config-rows', { hasText: 'auth.hmac_secret' }).waitFor()
    assert.doesNotMatch(await page.content(), /thirty-two bytes/)
    assert.match(await page.locator('#config-rows tr', { hasText: 'auth.mode' }).innerText(), /jwt\s+none\s+restart/)
    assert.equal(await page.locator('#config-rows', { hasText: 'limits.per_user' }).count(), 0)
    await page.check('#config-all')
    await page.locator('#config-rows', { hasText: 'limits.per_user' }).waitFor()
    assert.deepEqual(await findings(page), [])
  })

  test('A client by token: it stands in no address and is kept nowhere, and what fails is told', async (t) => {
    const secret = 'a secret of at least thirty-two bytes'
    const pod = await startPod(t, await startRedis(t), { 'auth.mode': 'jwt', 'auth.hmac_secret': secret })
    const page = await open(t, pod, '/#client')
    await loaded(page)
    const connect = page.locator('#client-form [name=go]')
    await page.locator('#client-token input').fill('not a token')
    await connect.click()
    await page.locator('#client-status.bad', { hasText: 'WebSocket' }).waitFor()
    await page.locator('#client-token input').fill('nonsense')
    await connect.click()
    await page.locator('#client-status.bad', { hasText: 'Closed: 4001' }).waitFor()
    const right = sign(secret, 'alice', 60)
    await page.locator('#client-token input').fill(`${right}\n`)
    await connect.click()
    await page.locator('#frames', { hasText: '"user":"alice"' }).waitFor()
    const kept = await page.evaluate(() => `${location} ${document.getElementById('client-url').textContent} ${localStorage.length + sessionStorage.length} ${document.cookie}`)
    assert.doesNotMatch(kept, new RegExp(right.slice(-20)))
    assert.match(kept, / 0 $/)
    assert.deepEqual(await findings(page), [])
    assert.deepEqual(page.errors, [])
  })

  test('Who has lost the session keeps what was typed, and goes on after the token', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis, { 'admin.token': token })
    const page = await open(t, pod, '/#push')
    await page.fill('#token', 'wrong')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('This is not the token').waitFor()
    assert.deepEqual(await findings(page), [])
    await page.fill('#token', token)
    await page.keyboard.press('Enter')
    await loaded(page)
    assert.doesNotMatch(page.url(), /token/)
    await page.goto(`http://127.0.0.1:${pod.admin}/#push`)
    await page.fill('#push-user input', 'alice')
    await page.context().clearCookies()
    await page.locator('#push-form button.main').click()
    const alert = page.getByRole('alert').filter({ hasText: 'The session has ended' })
    await alert.waitFor()
    assert.deepEqual(await findings(page), [])
    const [other] = await Promise.all([page.context().waitForEvent('page'), alert.getByRole('link').click()])
    await other.fill('#token', token)
    await other.keyboard.press('Enter')
    await loaded(other)
    assert.equal(await page.inputValue('#push-user input'), 'alice')
    await page.locator('#push-form button.main').click()
    await page.getByText('the user is not online').waitFor()
    await alert.waitFor({ state: 'hidden' })
  })

  test('Whoever has the token gets in by the form, and out again; a page of another origin does nothing', async (t) => {
    const redis = await startRedis(t)
    const pod = await startPod(t, redis, { 'admin.token': token })
    const page = await open(t, pod, '/#push', phone)
    assert.deepEqual(await findings(page), [])
    page.errors.length = 0 // the 401 is one
    await page.fill('#token', token)
    await page.keyboard.press('Enter')
    await loaded(page)
    assert.deepEqual(page.errors, [])
    const stranger = await page.context().newPage()
    await stranger.goto(`http://localhost:${pod.admin}/healthz`)
    const refused = await stranger.evaluate(async (url) => {
      const body = JSON.stringify({ user: 'alice', block_ms: 60000 })
      await fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include', body }).catch(() => {})
      return fetch(url, { method: 'POST', credentials: 'include', body }).then((r) => r.status, () => 'no answer')
    }, `http://127.0.0.1:${pod.admin}/console/kick`)
    assert.equal(refused, 'no answer')
    assert.equal(await redis.command('GET', 'push:block:{alice}'), null)
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.locator('#token').waitFor()
  })

  test('The demo shows six devices, pushes and presence, without Node or Redis', async (t) => {
    const pod = await startPod(t, undefined, { 'redis.load_functions': 'off' })
    const page = await open(t, pod, '/demo', phone)
    await loaded(page)
    await eventually('six devices are on', async () => (await page.locator('.device h4', { hasText: / on$/ }).count()) === 6)
    await page.locator('[data-user=alice]', { hasText: '2 connections in presence' }).waitFor()
    // The link that skips what stands before moves nothing when it comes and goes.
    const top = (id) => page.locator(id).evaluate((e) => e.getBoundingClientRect().top)
    const before = await top('#form')
    await page.locator('.skip').focus()
    assert.equal(await top('#form'), before)
    await page.locator('#form [name=text]').fill('hello')
    assert.match(await text(page, '#line'), /--eval scripts\/push\.lua 'push:user:\{alice\}' , '\{"text":"hello"\}'$/)
    await page.keyboard.press('Enter')
    await page.getByText('2 connections addressed').waitFor()
    for (const device of ['alice phone', 'alice laptop']) await page.locator(`[data-device="${device}"] .screen`, { hasText: 'hello' }).waitFor()
    assert.equal(await text(page, '[data-device="bob phone"] .screen'), 'Nothing yet')
    await page.selectOption('#form [name=to]', '')
    await page.locator('#form [name=text]').fill('to all')
    await page.keyboard.press('Enter')
    await page.locator('[data-device="carol laptop"] .screen', { hasText: 'to all' }).waitFor()
    await page.getByRole('button', { name: `Switch off bob's phone` }).click()
    await page.locator('[data-user=bob]', { hasText: '1 connection in presence' }).waitFor()
    await page.getByRole('button', { name: 'Kick carol' }).click()
    await page.locator('[data-user=carol]', { hasText: 'offline' }).waitFor()
    assert.deepEqual(await findings(page), [])
    assert.ok(await fits(page))
    assert.deepEqual(page.errors, [])
  })

  test('The demo spreads the devices over all pods', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = await Promise.all([startPod(t, redis), startPod(t, redis)])
    const page = await open(t, a, '/demo')
    await loaded(page)
    for (const pod of [a, b]) await page.locator('[data-user=alice] tbody', { hasText: `push:pod:127.0.0.1:${pod.port}` }).waitFor()
    assert.deepEqual(page.errors, [])
  })
})
