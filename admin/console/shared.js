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

async function answerOf(response) {
  if (response.status === 401) {
    location.reload() // the form for the token
    throw new Error('The session has ended')
  }
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw Object.assign(new Error(body.error ?? body.reason ?? `HTTP ${response.status}`), { body })
  return body
}

export const get = async (path) => answerOf(await fetch(path, { headers: { accept: 'application/json' } }))

export const post = async (path, body) =>
  answerOf(await fetch(path, { method: 'POST', headers: { accept: 'application/json', 'content-type': 'application/json' }, body: JSON.stringify(body) }))

/** A word of a shell's line. */
export const quote = (text) => (/^[A-Za-z0-9_./:,=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

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

export const plural = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`

/** Where clients connect. */
export function socketURL(info, host = info.clients.host || location.hostname.replace(/^\[|\]$/g, ''), port = info.clients.port) {
  return `${info.clients.scheme}://${host.includes(':') ? `[${host}]` : host}:${port}${info.clients.path}`
}
