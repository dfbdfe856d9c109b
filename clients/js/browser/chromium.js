// Debian's Chromium, driven by playwright-core.

import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import { eventually } from './servers.js'

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'

/** Why there can be no test here; false where there can. */
export const unable = existsSync(executablePath) ? false : `${executablePath} is missing: make tools installs it, or name another one in CHROMIUM`

const launch = {
  executablePath,
  headless: true,
  // A page must be able to come back from the back/forward cache, which playwright-core switches off.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
}

export const startBrowser = () => chromium.launch(launch)

/** A browser of the test's own, which it can stop and let go on as a laptop's lid does. */
export async function startBrowserWithLid(t) {
  const server = await chromium.launchServer(launch)
  const group = -server.process().pid // playwright-core gives it a process group of its own
  const browser = await chromium.connect(server.wsEndpoint())
  t.after(async () => {
    process.kill(group, 'SIGCONT')
    await server.close()
  })
  return { browser, shut: () => process.kill(group, 'SIGSTOP'), open: () => process.kill(group, 'SIGCONT') }
}

/** Opens the site's page in a context, and wraps what tests ask of it. */
export async function openTab(context, site) {
  const page = await context.newPage()
  await page.goto(site)
  await page.waitForFunction('window.loaded')
  const tab = {
    page,
    connect: (url, options = {}) => page.evaluate(([u, o]) => window.connect(u, o), [url, options]),
    state: () => page.evaluate(() => window.client.state),
    got: () => page.evaluate(() => window.got),
    told: () => page.evaluate(() => window.told),
    request: (data) => page.evaluate((d) => window.client.request(d), data),
    async until(name, seconds) {
      let last
      await eventually(`state ${name}`, async () => (last = await tab.state()).name === name, seconds).catch((error) => {
        throw new Error(`${error.message}; it is ${JSON.stringify(last)}`)
      })
      return last
    },
    gets: (data) => eventually(`${JSON.stringify(data)} arrives`, async () => (await tab.got()).some((d) => JSON.stringify(d) === JSON.stringify(data))),
  }
  return tab
}
