// A server that a test plays, and a browser around the client. Time is the test's: t.mock.timers.

import { PushClient } from '../pushpod.js'

/** Lets everything happen that waits for no timer. */
export async function settle() {
  for (let i = 0; i < 8; i++) await new Promise(setImmediate)
}

/** One WebSocket as the server sees it. Its class is given to the client. */
class FakeSocket extends EventTarget {
  sent = [] // frames of the client
  closed = null // the code with which the client closed it

  constructor(url, protocols) {
    super()
    this.url = new URL(url)
    this.protocols = protocols
    this.query = Object.fromEntries(this.url.searchParams)
  }
  // The client's side.
  send(text) {
    this.sent.push(JSON.parse(text))
  }
  close(code) {
    this.closed ??= code
  }
  // The server's side.
  say(frame) {
    this.dispatchEvent(Object.assign(new Event('message'), { data: typeof frame === 'string' ? frame : JSON.stringify(frame) }))
  }
  welcome(members) {
    this.say({ type: 'welcome', uuid: `uuid-${this.number}`, user: 'alice', ping: 25, max_message: 65536, time: 0, ...members })
    return this
  }
  end(code, reason = '') {
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }))
  }
  receipt(id, error) {
    this.say({ type: 'receipt', id, status: error ? 'rejected' : 'accepted', error })
  }
  requests() {
    return this.sent.filter((f) => f.type === 'request').map((f) => f.id)
  }
}

/**
 * A test's world: `make(options)` makes a client, `next()` returns the next connection to the server, and `log` holds what
 * the clients told, as short strings. `timers` are those that wait.
 */
export function world(t) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 })
  t.mock.method(Math, 'random', () => 0.5)
  const timers = watchTimers(t)
  const sockets = []
  let taken = 0
  const log = []
  const clients = []
  class Socket extends FakeSocket {
    constructor(...args) {
      super(...args)
      this.number = sockets.push(this)
    }
  }
  t.after(() => clients.forEach((c) => c.close()))
  return {
    log,
    Socket,
    sockets,
    timers,
    make(options = {}, url = 'ws://pod.test/ws') {
      const client = new PushClient(url, { WebSocket: Socket, ...options })
      clients.push(client)
      client.addEventListener('message', (e) => log.push(`message ${JSON.stringify(e.data)}`))
      client.addEventListener('open', (e) => log.push(`open ${e.uuid}${e.handover ? ' handover' : ''}`))
      client.addEventListener('close', (e) => log.push(`close ${e.code}${e.final ? ' final' : ''}`))
      return client
    },
    /** The next connection that was made, or undefined. */
    async next() {
      await settle()
      return taken < sockets.length ? sockets[taken++] : undefined
    },
    async pass(ms) {
      await settle()
      t.mock.timers.tick(ms)
      await settle()
    },
    /** What was told since the last time. */
    told() {
      return log.splice(0)
    },
  }
}

/** The timers that neither have fired nor were cleared. */
function watchTimers(t) {
  const { setTimeout, clearTimeout } = globalThis // the test's own
  const timers = new Set()
  t.mock.method(globalThis, 'setTimeout', (then, ms) => {
    const timer = setTimeout(() => (timers.delete(timer), then()), ms)
    timers.add(timer)
    return timer
  })
  t.mock.method(globalThis, 'clearTimeout', (timer) => (timers.delete(timer), clearTimeout(timer)))
  return timers
}

/** Puts the globals of a page in place. */
export function browser(t) {
  const window = new EventTarget()
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  const navigator = { onLine: true, locks: new FakeLocks() }
  const globals = {
    document,
    navigator,
    addEventListener: window.addEventListener.bind(window),
    location: { href: 'https://app.test/page?x=1#top' },
    BroadcastChannel: channels(),
  }
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name)
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]))
  }
  return {
    window,
    navigator,
    fire: (type, members) => window.dispatchEvent(Object.assign(new Event(type), members)),
    show(visibilityState) {
      document.visibilityState = visibilityState
      document.dispatchEvent(new Event('visibilitychange'))
    },
  }
}

/** Web Locks, as far as the client uses them: exclusive, in turn, the wait ends with the signal. */
class FakeLocks {
  #tails = new Map()

  async request(name, { signal }, callback) {
    const before = this.#tails.get(name)
    let release
    this.#tails.set(name, new Promise((done) => (release = done)))
    try {
      await Promise.race([before, new Promise((_, reject) => signal.addEventListener('abort', () => before && reject(signal.reason)))])
      await callback({ name })
      release()
    } catch (error) {
      before?.then(release) // who gave up hands on its place in the queue
      throw error
    }
  }
}

function channels() {
  const open = new Set()
  return class {
    onmessage = null
    constructor(name) {
      this.name = name
      open.add(this)
    }
    postMessage(message) {
      if (!open.has(this)) throw new Error('InvalidStateError: the channel is closed')
      const data = structuredClone(message)
      for (const other of open) if (other !== this && other.name === this.name) queueMicrotask(() => open.has(other) && other.onmessage?.({ data }))
    }
    close() {
      open.delete(this)
    }
  }
}
