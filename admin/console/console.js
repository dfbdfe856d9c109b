// The console: one page, of which the part behind # in the address is shown.

import { at, clock, command, el, envelope, get, isJSON, log, plural, post, published, quote, socketURL } from './shared.js'
import { Plot } from './plot.js'

const info = await get('/console/info')
const userKey = (user) => info.keys.user.replace('USER', () => user)
at('self').textContent = info.pod

// Which part is shown.
let focusNext // what has the focus in the part that is shown next; undefined: the page's main part
const sections = [...document.querySelectorAll('main > section')]
const shown = {}
function show() {
  const wanted = decodeURIComponent(location.hash.slice(1)).split('/')[0]
  if (wanted === 'main') return // the link that skips what stands before
  const name = sections.some((s) => s.id === wanted) ? wanted : 'pods'
  for (const s of sections) s.hidden = s.id !== name
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash === `#${name}`) a.setAttribute('aria-current', 'page')
    else a.removeAttribute('aria-current')
  }
  document.title = `${document.querySelector(`#${name} h2`).textContent} – pushpod`
  shown[name]?.()
}
const isShown = (name) => !at(name).hidden && !document.hidden

/** Asks before something is done that clients feel. */
function confirmed(title, lines) {
  const dialog = at('confirm')
  at('confirm-h').textContent = title
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
  ['latency', 'Publish to write, 99 of 100 within', ' ms'],
  ['accepted', 'Handshakes', '/s'],
  ['refused', 'Handshakes refused', '/s'],
  ['queued', 'Waiting for slow clients', ' KiB'],
  ['lost', 'Messages lost', '/s'],
  ['misses', 'Misses', '/s'],
  ['rtt', 'Round trip to Redis', ' ms'],
])
  plots[name] = new Plot(at('plots'), title, unit)

/** The bound within which 99 of 100 messages of the last second were written, in ms; null: there were none. */
function p99(before, now) {
  const counts = now.map((n, i) => n - before[i])
  const all = counts.reduce((a, b) => a + b, 0)
  if (all === 0) return null
  let sum = 0
  const bucket = counts.findIndex((n) => (sum += n) >= all * 0.99)
  return 1000 * (info.bounds[bucket] ?? info.bounds.at(-1))
}

let last
function showPod(pod) {
  if (last && pod.time > last.time) {
    const rate = (name) => (1000 * Math.max(0, pod[name] - last[name])) / (pod.time - last.time)
    for (const name of ['written', 'envelopes', 'accepted', 'refused', 'lost', 'misses']) plots[name].add(Math.round(rate(name) * 10) / 10)
    plots.latency.add(p99(last.latency, pod.latency))
  }
  plots.connections.add(pod.connections)
  plots.queued.add(Math.round(pod.queued_bytes / 1024))
  plots.rtt.add(pod.redis_rtt_ms)
  const health = pod.ready ? 'Ready' : 'Not ready'
  if (at('health').textContent !== health) {
    at('health').textContent = health
    at('health').className = pod.ready ? 'good' : 'bad'
  }
  const lines = [...pod.problems.map((p) => ['bad', p]), ...pod.warnings.map((p) => ['quiet', p])]
  at('problems').replaceChildren(...lines.map(([kind, p]) => el('li', { class: kind }, `${p.name}: ${p.reason}`)))
  if (last && pod.bad !== last.bad && isShown('bad')) shown.bad()
  last = pod
}

function showPods({ pods, error }) {
  at('pods-error').hidden = !error
  at('pods-error').textContent = error ?? ''
  at('pods-rows').replaceChildren(
    ...pods.map((p) =>
      el(
        'tr',
        { class: p.self ? 'self' : undefined },
        el('td', {}, p.address || p.channel, p.self ? ' (this one)' : ''),
        el('td', { class: p.state === 'alive' ? 'good' : 'bad' }, p.state),
        el('td', { class: 'number' }, String(p.connections)),
        el('td', {}, p.version),
        el('td', {}, p.started ? new Date(p.started).toLocaleString() : '–'),
        el('td', { class: 'number' }, p.age_ms ? `${(p.age_ms / 1000).toFixed(1)} s ago` : 'now'),
      ),
    ),
  )
}

const events = new EventSource('/console/events')
events.addEventListener('pod', (e) => showPod(JSON.parse(e.data)))
events.addEventListener('pods', (e) => showPods(JSON.parse(e.data)))
events.addEventListener('error', () => {
  at('health').textContent = 'The pod does not answer; trying again'
  at('health').className = 'bad'
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000)
})

