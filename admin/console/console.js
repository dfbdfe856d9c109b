// The console: one page, of which the part behind # in the address is shown.

import { Rows, at, begin, cell, clock, command, el, envelope, get, isJSON, log, plural, post, published, quote, readable, say, sayOnceMore, socketURL, theirs } from './shared.js'
import { Line, Plot } from './plot.js'

const info = await begin()
const userKey = (user) => info.keys.user.replace('USER', () => user)
at('self').textContent = info.pod

// Which part is shown.
let focusNext // what has the focus in the part that is shown next; undefined: the page's main part
const sections = [...document.querySelectorAll('main > section')]
const shown = {}
function show() {
  const [wanted, ...more] = location.hash.slice(1).split('/')
  if (wanted === 'main') return // the link that skips what stands before
  const name = sections.some((s) => s.id === wanted) ? wanted : 'pods'
  for (const s of sections) s.hidden = s.id !== name
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash === `#${name}`) a.setAttribute('aria-current', 'page')
    else a.removeAttribute('aria-current')
  }
  document.title = `${document.querySelector(`#${name} h2`).textContent} – pushpod`
  shown[name]?.(more.join('/'))
}
const isShown = (name) => !at(name).hidden && !document.hidden

/** Asks before something is done that many clients feel. */
function confirmed(title, lines) {
  const dialog = at('confirm')
  at('confirm-h').replaceChildren(...title)
  at('confirm-command').textContent = lines
  dialog.returnValue = 'no'
  dialog.showModal()
  return new Promise((done) => dialog.addEventListener('close', () => done(dialog.returnValue === 'yes'), { once: true }))
}

// Pods.
const plots = {}
for (const [name, title, unit] of [
  ['connections', 'Connections'],
  ['written', 'Messages written', '/s'],
  ['envelopes', 'Envelopes', '/s'],
  ['latency', 'Publish to write, p99', ' ms'],
  ['accepted', 'Handshakes', '/s'],
  ['refused', 'Handshakes refused', '/s'],
  ['queued', 'Waiting for slow clients', ' KiB'],
  ['lost', 'Messages lost', '/s'],
  ['misses', 'Misses', '/s'],
  ['rtt', 'Round trip to Redis', ' ms'],
])
  plots[name] = new Plot(at('plots'), title, unit)

/** Adds the bound within which 99 of 100 messages of the last second were written, in ms. */
function addLatency(before, now) {
  const counts = now.map((n, i) => n - before[i])
  const all = counts.reduce((a, b) => a + b, 0)
  if (all === 0) return plots.latency.add(null)
  let sum = 0
  const bound = info.bounds[counts.findIndex((n) => (sum += n) >= all * 0.99)]
  return plots.latency.add(1000 * (bound ?? info.bounds.at(-1)), bound === undefined ? 'over ' : '')
}

let last
const rates = ['written', 'envelopes', 'accepted', 'refused', 'lost', 'misses']
function showPod(pod) {
  if (last && rates.some((name) => pod[name] < last[name])) last = undefined // it has started anew
  if (last && pod.time > last.time) {
    for (const name of rates) plots[name].add(Math.round((10000 * (pod[name] - last[name])) / (pod.time - last.time)) / 10)
    addLatency(last.latency, pod.latency)
  }
  plots.connections.add(pod.connections)
  plots.queued.add(Math.round(pod.queued_bytes / 1024))
  plots.rtt.add(pod.redis_rtt_ms)
  say(at('health'), pod.ready ? 'Ready' : 'Not ready', pod.ready ? 'good' : 'bad')
  problems.set([...pod.problems.map((p) => ({ ...p, kind: 'bad' })), ...pod.warnings.map((p) => ({ ...p, kind: 'quiet' }))])
  if (last && pod.bad !== last.bad && isShown('bad')) shown.bad()
  last = pod
}
const problems = new Rows(
  at('problems'),
  (p) => p.kind + p.name,
  () => {
    const element = el('li')
    return { element, update: (p) => say(element, `${p.name}: ${p.reason}`, p.kind) }
  },
)

