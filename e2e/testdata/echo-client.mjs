// A client under test for pushpod conformance: clients/js with an application that sends back what it is handed.
import { createRequire } from 'node:module'

const { WebSocket } = createRequire(new URL('../../clients/js/pushpod.js', import.meta.url))('ws')
const { PushClient } = await import('../../clients/js/pushpod.js')

const client = new PushClient(process.env.PUSHPOD_URL, { WebSocket, sse: false })
client.addEventListener('message', (e) => client.request(e.data).catch((error) => console.error(error.message)))