// A user.
let user = ''
let channels = {} // of connections that were looked up
const age = (ms) => (ms < 1500 ? 'just now' : ms < 120000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60000)} min ago`)

function row(c) {
  const label = `connection ${c.uuid}`
  channels[c.uuid] = c.channel
  return el(
    'tr',
    { 'data-uuid': c.uuid },
    el('td', {}, el('code', {}, c.uuid)),
    el('td', {}, c.pod || c.channel, c.self ? ' (this one)' : ''),
    el('td', {}, new Date(c.since).toLocaleString()),
    el('td', {}, c.seen === undefined ? 'not known' : age(c.seen)),
    el('td', {}, c.address ?? '–'),
    el(
      'td',
      {},
      el(
        'div',
        { class: 'actions' },
        el('button', { type: 'button', 'aria-label': `Push to ${label}`, onclick: () => pushTo(user, c.uuid) }, 'Push'),
        el('button', { type: 'button', class: 'danger', 'aria-label': `Kick ${label}`, onclick: () => kick({ connection: c.uuid }) }, 'Kick'),
      ),
    ),
  )
}

/** Shows rows without taking the focus from one that stays. */
function setRows(list) {
  const focus = document.activeElement
  const uuid = focus?.closest?.('tr[data-uuid]')?.dataset.uuid
  const label = focus?.getAttribute('aria-label')
  at('user-rows').replaceChildren(...list)
  if (uuid) [...at('user-rows').querySelectorAll('button')].find((b) => b.getAttribute('aria-label') === label)?.focus()
}

async function lookUp() {
  if (user === '') return
  const asked = user
  let found
  try {
    found = await get(`/console/user?id=${encodeURIComponent(asked)}`)
  } catch (error) {
    at('user-found').hidden = false
    at('user-status').textContent = error.message
    return
  }
  if (asked !== user) return
  at('user-found').hidden = false
  const status = found.connections.length === 0 ? `${asked} is not online` : `${asked} has ${plural(found.connections.length, 'connection')}`
  if (at('user-status').textContent !== status) at('user-status').textContent = status
  at('user-command').textContent = command(info.cli, 'HGETALL', found.key)
  at('user-block').hidden = !found.block
  at('user-unblock').hidden = !found.block
  if (found.block) at('user-block').textContent = `Blocked${found.block.reason ? `: ${found.block.reason}` : ''}${found.block.lasts_ms ? `, until ${clock(Date.now() + found.block.lasts_ms)}` : ''}`
  setRows(found.connections.map(row))
}

async function kick({ connection, block_ms = 0, reason = '' }) {
  const target = connection ? { to: connection, of: user } : { user }
  const closing = JSON.stringify({ ...target, close: { code: 4500, reason: `${block_ms ? 'blocked' : 'kicked'}${reason ? `: ${reason}` : ''}` } })
  const lines = []
  if (block_ms) lines.push(command(info.cli, 'SET', info.keys.block.replace('USER', () => user), reason, 'PX', block_ms))
  const to = new Set([...at('user-rows').children].map((r) => r.dataset.uuid).filter((u) => !connection || u === connection).map((u) => channels[u]))
  for (const channel of to) lines.push(command(info.cli, 'PUBLISH', channel, closing))
  const title = block_ms ? `Block ${user}, and close all connections?` : connection ? `Close this connection of ${user}?` : `Close all connections of ${user}?`
  if (!(await confirmed(title, lines.join('\n') || 'Nothing is open'))) return
  try {
    const done = await post('/console/kick', { user, connection: connection ?? '', block_ms, reason })
    log(at('user-done'), `${plural(done.closed, 'connection')} closed${done.blocked_ms ? ', user blocked' : ''}`, ...published(info.cli, done.sent))
  } catch (error) {
    log(at('user-done'), el('span', { class: 'bad' }, error.message))
  }
  lookUp()
}

at('user-form').addEventListener('submit', (e) => {
  e.preventDefault()
  user = e.target.elements.user.value
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
    log(at('user-done'), 'Unblocked', el('pre', {}, command(info.cli, 'DEL', info.keys.block.replace('USER', () => user))))
    at('user-push').focus()
  } catch (error) {
    log(at('user-done'), el('span', { class: 'bad' }, error.message))
  }
  lookUp()
})
shown.user = lookUp
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

function preview() {
  const a = asked()
  at('push-user').hidden = a.all
  at('push-connections').hidden = fields.to.value !== 'connections'
  const ok = isJSON(a.data)
  at('push-data').textContent = ok ? '' : 'This is not JSON'
  fields.data.setAttribute('aria-invalid', String(!ok))
  const one = (list) => (list.length === 1 ? list[0] : list)
  const whom = a.all ? { all: true } : a.connections.length ? { to: one(a.connections), ...(a.user && { of: a.user }) } : { user: a.user }
  const more = { ...(a.id && { id: a.id }), at: Date.now(), ...(a.ttl_ms && { expires: Date.now() + a.ttl_ms }), ...(a.collapse && { collapse: a.collapse }) }
  const text = envelope({ ...whom, ...more }, a.data)
  at('push-envelope').textContent = text
  const pairs = [...(a.id ? ['id', a.id] : []), ...(a.ttl_ms ? ['ttl', a.ttl_ms] : []), ...(a.collapse ? ['collapse', a.collapse] : [])]
  let line
  if (a.all || (a.connections.length && !a.user)) line = command(info.cli, 'PUBLISH', info.keys.all, text)
  else if (a.connections.length) line = [command(info.cli, 'HGETALL', userKey(a.user)), command(info.cli, 'PUBLISH', channels[a.connections[0]] ?? info.keys.pod, text)].join('\n')
  else line = `${info.cli} --eval scripts/push.lua ${quote(userKey(a.user))} , ${[a.data, ...pairs].map(String).map(quote).join(' ')}`
  at('push-command').textContent = line
}

form.addEventListener('input', preview)
shown.push = preview
form.addEventListener('submit', async (e) => {
  e.preventDefault()
  const a = asked()
  try {
    const done = await post('/console/push', a)
    at('push-status').className = ''
    if (a.all || (a.connections.length && !a.user)) at('push-status').textContent = `${plural(done.sent[0]?.subscribers ?? 0, 'pod')} told`
    else at('push-status').textContent = done.addressed ? `${plural(done.addressed, 'connection')} addressed` : 'Nobody was addressed: the user is not online'
    if (done.sent.length) log(at('push-done'), ...published(info.cli, done.sent))
  } catch (error) {
    at('push-status').className = 'bad'
    at('push-status').textContent = error.message
  }
})

// Bad envelopes.
shown.bad = async () => {
  try {
    const list = await get('/console/bad')
    at('bad-status').textContent = list.length ? '' : 'None so far'
    at('bad-rows').replaceChildren(...list.map((b) => el('tr', {}, el('td', {}, new Date(b.at).toLocaleString()), el('td', {}, b.reason), el('td', { class: 'number' }, String(b.bytes)))))
  } catch (error) {
    at('bad-status').textContent = error.message
  }
}

// Configuration.
shown.config = async () => {
  try {
    const { file, keys, pending } = await get('/config')
    const all = at('config-all').checked
    const list = keys.filter((k) => all || !k.default)
    at('config-status').textContent = `${file ? `From ${file}. ` : ''}${plural(keys.filter((k) => !k.default).length, 'key')} of ${keys.length} ${keys.filter((k) => !k.default).length === 1 ? 'differs' : 'differ'} from the default.`
    at('config-pending').replaceChildren(...(pending ?? []).map((p) => el('li', {}, `A restart brings ${p.key}: ${p.from} → ${p.to}`)))
    at('config-rows').replaceChildren(...list.map((k) => el('tr', {}, el('td', {}, el('code', {}, k.key)), el('td', {}, k.value), el('td', {}, k.default ? 'yes' : 'no'), el('td', {}, k.restart ? 'a restart' : 'nothing'))))
  } catch (error) {
    at('config-status').textContent = error.message
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
const say = (text) => (at('client-status').textContent = text)

function connect() {
  socket = new WebSocket(clientURL(), byToken ? ['pushpod.v1', `bearer.${client.token.value}`] : ['pushpod.v1'])
  const mine = socket
  client.go.textContent = 'Disconnect'
  say('Connecting')
  mine.addEventListener('open', () => {
    say('Connected')
    send.go.disabled = false
  })
  mine.addEventListener('message', (e) => {
    log(at('frames'), el('code', {}, `← ${e.data}`))
    if (isJSON(e.data) && JSON.parse(e.data).type === 'ping') transmit('{"type":"pong"}')
  })
  mine.addEventListener('close', (e) => {
    say(`Closed: ${e.code}${e.reason ? ` ${e.reason}` : ''}`)
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