const allPods = new Plot(at('pods-plots'), 'Connections of all pods', '', 3)
let everybody = '' // in words
const podRows = new Rows(
  at('pods-rows'),
  (p) => p.channel,
  (p) => {
    const line = new Line(`Connections of ${p.address || p.channel}`, '', 3)
    const [state, connections, version, started, age] = ['State', 'Connections', 'Version', 'Started', 'Heartbeat'].map((name) => cell(name))
    const element = el('tr', { role: 'row' }, cell('Pod', p.address || p.channel, p.self ? ' (this one)' : ''), state, connections, cell('Trend', line.element), version, started, age)
    if (p.self) element.className = 'self'
    return {
      element,
      update(p) {
        say(state, p.state, p.state === 'alive' ? 'good' : 'bad')
        say(connections, line.add(p.connections), 'number')
        say(version, p.version || '–')
        say(started, p.started ? new Date(p.started).toLocaleString() : '–')
        say(age, p.age_ms >= 100 ? `${(p.age_ms / 1000).toFixed(1)} s ago` : 'now', 'number')
      },
    }
  },
)
function showPods({ pods, error }) {
  at('pods-error').hidden = !error
  say(at('pods-error'), error ?? '', 'bad')
  if (error) {
    say(at('pods-sum'), '')
    podRows.set([]) // what was known is not how it is
    allPods.add(null)
    everybody = ''
    return
  }
  podRows.set(pods)
  const living = pods.filter((p) => p.state !== 'dead')
  const connections = living.reduce((sum, p) => sum + p.connections, 0)
  allPods.add(connections)
  everybody = `${plural(connections, 'connection')} on ${plural(living.length, 'pod')}`
  say(at('pods-sum'), living.length === pods.length ? everybody : `${everybody}; ${pods.length - living.length} more dead`)
}

function listen() {
  const events = new EventSource('/console/events')
  events.addEventListener('pod', (e) => showPod(JSON.parse(e.data)))
  events.addEventListener('pods', (e) => showPods(JSON.parse(e.data)))
  events.addEventListener('error', async () => {
    say(at('health'), `The pod does not answer; trying again.${last ? ` What you see is of ${clock(last.time)}.` : ''}`, 'bad')
    if (events.readyState !== EventSource.CLOSED) return
    setTimeout(listen, 5000)
    // The browser does not say with which status it was refused.
    await get('/console/info').then(
      () => say(at('health'), 'As many look at this pod as may; trying again', 'bad'),
      (error) => say(at('health'), error.message, 'bad'),
    )
  })
}
listen()

