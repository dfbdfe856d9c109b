// A client of pushpod for browsers and Node 20 and newer: one module, no dependencies, no build step.
// What the public names mean stands in pushpod.d.ts, with which tsc compares it.

/** @typedef {import('./pushpod.js').Options} Options */
/** @typedef {import('./pushpod.js').State & { until?: number, code?: number, reason?: string }} State */
/** @typedef {import('./pushpod.js').PushClient} Declared */

const SUBPROTOCOL = 'pushpod.v1'
const LINGER = 1000 // ms for which a replaced connection is still read
const GRACE = 5000 // ms beyond the ping interval, and then for the answer to a ping, before a server counts as dead
const SEEN = 1024 // message ids that are remembered
const LONGEST = 3_600_000 // ms that a retry_ms is believed for
const UPGRADE = 30_000 // ms until server-sent events try WebSocket once more; doubles up to LONGEST

const LOST = 1006 // the connection broke, or there was none
const NAMES_RETRY = [1001, 1013, 4029, 4053]
const OWN_FAULT = [1000, 1002, 1003, 1007, 1009]

/** What to do after a close code: see the table in README.md. */
const staysAway = (code) => OWN_FAULT.includes(code) || code === 4001 || code === 4003 || code >= 4500

const wantsToken = (code) => code === 4000 || code === 4001

const isOffline = () => globalThis.navigator?.onLine === false

export class RequestError extends Error {
  constructor(id, code, reason) {
    super(`request ${id}: ${code}${reason ? `: ${reason}` : ''}`)
    Object.assign(this, { name: 'RequestError', id, code, reason })
  }
}

/** @implements {Declared} */
export class PushClient extends EventTarget {
  /** @type {Options} */
  #options
  #socketURL
  #eventsURL // null: no server-sent events

  /** @type {State} */
  #state = { name: 'connecting' }
  #stop = null // ends listeners and the wish for the lock; null: not started, or suspended
  #channel = null // to the tabs that share the connection
  #leads = true // this tab has the connection

  #links = new Set() // all connections, replaced ones too
  #link = null // the one in use: it had its welcome
  #dialing = null // the attempt under way
  #timer // of the next attempt
  #hasty = false // the wait for it is our own backoff, which may be cut short

  #attempt = 0 // failures in a row, for the backoff
  #broken = 0 // attempts in a row at which no WebSocket came about
  #upgradeIn = 0 // ms until server-sent events try WebSocket
  #refused = false // the last token was expired or refused, and there is none in its place
  #renewed = false // the last attempt with a fresh token was made at once
  #replaces = '' // the UUID whose place the next connection takes

  #seen = new Set()
  #requests = new Map() // id → { frame, link, held, settle, promise }
  #paused = 0 // the timer of the pause after the server has said rate
  #window = 32 // requests without a receipt: fewer than a second's worth of frames (limits.frames_per_second)

