// A process with a client, which a test stops and lets go on: node sleeper.js URL. Says each event by IPC.

import { WebSocket } from 'ws'
import { PushClient } from '../pushpod.js'

const client = new PushClient(process.argv[2], { WebSocket, backoff: { min: 100, max: 1000 } })
client.addEventListener('open', (e) => process.send({ type: e.handover ? 'handover' : 'open' }))
client.addEventListener('close', (e) => process.send({ type: 'close', code: e.code }))
client.addEventListener('message', (e) => process.send({ type: 'message', data: e.data }))
process.on('disconnect', () => client.close())