// A user.
let user = ''
let channels = {} // of connections that were looked up
const age = (ms) => (ms < 1500 ? 'just now' : ms < 120000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60000)} min ago`)

const mostRows = 20 // before somebody asks for all: what stands below is to be reached
let allRows = false // is what is asked for
const rows = new Rows(
  at('user-rows'),
  (c) => c.uuid,
  (c) => {
    const [pod, seen, address] = ['Pod', 'Last seen', 'Address'].map((name) => cell(name))
    const buttons = [
      el('button', { type: 'button', 'aria-label': `Push to connection ${c.uuid}`, onclick: () => pushTo(user, c.uuid) }, 'Push'),
      el('button', { type: 'button', class: 'danger', 'aria-label': `Kick connection ${c.uuid}`, onclick: () => kick({ connection: c.uuid }) }, 'Kick'),
    ]
    const since = cell('Since', new Date(c.since).toLocaleString())
    return {
      element: el('tr', { role: 'row' }, cell('Connection', el('code', {}, c.uuid)), pod, since, seen, address, cell('Do', el('div', { class: 'actions' }, ...buttons))),
      update(c) {
        say(pod, `${c.pod || c.channel}${c.self ? ' (this one)' : ''}`)
        say(seen, c.seen === undefined ? 'not known' : age(c.seen))
        say(address, c.address ?? '–')
      },
    }
  },
)

/** Shows no more of the user before, so that nothing is done to one who was not meant. */
function choose(id) {
  if (id === user) return
  user = id
  channels = {}
  allRows = false
  rows.set([])
  for (const name of ['user-found', 'user-block', 'user-unblock', 'user-all']) at(name).hidden = true
  for (const name of ['user-status', 'user-error', 'user-told']) at(name).textContent = ''
  at('user-command').textContent = command(info.cli, 'HGETALL', userKey(id))
}

async function lookUp() {
  if (user === '') return
  const asked = user
  let found
  try {
    found = await get(`/console/user?id=${encodeURIComponent(asked)}`)
  } catch (error) {
    if (asked !== user) return
    at('user-found').hidden = false
    say(at('user-error'), `${error.message}${at('user-status').textContent && '. What you see is of before.'}`, 'bad')
    return
  }
  if (asked !== user) return
  const list = found.connections
  at('user-found').hidden = false
  say(at('user-error'), found.block_unknown ? `Whether the user is blocked is not known: ${found.block_unknown}` : '', 'bad')
  const online = list.length ? `has ${plural(list.length, 'connection')}` : 'is not online'
  if (at('user-status').textContent !== `${asked} ${online}`) at('user-status').replaceChildren(theirs(asked), ` ${online}`)
  say(at('user-command'), command(info.cli, 'HGETALL', found.key))
  at('user-block').hidden = !found.block
  at('user-unblock').hidden = !found.block
  if (found.block) say(at('user-block'), `Blocked${found.block.reason ? `: ${found.block.reason}` : ''}${found.block.lasts_ms ? `, until ${new Date(Date.now() + found.block.lasts_ms).toLocaleString()}` : ''}`, 'bad')
  channels = Object.fromEntries(list.map((c) => [c.uuid, c.channel]))
  rows.set(allRows ? list : list.slice(0, mostRows))
  at('user-all').hidden = allRows || list.length <= mostRows
  say(at('user-all'), `Show all ${list.length.toLocaleString()}; these are the first ${mostRows}`)
}
at('user-all').addEventListener('click', () => {
  allRows = true
  lookUp()
  at('user-rows').closest('[tabindex]').focus()
})

async function kick({ connection, block_ms = 0, reason = '' }) {
  const meant = user
  const target = connection ? { to: connection, of: user } : { user }
  const closing = JSON.stringify({ ...target, close: { code: 4500, reason: `${block_ms ? 'blocked' : 'kicked'}${reason ? `: ${reason}` : ''}` } })
  const lines = []
  if (block_ms) lines.push(command(info.cli, 'SET', info.keys.block.replace('USER', () => user), reason, 'PX', block_ms))
  const to = new Set(connection ? [channels[connection]] : Object.values(channels))
  const [pods, closes] = [info.keys.pod, info.keys.close].map((key) => key.replace('ADDRESS', ''))
  for (const channel of to) lines.push(command(info.cli, 'PUBLISH', channel.startsWith(pods) ? closes + channel.slice(pods.length) : channel, closing))
  const whom = theirs(user)
  const title = block_ms ? ['Block ', whom, ', and close all connections?'] : [connection ? 'Close this connection of ' : 'Close all connections of ', whom, '?']
  if (!(await confirmed(title, lines.join('\n') || 'Nothing is open'))) return
  try {
    const done = await post('/console/kick', { user: meant, connection: connection ?? '', block_ms, reason })
    told(`${plural(done.closed, 'connection')} closed${done.blocked_ms ? ', user blocked' : ''}`, '', ...published(info.cli, done.sent))
  } catch (error) {
    told(error.message, 'bad')
  }
  lookUp()
}

/** Says what was done where that is seen, and keeps it among what was done before. */
function told(text, kind, ...lines) {
  say(at('user-told'), text, kind)
  log(at('user-done'), el('span', { class: kind || undefined }, text), ...lines)
}

at('user-form').addEventListener('submit', (e) => {
  e.preventDefault()
  choose(e.target.elements.user.value)
  history.replaceState(null, '', `#user/${encodeURIComponent(user)}`) // to load again, or to hand on
  lookUp()
})
at('user-kick').addEventListener('click', () => kick({}))
at('user-push').addEventListener('click', () => pushTo(user))
at('block-form').addEventListener('submit', (e) => {
  e.preventDefault()
  kick({ block_ms: Number(e.target.elements.for.value), reason: e.target.elements.reason.value })
})
at('user-unblock').addEventListener('click', async () => {
  try {
    await post('/console/unblock', { user })
    told('Unblocked', '', el('pre', {}, command(info.cli, 'DEL', info.keys.block.replace('USER', () => user))))
    at('user-push').focus()
  } catch (error) {
    told(error.message, 'bad')
  }
  lookUp()
})
shown.user = (id) => {
  if (id) {
    try {
      choose(decodeURIComponent(id))
    } catch {
      return // what was typed into the address is no such thing
    }
    at('user-form').elements.user.value = user
  }
  return lookUp()
}
setInterval(() => isShown('user') && !at('confirm').open && lookUp(), 2000)

