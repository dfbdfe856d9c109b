// The demo: the users' devices are WebSocket connections of this page.

import { Rows, at, begin, command, el, get, log, plural, post, published, quote, say, sayOnceMore, socketURL } from './shared.js'

const info = await begin()
const names = ['alice', 'bob', 'carol']
const devices = ['phone', 'laptop']
const key = (user) => info.keys.user.replace('USER', () => user)

// Where the pods are: by default a pod's address is where it listens.
let pods = [info.pod]
const events = new EventSource('/console/events')
const known = new Promise((done) => {
  events.addEventListener('pods', (e) => {
    const alive = JSON.parse(e.data).pods.filter((p) => p.state === 'alive' && p.address)
    if (alive.length) pods = alive.map((p) => p.address)
    done()
  })
  setTimeout(done, 3000)
})

/** The URL of the pod that the n-th device of a user takes. */
function urlOf(n, user) {
  const address = pods[n % pods.length]
  const local = /^(127\.0\.0\.1|localhost):(\d+)$/.exec(address)
  return `${address !== info.pod && local ? socketURL(info, local[1], local[2]) : socketURL(info)}?user=${encodeURIComponent(user)}`
}

class Device {
  constructor(user, name, n) {
    Object.assign(this, { user, name, n, wanted: true, tries: 0 })
    this.state = el('span', { class: 'quiet' }, 'off')
    this.screen = el('p', { class: 'screen' }, 'Nothing yet')
    this.button = el('button', { type: 'button', 'aria-label': `Switch off ${user}'s ${name}`, onclick: () => this.toggle() }, 'Switch off')
    this.element = el('div', { class: 'device', 'data-device': `${user} ${name}` }, el('h4', {}, name, ' ', this.state), this.screen, this.button)
  }
  toggle() {
    this.wanted = !this.wanted
    this.button.textContent = this.wanted ? 'Switch off' : 'Switch on'
    this.button.setAttribute('aria-label', `${this.button.textContent} ${this.user}'s ${this.name}`)
    if (this.wanted) this.connect()
    else this.socket?.close(1000)
    log(at('done'), `${this.user}'s ${this.name} is switched ${this.wanted ? 'on' : 'off'}. Who is online?`, el('pre', {}, command(info.cli, 'HGETALL', key(this.user))))
  }
  connect() {
    clearTimeout(this.timer)
    const socket = new WebSocket(urlOf(this.n, this.user), 'pushpod.v1')
    this.socket = socket
    this.show('connecting', 'quiet')
    socket.addEventListener('message', (e) => this.frame(JSON.parse(e.data)))
    socket.addEventListener('close', (e) => this.closed(e))
  }
  frame(frame) {
    if (frame.type === 'welcome') {
      this.tries = 0
      this.show('on', 'good')
      soon()
    }
    if (frame.type !== 'message') return
    this.screen.textContent = typeof frame.data?.text === 'string' ? frame.data.text : JSON.stringify(frame.data)
    this.screen.classList.remove('flash')
    void this.screen.offsetWidth // begins the animation anew
    this.screen.classList.add('flash')
  }
  closed(e) {
    this.show(e.code === 1000 ? 'off' : `closed: ${e.code} ${e.reason}`, 'bad')
    soon()
    const stays = e.code >= 4500 || e.code === 4003 || e.code === 1008
    if (stays && this.wanted) this.toggle()
    if (!this.wanted || stays) return
    const asked = /retry_ms=(\d+)/.exec(e.reason)
    this.tries++
    this.timer = setTimeout(() => this.wanted && this.connect(), asked ? Number(asked[1]) : Math.random() * Math.min(5000, 250 * 2 ** this.tries))
  }
  show(text, kind) {
    this.state.textContent = text
    this.state.className = kind
  }
}

const people = names.map((user, i) => {
  const presence = el('tbody')
  const count = el('p', { role: 'status', class: 'quiet' }, 'Not known yet')
  const list = devices.map((name, j) => new Device(user, name, j + i))
  at('people').append(
    el(
      'section',
      { class: 'card', 'aria-label': user, 'data-user': user },
      el('h3', {}, user),
      ...list.map((d) => d.element),
      count,
      el('table', {}, el('caption', {}, el('code', {}, key(user))), el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Connection'), el('th', { scope: 'col' }, 'Pod'))), presence),
      el('button', { type: 'button', 'aria-label': `Kick ${user}`, onclick: () => kick(user) }, 'Kick'),
    ),
  )
  const rows = new Rows(
    presence,
    (c) => c.uuid,
    (c) => ({
      element: el('tr', {}, el('td', {}, el('code', {}, `${c.uuid.slice(0, 8)}…${c.uuid.slice(-4)}`)), el('td', {}, ...c.channel.split(/(?<=:pod:)/).flatMap((part) => [part, el('wbr')]))),
      update() {}, // a connection stays on its pod
    }),
  )
  return { user, list, rows, count }
})

async function look({ user, rows, count }) {
  try {
    const { connections } = await get(`/console/user?id=${user}`)
    say(count, connections.length ? `${plural(connections.length, 'connection')} in presence` : 'offline', 'quiet')
    rows.set(connections)
  } catch (error) {
    say(count, error.message, 'bad')
    rows.set([])
  }
}
let pending
const soon = () => {
  clearTimeout(pending)
  pending = setTimeout(() => people.forEach(look), 50)
}
setInterval(() => document.hidden || people.forEach(look), 1500)

async function kick(user) {
  try {
    const done = await post('/console/kick', { user, reason: 'by the demo' })
    log(at('done'), `${user} is kicked: ${plural(done.closed, 'connection')} closed; clients stay away`, ...published(info.cli, done.sent))
  } catch (error) {
    say(at('status'), error.message, 'bad')
  }
  soon()
}

const fields = at('form').elements
const data = () => JSON.stringify({ text: fields.text.value })
function line() {
  at('line').textContent = fields.to.value
    ? `${info.cli} --eval scripts/push.lua ${quote(key(fields.to.value))} , ${quote(data())}`
    : command(info.cli, 'PUBLISH', info.keys.all, `{"all":true,"data":${data()}}`)
}
at('form').addEventListener('input', line)
at('form').addEventListener('submit', async (e) => {
  e.preventDefault()
  const user = fields.to.value
  try {
    const done = await post('/console/push', { user, all: !user, data: data() })
    sayOnceMore(at('status'), user ? `${plural(done.addressed, 'connection')} addressed` : `${plural(done.sent[0].subscribers, 'pod')} told`)
    log(at('done'), user ? `Pushed to ${user}` : 'Pushed to everybody', el('pre', {}, at('line').textContent), ...(user ? published(info.cli, done.sent) : []))
  } catch (error) {
    say(at('status'), error.message, 'bad')
  }
})
line()

await known
for (const { list } of people) for (const d of list) d.connect()
document.documentElement.dataset.loaded = 'true'
