// The pages of admin.listen in Chromium, against real pods: the console, the demo, the form for the token.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { startBrowser, unable } from './chromium.js'
import { eventually, startPod, startRedis } from './servers.js'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }
const token = 'a token of operators'

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

  const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)

  test('axe finds nothing, in light and dark, wide and on a phone', async (t) => {
    const pod = await startPod(t, await startRedis(t))
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
          await page.fill('#user-form input', 'alice')
          await page.keyboard.press('Enter')
          await page.getByText('alice is not online').waitFor()
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
    await redis.process.kill()
    await page.getByText('Not ready').waitFor()
    await page.locator('#problems li.bad').first().waitFor()
    await pod.kill()
    await page.getByText('The pod does not answer; trying again').waitFor()
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
    await page.getByText('1 connection closed, user blocked').waitFor()
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
    assert.equal(await page.locator('#config-rows', { hasText: 'limits.per_user' }).count(), 0)
    await page.check('#config-all')
    await page.locator('#config-rows', { hasText: 'limits.per_user' }).waitFor()
    assert.deepEqual(await findings(page), [])
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
