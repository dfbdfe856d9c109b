// What both pages use.

/** Finds an element by its id. */
export const at = (id) => document.getElementById(id)

/** Makes an element: text in children stays text. */
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value)
    else if (value === true) e.setAttribute(key, '')
    else if (value !== false && value !== undefined) e.setAttribute(key, value)
  }
  e.append(...children)
  return e
}

/** Text that somebody else has chosen, whose direction is its own affair. */
export const theirs = (text) => el('bdi', {}, text)

/** Says it, unless it is said already: what is written anew is read anew, and loses its selection. */
export function say(element, text, kind = '') {
  if (element.textContent !== text) element.textContent = text
  element.className = kind
}

/** Says it, too, where it is said already: the same was done once more. */
export function sayOnceMore(element, text, kind) {
  element.textContent = ''
  say(element, text, kind)
}

/** A cell, which names its column where columns have no room. */
export const cell = (label, ...children) => el('td', { role: 'cell', 'data-label': label }, ...children)

/** Shows a list as rows. Who stays in it keeps its row, and with it what is selected or has the focus there. */
export class Rows {
  #rows = new Map() // by key
  /** make(item) gives { element, update(item) }. */
  constructor(body, keyOf, make) {
    Object.assign(this, { body, keyOf, make })
  }
  set(list) {
    const gone = new Set(this.#rows.keys())
    list.forEach((item, i) => {
      const key = this.keyOf(item)
      gone.delete(key)
      if (!this.#rows.has(key)) this.#rows.set(key, this.make(item))
      const row = this.#rows.get(key)
      row.update(item)
      if (this.body.children[i] !== row.element) this.body.insertBefore(row.element, this.body.children[i] ?? null)
    })
    for (const key of gone) {
      const { element } = this.#rows.get(key)
      const focused = element.contains(document.activeElement)
      element.remove()
      if (focused) this.body.closest('[tabindex]')?.focus() // else the keyboard would begin anew
      this.#rows.delete(key)
    }
  }
}

let ended // says that the session has ended
function sessionEnded(has) {
  if (!ended && !has) return
  if (!ended) {
    ended = el('p', { class: 'bar', role: 'alert' }, 'The session has ended. ', el('a', { href: '/login', target: '_blank', rel: 'noopener' }, 'Log in again'), ' in another tab: what you have typed here stays.')
    at('main').before(ended)
  }
  ended.hidden = !has
}

async function answerOf(asked) {
  const response = await asked.catch(() => {
    throw new Error('The pod does not answer')
  })
  sessionEnded(response.status === 401)
  if (response.status === 401) throw new Error('The session has ended')
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw Object.assign(new Error(body.error ?? body.reason ?? `HTTP ${response.status}`), { body })
  return body
}

export const get = (path) => answerOf(fetch(path, { headers: { accept: 'application/json' } }))

export const post = (path, body) =>
  answerOf(fetch(path, { method: 'POST', headers: { accept: 'application/json', 'content-type': 'application/json' }, body: JSON.stringify(body) }))

/** What a page needs to know before it can do anything. */
export async function begin() {
  try {
    return await get('/console/info')
  } catch (error) {
    at('main').before(el('p', { class: 'bar', role: 'alert' }, `${error.message}. `, el('a', { href: '' }, 'Load the page again')))
    throw error
  }
}

// Characters that show what stands around them in another order than it has.
const turning = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
const escaped = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/** JSON as people can read it: these characters stand inside of strings only. */
export const readable = (json) => json.replace(turning, escaped)

/** A word of a shell's line. */
export function quote(text) {
  if (/^[A-Za-z0-9_./:,=@%+-]+$/.test(text)) return text
  if (text.search(turning) < 0) return `'${text.replaceAll("'", `'\\''`)}'`
  return `$'${text.replace(/[\\']/g, '\\$&').replace(turning, escaped)}'` // of bash and zsh
}

/** The line of a shell that does what was done. */
export const command = (cli, ...words) => [cli, ...words.map(String).map(quote)].join(' ')

/** The JSON of an object whose data is spliced as it stands. */
export function envelope(members, data) {
  const head = JSON.stringify(members)
  return data === undefined ? head : `${head.slice(0, -1)}${head === '{}' ? '' : ','}"data":${data}}`
}

export const isJSON = (text) => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

export const clock = (ms) => new Date(ms).toLocaleTimeString()

/** A line at the head of a log, which keeps the last ones. */
export function log(list, ...children) {
  const now = new Date()
  list.prepend(el('li', {}, el('time', { datetime: now.toISOString() }, now.toLocaleTimeString()), ...children))
  while (list.children.length > 200) list.lastElementChild.remove()
}

/** What was published, as lines of a shell. */
export const published = (cli, sent) => sent.map((s) => el('pre', {}, `${command(cli, 'PUBLISH', s.channel, s.envelope)}  → ${s.subscribers}`))

export const plural = (n, word) => `${n.toLocaleString()} ${word}${n === 1 ? '' : 's'}`

/** Where clients connect. */
export function socketURL(info, host = info.clients.host || location.hostname.replace(/^\[|\]$/g, ''), port = info.clients.port) {
  return `${info.clients.scheme}://${host.includes(':') ? `[${host}]` : host}:${port}${info.clients.path}`
}