// Push.
const form = at('push-form')
const fields = form.elements

function pushTo(whom, uuid) {
  fields.to.value = uuid ? 'connections' : 'user'
  fields.user.value = whom
  fields.connections.value = uuid ?? ''
  focusNext = fields.data
  location.hash = 'push'
}

/** What the form says. */
function asked() {
  const uuids = fields.connections.value.split(/[\s,]+/).filter(Boolean)
  const to = fields.to.value
  return {
    user: to === 'all' ? '' : fields.user.value,
    connections: to === 'connections' ? uuids : [],
    all: to === 'all',
    data: fields.data.value.trim(),
    id: fields.id.value,
    ttl_ms: Number(fields.ttl_ms.value) || 0,
    collapse: fields.collapse.value,
  }
}

const one = (list) => (list.length === 1 ? list[0] : list)
const isForAll = (a) => a.all || (a.connections.length > 0 && !a.user) // goes to all pods

function preview() {
  const a = asked()
  const toConnections = fields.to.value === 'connections'
  at('push-user').hidden = a.all
  fields.user.required = fields.to.value === 'user'
  at('push-connections').hidden = !toConnections
  fields.connections.required = toConnections
  const problem = isJSON(a.data) ? '' : 'This is not JSON'
  say(at('push-data'), problem, 'bad')
  fields.data.setCustomValidity(problem)
  fields.data.setAttribute('aria-invalid', String(problem !== ''))
  const whom = a.user || 'USER'
  const more = { ...(a.id && { id: a.id }), at: Date.now(), ...(a.ttl_ms && { expires: Date.now() + a.ttl_ms }), ...(a.collapse && { collapse: a.collapse }) }
  const text = (target) => envelope({ ...target, ...more }, a.data)
  let sent // [channel, envelope], in order
  let lines
  if (a.all) sent = [[info.keys.all, text({ all: true })]]
  else if (isForAll(a)) sent = [[info.keys.all, text({ to: one(a.connections) })]]
  else if (toConnections) {
    const uuids = new Map() // by the channel on which they are
    for (const uuid of a.connections.length ? a.connections : ['UUID']) {
      const channel = channels[uuid] ?? info.keys.pod
      uuids.set(channel, [...(uuids.get(channel) ?? []), uuid])
    }
    sent = [...uuids].map(([channel, list]) => [channel, text({ to: one(list), of: whom })])
    lines = [command(info.cli, 'HGETALL', userKey(whom))]
  } else {
    const pairs = [...(a.id ? ['id', a.id] : []), ...(a.ttl_ms ? ['ttl', a.ttl_ms] : []), ...(a.collapse ? ['collapse', a.collapse] : [])]
    sent = [['', text({ user: whom })]]
    lines = [`${info.cli} --eval scripts/push.lua ${quote(userKey(whom))} , ${[a.data, ...pairs].map(String).map(quote).join(' ')}`]
  }
  say(at('push-envelope'), sent.map(([, e]) => readable(e)).join('\n'))
  say(at('push-command'), [...(lines ?? []), ...sent.filter(([channel]) => channel).map((s) => command(info.cli, 'PUBLISH', ...s))].join('\n'))
}

form.addEventListener('input', preview)
shown.push = preview
form.addEventListener('submit', async (e) => {
  e.preventDefault()
  const a = asked()
  if (a.all && !(await confirmed([`Push to everybody${everybody && `: ${everybody}`}?`], at('push-command').textContent))) return
  const tell = (text, kind) => sayOnceMore(at('push-status'), text, kind)
  try {
    const done = await post('/console/push', a)
    if (isForAll(a)) tell(`${plural(done.sent[0]?.subscribers ?? 0, 'pod')} told`)
    else if (done.addressed) tell(`${plural(done.addressed, 'connection')} addressed`)
    else tell(a.connections.length ? 'Nobody was addressed: the user has no such connection' : 'Nobody was addressed: the user is not online', 'bad')
    if (done.sent.length) log(at('push-done'), ...published(info.cli, done.sent))
  } catch (error) {
    tell(error.message, 'bad')
    if (error.body?.sent?.length) log(at('push-done'), ...published(info.cli, error.body.sent))
  }
})