  /** @param {Options} options */
  constructor(url, options = {}) {
    super()
    const { sse = true, WebSocket = globalThis.WebSocket } = options
    this.#options = { ...options, WebSocket }
    const u = new URL(url, globalThis.location?.href)
    if (!/^(ws|http)s?:$/.test(u.protocol)) throw new TypeError(`PushClient: ${url}: ws:, wss:, http: or https: is allowed`)
    this.#socketURL = u
    const events = new URL(typeof sse === 'string' ? sse : u, u)
    if (sse === true) events.pathname = u.pathname.replace(/\/ws$/, '/sse')
    this.#eventsURL = sse && events.href !== u.href ? events : null
    if (WebSocket === undefined || (!WebSocket && !this.#eventsURL)) {
      throw new TypeError('PushClient: there is no WebSocket here: give one as option WebSocket')
    }
    this.connect()
  }

  get state() {
    return this.#state
  }

  connect() {
    if (!this.#stop) this.#start()
    else if (!this.#leads) this.#channel.postMessage({ connect: true })
    else if (!this.#link && !this.#dialing) {
      this.#attempt = 0
      this.#dial()
    }
  }

  close() {
    this.#suspend(this.#state.name === 'closed' ? this.#state : { name: 'closed', code: 1000, reason: '' })
  }

  /** @param {{ id?: string, signal?: AbortSignal }} [options] */
  async request(data, options = {}) {
    const { id = randomId(), signal } = options
    const json = JSON.stringify(data)
    if (json === undefined) throw new TypeError('request: data must be a JSON value')
    if (typeof id !== 'string' || !id || bytes(id) > 256) throw new TypeError('request: id must be a string of 1 to 256 bytes')
    return this.#ask(id, `{"type":"request","id":${JSON.stringify(id)},"data":${json}}`, signal)
  }

  async refresh() {
    const id = randomId()
    await this.#ask(id, JSON.stringify({ type: 'token', id, token: await this.#token() }))
  }

  // ── Start, stop, and what the page goes through ──

  #start() {
    const { share } = this.#options
    this.#stop = new AbortController()
    this.#attempt = 0
    this.#set({ name: 'connecting' })
    this.#watchPage(this.#stop.signal)
    const locks = globalThis.navigator?.locks
    this.#leads = !(share && locks && globalThis.BroadcastChannel)
    if (this.#leads) return this.#dial()
    this.#follow(`pushpod ${this.#socketURL} ${share}`, locks, this.#stop.signal)
  }

  #suspend(state) {
    this.#stop?.abort()
    this.#stop = null
    clearTimeout(this.#timer)
    this.#channel?.close()
    this.#channel = this.#link = this.#dialing = null
    this.#endAll()
    this.#set(state)
  }

  #endAll() {
    clearTimeout(this.#paused)
    this.#paused = 0
    for (const link of this.#links) link.end(1000, '')
  }

  #watchPage(signal) {
    const { document } = globalThis
    if (!document) return
    const wake = () => document.visibilityState === 'visible' && this.#wake()
    addEventListener('online', () => this.#wake(), { signal })
    addEventListener('offline', () => this.#wake(), { signal })
    document.addEventListener('visibilitychange', wake, { signal })
    document.addEventListener('resume', wake, { signal })
    // An open connection or a held lock would keep the page out of the back/forward cache.
    const hide = () => {
      if (this.#state.name === 'closed') return
      this.#suspend({ name: 'offline', code: LOST, reason: 'the page was put away' })
      const back = new AbortController()
      const show = () => {
        back.abort()
        if (!this.#stop && this.#state.name !== 'closed') this.#start()
      }
      addEventListener('pageshow', show, back)
      document.addEventListener('resume', show, back)
    }
    addEventListener('pagehide', hide, { signal })
    // A tab that is frozen would keep its lock from those that run.
    if (this.#options.share) document.addEventListener('freeze', hide, { signal })
  }

  /** Something has happened after which a connection may be dead, or a new one possible. */
  #wake() {
    if (!this.#leads) return this.#channel.postMessage({ wake: true })
    if (this.#link) return this.#link.probe()
    if (this.#dialing || !this.#state.until) return
    if (!isOffline() && this.#hasty) this.connect()
    else this.#set({ ...this.#state, name: isOffline() ? 'offline' : 'waiting' })
  }

  // ── Tabs that share one connection: whoever holds the lock has it ──

  #follow(name, locks, signal) {
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = ({ data }) => {
      // From a leader that was, too: its last pushes may come behind its lock.
      if (data.text) this.#message(JSON.parse(data.text), data.text)
      else if (this.#leads) this.#fromFollower(data)
      else this.#fromLeader(data)
    }
    this.#channel.postMessage({ hello: true })
    const lead = () => {
      if (signal.aborted) return
      this.#leads = true
      this.#unsend()
      const { name, until } = this.#state
      if (until) this.#timer = setTimeout(() => this.#dial(), until - Date.now())
      else if (name !== 'closed') {
        if (name === 'open') this.#set({ name: 'connecting', code: LOST, reason: 'the tab with the connection is gone' })
        this.#dial()
      }
      return new Promise((release) => signal.addEventListener('abort', release))
    }
    // Stopped before it was our turn; or this page may have no locks, as in a sandboxed frame.
    locks.request(name, { signal }, lead).catch(() => this.#leads || lead())
  }

  #fromFollower({ hello, connect, wake, late, id, frame }) {
    const channel = this.#channel
    // A tab that comes while we stay away is somebody's new wish to connect.
    if (connect || (hello && this.#state.name === 'closed')) this.connect()
    if (hello) channel.postMessage({ state: this.#state })
    if (wake) this.#wake()
    if (late && this.#state.until <= Date.now()) this.#dial()
    if (frame) {
      const done = (error) => channel === this.#channel && channel.postMessage({ done: id, code: error?.code, reason: error?.reason })
      this.#ask(id, frame).then(() => done(), done)
    }
  }

  #fromLeader({ state, done, code, reason }) {
    if (state) {
      this.#set(state)
      clearTimeout(this.#timer)
      // Browsers hold back the timers of hidden tabs, such as the leader may be in, for up to a minute.
      const remind = () => this.#channel?.postMessage({ late: true })
      if (state.until) this.#timer = setTimeout(remind, state.until - Date.now() + 1000)
    }
    if (done) this.#settle(done, code, reason)
    if (done) this.#pump()
  }

  // ── Connections ──

  #dial() {
    clearTimeout(this.#timer)
    if (this.#dialing) return
    const { WebSocket, ping = 'app', timeout = 10_000 } = this.#options
    const upgrade = this.#link && !this.#link.goaway
    const turn = this.#broken > 1 && this.#broken % 2 === 0 && !upgrade
    const via = this.#eventsURL && (!WebSocket || turn) ? 'sse' : 'websocket'
    const query = { ping: via === 'websocket' && ping, refuse: 'close', goaway: '1', replaces: this.#replaces }
    const link = new Link(via, {
      frame: (...args) => this.#frame(link, ...args),
      ended: (...args) => this.#ended(link, upgrade, ...args),
    })
    this.#links.add((this.#dialing = link))
    if (!this.#link && !isOffline()) this.#set({ name: 'connecting', code: this.#state.code, reason: this.#state.reason })
    link.open(timeout, () => this.#token(), (token) =>
      via === 'sse'
        ? openEvents(address(this.#eventsURL, 'http', query), token, link)
        : openSocket(WebSocket, address(this.#socketURL, 'ws', query), token, link),
    )
  }

  async #token() {
    await null // the callback may name the client, which is not there before its constructor is through
    const { token } = this.#options
    if (typeof token !== 'function') return token
    const fresh = await token({ refused: this.#refused })
    this.#refused = false
    return fresh
  }

  #frame(link, frame, text) {
    switch (frame?.type) {
      case 'welcome':
        return this.#welcome(link, frame)
      case 'message':
        this.#channel?.postMessage({ text })
        return this.#message(frame, text)
      case 'receipt':
        return this.#receipt(frame)
      case 'ping':
        return link.send('{"type":"pong"}')
      case 'goaway':
        link.goaway = true
        if (link !== this.#link) return
        this.#attempt = 0 // there is little time
        return this.#dial()
      case 'close':
        return link.via === 'sse' && link.end(frame.code, frame.reason)
    }
  }

  #welcome(link, { uuid, user, ping, max_message }) {
    if (link !== this.#dialing) return
    const replaced = this.#link
    link.welcomed(ping, max_message)
    this.#dialing = null
    this.#link = link
    if (link.via === 'websocket') {
      this.#broken = 0
      this.#upgradeIn = 0
    } else if (this.#options.WebSocket) this.#timer = setTimeout(() => this.#dial(), this.#upgradeIn)
    // What was addressed to the old one just before is still on its way.
    replaced?.endLater(LINGER)
    this.#set({ name: 'open', uuid, user, via: link.via })
  }

  #ended(link, upgrade, code, reason, lasted, gone) {
    this.#links.delete(link)
    this.#unsend(link)
    if (link === this.#dialing) {
      this.#dialing = null
      if (code === LOST && !upgrade && !(link.via === 'sse' && this.#link)) this.#broken++
      if (gone && this.#options.WebSocket) this.#eventsURL = null
    } else if (link === this.#link) {
      this.#link = null
      if (code !== LOST) this.#replaces = ''
    } else return this.#pump() // a replaced one, or we have closed it
    clearTimeout(this.#timer)
    this.#refused ||= wantsToken(code)
    if (code === 1008) this.#window = Math.ceil(this.#window / 4)
    if (this.#link) return this.#retryBeside(code, reason)
    const wait = Math.ceil(this.#wait(code, reason, lasted))
    if (wait < 0) return this.#finish(code, reason)
    if (this.#dialing) return this.#set({ name: 'connecting', code, reason })
    this.#hasty = code === LOST
    this.#timer = setTimeout(() => this.#dial(), wait)
    this.#set({ name: isOffline() ? 'offline' : 'waiting', until: Date.now() + wait, code, reason })
  }

  /** A successor has not come about; the connection that it was for is still there. */
  #retryBeside(code, reason) {
    if (!this.#link.goaway) this.#upgradeIn = Math.min(2 * this.#upgradeIn || UPGRADE, LONGEST)
    const wait = this.#link.goaway ? this.#wait(code, reason, 0) : this.#upgradeIn
    if (wait >= 0) this.#timer = setTimeout(() => this.#dial(), wait)
    this.#pump()
  }

  #finish(code, reason) {
    this.#dialing = null
    this.#endAll()
    this.#set({ name: 'closed', code, reason })
  }

  /** The ms before the next attempt; negative: stay away. */
  #wait(code, reason, lasted) {
    const { token, backoff: { min = 500, max = Math.max(30_000, min) } = {} } = this.#options
    // Not at once on welcome: who is cut off right after it, again and again, must back off all the same.
    if (lasted >= max) this.#attempt = 0
    const ceiling = () => Math.min(max, min * 2 ** this.#attempt++)
    if (wantsToken(code) && typeof token === 'function') {
      const now = !this.#renewed || lasted >= min
      this.#renewed = true
      return now ? 0 : Math.random() * ceiling()
    }
    this.#renewed = false
    if (staysAway(code)) return -1
    const named = NAMES_RETRY.includes(code) && /(?:^|[ ,;])retry_ms=(\d+)/.exec(reason)
    if (named) return Math.min(+named[1], LONGEST)
    const longest = ceiling()
    // Full jitter may draw next to nothing, which after 1008 is not backing off.
    return code === 1008 ? (longest * (1 + Math.random())) / 2 : longest * Math.random()
  }

  #set(state) {
    const before = this.#state
    if (JSON.stringify(before) === JSON.stringify(state)) return
    this.#state = Object.freeze(state)
    if (this.#leads) this.#channel?.postMessage({ state })
    else if (state.name !== 'open') this.#unsend()
    const { name, code, reason } = state
    if (name === 'open') this.#replaces = state.uuid
    if (name === 'closed') for (const id of this.#requests.keys()) this.#settle(id, 'closed', `${code} ${reason}`.trim())
    this.#emit('state', { state, before })
    if (this.#state !== state && this.#state.name === 'closed') return // a listener has closed us, and all is told
    if ((before.name === 'open' && name !== 'open') || name === 'closed') this.#emit('close', { code, reason, final: name === 'closed' })
    if (name !== 'open' || this.#state !== state) return
    this.#emit('open', { ...state, handover: before.name === 'open' })
    this.#pump()
  }

  #emit(type, members) {
    this.dispatchEvent(Object.assign(new Event(type), members))
  }

  #message({ id, data }, text) {
    if (id) {
      const known = this.#seen.delete(id)
      this.#seen.add(id)
      if (known) return
      if (this.#seen.size > SEEN) this.#seen.delete(this.#seen.values().next().value)
    }
    this.#emit('message', { id, data, text })
  }

  // ── Requests: each is sent until there is a receipt that settles it ──

  #ask(id, frame, signal) {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#state.name === 'closed') return Promise.reject(new RequestError(id, 'closed', 'the client is closed'))
    let request = this.#requests.get(id)
    if (!request) {
      request = { id, frame, link: null, held: 0, tries: 0 }
      request.promise = new Promise((resolve, reject) => Object.assign(request, { resolve, reject }))
      this.#requests.set(id, request)
      this.#pump()
    }
    const { promise, reject } = request
    if (signal) {
      const abort = () => {
        if (this.#requests.delete(id)) reject(signal.reason)
        clearTimeout(request.held)
        this.#pump()
      }
      signal.addEventListener('abort', abort)
      promise.catch(() => {}).finally(() => signal.removeEventListener('abort', abort))
    }
    return promise
  }

  /** What takes requests now: the connection, or the channel to the tab that has it. */
  get #carrier() {
    if (!this.#leads) return this.#state.name === 'open' ? this.#channel : null
    const untried = this.#link?.via === 'sse' && this.#options.WebSocket && !this.#upgradeIn
    return untried ? null : this.#link
  }

  #pump() {
    if (this.#paused) return
    const requests = [...this.#requests.values()]
    let free = this.#window - requests.filter((r) => r.link).length
    for (const r of requests) {
      if (r.link || r.held) continue
      const carrier = this.#carrier
      if (!carrier || free <= 0) return
      if (carrier.via === 'sse') this.#settle(r.id, 'one_way', 'server-sent events carry no requests')
      else if (bytes(r.frame) > carrier.most) this.#settle(r.id, 'too_large', `the pod takes ${carrier.most} bytes`)
      else {
        free--
        r.link = carrier
        if (this.#leads) carrier.send(r.frame)
        else carrier.postMessage({ id: r.id, frame: r.frame })
      }
    }
  }

  #receipt({ id, status, error, reason }) {
    const request = this.#requests.get(id)
    if (!request) return
    if (status === 'accepted') this.#settle(id)
    else if (error === 'unavailable' || error === 'rate') this.#hold(request, error)
    else this.#settle(id, `${error || status}`, reason)
    this.#pump()
  }

  /** Not known, or not taken: the same again, later. */
  #hold(request, error) {
    const wait = Math.min(30_000, 500 * 2 ** request.tries++) * (0.5 + Math.random() / 2)
    request.link = null
    clearTimeout(request.held)
    request.held = setTimeout(() => {
      request.held = 0
      this.#pump()
    }, wait)
    if (error !== 'rate' || this.#paused) return
    this.#paused = setTimeout(() => {
      this.#paused = 0
      this.#pump()
    }, 1000)
  }

  #settle(id, code, reason) {
    const request = this.#requests.get(id)
    this.#requests.delete(id)
    clearTimeout(request?.held)
    if (code) request?.reject(new RequestError(id, code, reason))
    else request?.resolve(id)
  }

  /** What was sent over that connection and has no receipt is to be sent again; of all connections where none is given. */
  #unsend(link) {
    for (const r of this.#requests.values()) if (!link || r.link === link) r.link = null
  }
}

/** One connection: from the attempt to its end, which comes once. */
class Link {
  goaway = false
  most = Infinity // bytes that the pod takes in a frame

  #on
  #transport = null
  #timer
  #last // timer of the end
  #since = 0 // when the welcome came
  #patience = 0 // ms of silence before the server is asked; 0: for ever
  #asked = false // there was no sign of life since
  #ended = false

  constructor(via, on) {
    this.via = via
    this.#on = on
  }

  async open(timeout, getToken, connect) {
    if (this.#ended) return // by a listener that was told of the attempt
    this.#arm(timeout, () => this.end(LOST, 'no answer'))
    try {
      const token = await getToken()
      if (!this.#ended) this.#transport = connect(token)
    } catch (error) {
      this.end(LOST, String(error?.message ?? error))
    }
  }

  welcomed(ping, most) {
    this.#since = Date.now()
    this.most = most || Infinity
    this.#patience = ping > 0 && ping < 86_400 ? ping * 1000 + GRACE : 0
    this.alive()
  }

  /** The transport has a frame. */
  receive(text) {
    if (this.#ended) return
    this.alive()
    let frame
    try {
      frame = JSON.parse(text)
    } catch {
      return this.end(LOST, 'the server has sent what is no frame')
    }
    this.#on.frame(frame, text)
  }

  /** The transport has a sign of life. */
  alive() {
    if (!this.#since || this.#ended) return
    this.#asked = false
    clearTimeout(this.#timer)
    if (this.#patience) this.#arm(this.#patience, () => this.#ask())
  }

  /** Has the server show that it lives. */
  probe() {
    if (this.via === 'websocket') this.#ask()
  }

  // A page may have slept for longer than the server may be silent: so ask first.
  #ask() {
    if (this.#asked) return
    this.#asked = true
    this.#arm(GRACE, () => this.end(LOST, 'the server is silent'))
    if (this.via === 'websocket') this.send('{"type":"ping","id":"alive"}')
  }

  send(text) {
    try {
      this.#transport.send(text)
    } catch (error) {
      this.end(LOST, error.message)
    }
  }

  endLater(ms) {
    this.#last = setTimeout(() => this.end(1000, ''), ms)
  }

  /** gone: the server has no such endpoint. */
  end(code, reason, gone) {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    clearTimeout(this.#last)
    this.#transport?.close()
    this.#on.ended(code, reason ?? '', this.#since && Date.now() - this.#since, gone)
  }

  #arm(ms, then) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(then, ms)
  }
}

function openSocket(WebSocket, url, token, link) {
  // A token in the URL would stand in logs; browsers let a page set no other header field.
  const socket = new WebSocket(url, token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL])
  socket.addEventListener('message', (e) => link.receive(e.data))
  socket.addEventListener('close', (e) => link.end(e.code, e.reason))
  socket.addEventListener('error', () => {}) // close follows
  return { send: (text) => socket.send(text), close: () => socket.close(1000) }
}

// EventSource can neither send a header field nor tell a refusal, or a comment.
function openEvents(url, token, link) {
  const stop = new AbortController()
  const read = async () => {
    const headers = { accept: 'text/event-stream', ...(token && { authorization: `Bearer ${token}` }) }
    const response = await fetch(url, { headers, credentials: 'include', cache: 'no-store', signal: stop.signal })
    if (!response.ok) return refused(response, link)
    const chunks = response.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    let data = []
    for (;;) {
      const { value, done } = await chunks.read()
      if (done) return link.end(LOST)
      link.alive()
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/)
      rest = lines.pop()
      for (const line of lines) {
        if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5))
        if (line !== '' || !data.length) continue
        link.receive(data.join('\n'))
        data = []
      }
    }
  }
  read().catch((error) => link.end(LOST, error.message))
  return { close: () => stop.abort() }
}

/** Says a refusal by HTTP as ?refuse=close says it, if it is a pod's own and no proxy's. */
async function refused(response, link) {
  const { error, reason = '' } = await response.json().catch(() => ({}))
  const code = error && { 401: 4001, 403: 4003, 429: 4029, 503: 4053 }[response.status]
  const retry = response.headers.get('retry-after')
  const wait = retry > 0 ? ` retry_ms=${retry * 1000}` : ''
  link.end(code || LOST, `${reason || `HTTP ${response.status}`}${wait}`, response.status === 404)
}

function address(base, scheme, query) {
  const url = new URL(base)
  url.protocol = url.protocol.replace(/^(ws|http)/, scheme)
  url.hash = ''
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value)
  url.search = url.search.replaceAll('+', '%20') // only HTML forms know + for a space
  return url.href
}

const bytes = (text) => new TextEncoder().encode(text).length

// crypto.randomUUID is there in secure contexts only.
const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')
