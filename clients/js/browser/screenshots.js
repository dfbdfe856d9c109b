// Takes the pictures in docs/images: the console and the demo, of two pods and a Redis at work.
// make screenshots builds bin/pushpod and calls it; it needs Chromium and the packages of clients/js.

import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { startBrowser } from './chromium.js'
import { eventually, startPod, startRedis } from './servers.js'

const images = fileURLToPath(new URL('../../../docs/images/', import.meta.url))
await mkdir(images, { recursive: true })

// What a test would end at its end.
const ends = []
const run = { after: (f) => ends.unshift(f) }
const browser = await startBrowser()
run.after(() => browser.close())

async function take(name, url, use, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  await page.goto(url)
  await page.waitForFunction(() => document.documentElement.dataset.loaded)
  await use(page)
  await page.screenshot({ path: `${images}${name}.png` })
  console.log(`docs/images/${name}.png`)
  return { page, context }
}

try {
  const redis = await startRedis(run)
  const [a, b] = [await startPod(run, redis), await startPod(run, redis)]
  const admin = `http://127.0.0.1:${a.admin}`

  // The demo stays open: what the console shows is its work.
  const { page: demo } = await take('demo', `${admin}/demo`, async (page) => {
    await eventually('six devices are on', async () => (await page.locator('.device h4', { hasText: / on$/ }).count()) === 6)
    await page.fill('#form [name=text]', 'Your order is on its way')
    await page.keyboard.press('Enter')
    await page.locator('[data-device="alice phone"] .screen', { hasText: 'order' }).waitFor()
    await page.selectOption('#form [name=to]', 'bob')
    await page.fill('#form [name=text]', 'Lunch?')
    await page.keyboard.press('Enter')
    await page.locator('[data-device="bob laptop"] .screen', { hasText: 'Lunch' }).waitFor()
    await page.getByRole('button', { name: `Switch off carol's laptop` }).click()
    await page.locator('[data-user=carol]', { hasText: '1 connection in presence' }).waitFor()
    await page.evaluate(() => document.activeElement.blur())
    await page.waitForTimeout(1500)
  }, { viewport: { width: 1100, height: 860 } })
  const pushing = setInterval(() => redis.push(['alice', 'bob'][Math.floor(Math.random() * 2)], { text: 'hi' }, 'id', crypto.randomUUID()).catch(() => {}), 60)
  run.after(() => clearInterval(pushing))
  await redis.command('PUBLISH', `push:pod:127.0.0.1:${a.port}`, '{"data":1}')

  await take('console', `${admin}/`, async (page) => {
    await page.locator('#pods-rows tr', { hasText: `127.0.0.1:${b.port}` }).waitFor()
    await page.waitForTimeout(20_000)
  })
  await take(
    'console-user-dark',
    `${admin}/#user`,
    async (page) => {
      await page.fill('#user-form input', 'alice')
      await page.keyboard.press('Enter')
      await page.locator('#user-rows tr').nth(1).waitFor()
    },
    { colorScheme: 'dark' },
  )
  await take(
    'console-push-phone',
    `${admin}/#push`,
    async (page) => {
      await page.fill('#push-form [name=user]', 'alice')
      await page.locator('#push-form button.main').click()
      await page.getByText('connections addressed').waitFor()
      await page.evaluate(() => scrollTo(0, 0))
    },
    { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
  )
  await demo.close()
} finally {
  for (const end of ends) await end()
}
