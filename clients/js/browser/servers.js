// Real servers for the tests in a browser: redis-server, pods, a balancer before the pods, and a site with a page. Each
// listens on loopback, on a port of its own, and ends with its test.

import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const project = fileURLToPath(new URL('../../..', import.meta.url))
const binary = process.env.PUSHPOD_E2E_BINARY || join(project, 'bin/pushpod')
const redisServer = process.env.REDIS_SERVER || 'redis-server'

/** Waits until check() gives something, for as long as a loaded machine may take. */
export async function eventually(what, check, seconds = 40) {
  const end = Date.now() + seconds * 1000
  let error
  for (;;) {
    try {
      const value = await check()
      if (value) return value
    } catch (e) {
      error = e
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`, { cause: error })
    await sleep(50)
  }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

/** A process of a test, which is ended with it. */
class Process {
  constructor(t, command, args, env = {}) {
    this.output = ''
    this.child = spawn(command, args, { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => (this.output += text))
    this.ended = once(this.child, 'exit')
    this.ended.catch((error) => (this.output += error.message))
    t.after(() => this.kill())
  }
  signal(name) {
    this.child.kill(name)
  }
  async kill() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGCONT')
      this.child.kill('SIGKILL')
      await this.ended.catch(() => {})
    }
  }
}

export async function startRedis(t) {
  const dir = await mkdtemp(join(tmpdir(), 'pushpod-browser-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const port = await freePort()
  const redis = {
    port,
    async start() {
      const args = ['--bind', '127.0.0.1', '--port', port, '--save', '', '--appendonly', 'no', '--dir', dir].map(String)
      redis.process = new Process(t, redisServer, args)
      await eventually('redis-server answers', async () => (await redis.command('PING')) === 'PONG')
    },
    /** Sends one command over a connection of its own. */
    async command(...args) {
      const socket = net.connect(port, '127.0.0.1')
      let text = ''
      try {
        socket.write(`*${args.length}\r\n${args.map((a) => `$${Buffer.byteLength(String(a))}\r\n${a}\r\n`).join('')}`)
        for await (const chunk of socket) {
          text += chunk
          const reply = parse(text)
          if (reply === undefined) continue
          if (reply instanceof Error) throw reply
          return reply
        }
        throw new Error('Redis has closed the connection')
      } finally {
        socket.destroy()
      }
    },
    push: (user, data, ...pairs) => redis.command('FCALL', 'pushpod_push', 1, `push:user:{${user}}`, JSON.stringify(data), ...pairs),
    connections: (user) => redis.command('HLEN', `push:user:{${user}}`),
  }
  await redis.start()
  return redis
}

/** A reply to one command, where it is whole: a line, or a bulk string. */
function parse(text) {
  const end = text.indexOf('\r\n')
  if (end < 0) return undefined
  const line = text.slice(1, end)
  if (text[0] === '-') return new Error(line)
  if (text[0] === ':') return Number(line)
  if (text[0] === '+') return line
  if (text[0] === '$' && line === '-1') return null
  if (text[0] === '$') return text.endsWith('\r\n') && text.length > end + 2 ? text.slice(end + 2, -2) : undefined
  return new Error(`a reply that this test does not read: ${text}`)
}

/** Starts a pod with quick times; without a redis, with its own. Settings are configuration keys. */
export async function startPod(t, redis, settings = {}) {
  const [port, admin] = [await freePort(), await freePort()]
  const keys = {
    listen: `127.0.0.1:${port}`,
    'admin.listen': `127.0.0.1:${admin}`,
    ...(redis ? { 'redis.addresses': `127.0.0.1:${redis.port}` } : { 'redis.embedded_listen': `127.0.0.1:${await freePort()}` }),
    'redis.load_functions': 'on',
    'redis.timeout': '1s',
    'redis.probe': '500ms',
    'presence.ttl': '15s',
    'presence.renew': '1s',
    'presence.heartbeat': '200ms',
    'presence.lease': '1s',
    'conn.ping': '8s',
    'conn.ping_timeout': '4s',
    'shutdown.delay': '0s',
    'shutdown.drain': '2s',
    ...settings,
  }
  const env = Object.fromEntries(Object.entries(keys).map(([k, v]) => [`PUSHPOD_${k.toUpperCase().replaceAll('.', '_')}`, v]))
  const pod = new Process(t, binary, ['serve'], env)
  Object.assign(pod, { port, admin })
  pod.ready = async () => {
    if (pod.child.exitCode !== null) throw new Error(`the pod has ended: ${pod.output}`)
    return (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok
  }
  await eventually('a pod is ready', pod.ready)
  return pod
}

/** Settings of a pod that gives nobody up, however long a test on a loaded machine takes. */
export const patient = { 'conn.ping': '60s', 'conn.ping_timeout': '60s', 'presence.ttl': '150s' }

/** Passes connections to the first of its pods that takes them; with `strict` as a proxy that knows no WebSocket. */
export async function startBalancer(t, ...pods) {
  const open = new Set()
  const server = net.createServer((client) => {
    if (!balancer.strict) return pass(client, [...balancer.pods])
    client.once('data', (head) => {
      if (/^upgrade:/im.test(head)) return client.destroy()
      client.pause()
      client.unshift(head)
      pass(client, [...balancer.pods])
    })
  })
  const pass = (client, candidates) => {
    const pod = candidates.shift()
    client.on('error', () => {})
    if (!pod) return client.destroy()
    const up = net.connect(pod.port, '127.0.0.1')
    up.once('error', () => pass(client, candidates))
    up.once('connect', () => {
      up.removeAllListeners('error')
      for (const [a, b] of [
        [client, up],
        [up, client],
      ]) {
        open.add(a)
        a.on('error', () => b.destroy())
        a.on('close', () => (open.delete(a), b.destroy()))
        a.pipe(b)
      }
    })
  }
  const balancer = { pods, url: '', strict: false }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  balancer.url = `ws://127.0.0.1:${server.address().port}/ws`
  t.after(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  return balancer
}

/** Plays GET /sse, for any origin's pages. `streams` are the answers under way. */
export async function startEvents(t) {
  const streams = []
  const server = http.createServer((request, response) => {
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*')
    response.setHeader('access-control-allow-credentials', 'true')
    response.setHeader('access-control-allow-headers', 'authorization')
    if (request.method === 'OPTIONS') return response.writeHead(204).end()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {"type":"welcome","uuid":"e","user":"alice","ping":25}\n\n')
    streams.push({ request, response })
  })
  server.on('upgrade', (request, socket) => socket.destroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { streams, url: `ws://127.0.0.1:${server.address().port}/ws` }
}

export const read = (name) => readFile(fileURLToPath(new URL(name, import.meta.url)), 'utf8')

/** Serves the module, a page that uses it, and what `more` has, by path. */
export async function startSite(t, more = {}) {
  const files = {
    '/': ['text/html', await read('page.html')],
    '/pushpod.js': ['text/javascript', await read('../pushpod.js')],
    '/other': ['text/html', '<p>another page'],
    ...more,
  }
  const server = http.createServer((request, response) => {
    const [type, text] = files[request.url] ?? []
    response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** A token (RFC 7519) of the user, signed by HS256. */
export function sign(secret, user, seconds) {
  const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, iat: now, exp: now + seconds })}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}