// Bad envelopes.
shown.bad = async () => {
  try {
    const list = await get('/console/bad')
    say(at('bad-status'), list.length ? '' : 'None so far')
    at('bad-rows').replaceChildren(...list.map((b) => el('tr', { role: 'row' }, cell('When', new Date(b.at).toLocaleString()), cell('Reason', b.reason), cell('Bytes', String(b.bytes)))))
  } catch (error) {
    say(at('bad-status'), error.message, 'bad')
  }
}

// Configuration.
shown.config = async () => {
  try {
    const { file, keys, pending } = await get('/config')
    const all = at('config-all').checked
    const list = keys.filter((k) => all || !k.default)
    const changed = keys.filter((k) => !k.default).length
    say(at('config-status'), `${file ? `From ${file}. ` : ''}${plural(changed, 'key')} of ${keys.length} ${changed === 1 ? 'differs' : 'differ'} from the default.`)
    at('config-pending').replaceChildren(...(pending ?? []).map((p) => el('li', {}, `A restart brings ${p.key}: ${p.from} → ${p.to}`)))
    at('config-rows').replaceChildren(...list.map((k) => el('tr', { role: 'row' }, cell('Key', el('code', {}, k.key)), cell('Value', k.value), cell('Default', k.default ? 'the same' : k.preset), cell('To change it', k.restart ? 'restart' : 'reload'))))
  } catch (error) {
    say(at('config-status'), error.message, 'bad')
  }
}
at('config-all')?.addEventListener('change', shown.config)

// A client.
let socket
const client = at('client-form').elements
const send = at('send-form').elements
const byToken = info.auth === 'jwt'
at('client-user').hidden = byToken
at('client-token').hidden = !byToken

function clientURL() {
  const query = new URLSearchParams({ ...(byToken ? {} : { user: client.user.value }), ...(client.ping.checked && { ping: 'app' }), refuse: 'close' })
  const url = `${socketURL(info)}?${query}`
  at('client-url').textContent = url
  return url
}
const tell = (text, kind) => say(at('client-status'), text, kind)

function connect() {
  try {
    socket = new WebSocket(clientURL(), byToken ? ['pushpod.v1', `bearer.${client.token.value.trim()}`] : ['pushpod.v1'])
  } catch (error) {
    tell(error.message, 'bad') // such as no token, or a page by TLS whose pod speaks none
    return
  }
  const mine = socket
  client.go.textContent = 'Disconnect'
  tell('Connecting', '')
  mine.addEventListener('open', () => {
    tell('Connected', 'good')
    send.go.disabled = false
  })
  mine.addEventListener('message', (e) => {
    log(at('frames'), el('code', {}, `← ${e.data}`))
    if (isJSON(e.data) && JSON.parse(e.data).type === 'ping') transmit('{"type":"pong"}')
  })
  mine.addEventListener('close', (e) => {
    const why = e.reason || (e.code === 1006 ? '(by no close frame: refused, or lost)' : '')
    tell(`Closed: ${e.code} ${why}`, e.code === 1000 || e.code === 1005 ? '' : 'bad')
    log(at('frames'), el('code', {}, `closed ${e.code} ${e.reason}`))
    client.go.textContent = 'Connect'
    send.go.disabled = true
    socket = undefined
  })
}
function transmit(frame) {
  socket?.send(frame)
  log(at('frames'), el('code', {}, `→ ${frame}`))
}
at('client-form').addEventListener('submit', (e) => {
  e.preventDefault()
  if (socket) socket.close(1000)
  else connect()
})
at('client-form').addEventListener('input', clientURL)
at('send-form').addEventListener('submit', (e) => {
  e.preventDefault()
  transmit(send.frame.value)
})
shown.client = clientURL

addEventListener('hashchange', () => {
  show()
  const next = focusNext ?? at('main')
  focusNext = undefined
  next.focus({ preventScroll: next === at('main') })
})
show()
document.documentElement.dataset.loaded = 'true'
