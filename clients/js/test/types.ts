// Checked by tsc, never run: what TypeScript's users may write, and what it must refuse.
import { PushClient, RequestError, type Options, type State } from '../pushpod.js'

const options: Options = {
  token: async ({ refused }) => (refused ? 'fresh' : 'cached'),
  ping: 'app,20',
  share: 'alice',
  backoff: { min: 100 },
}
const client = new PushClient<{ text: string }>('wss://push.example.com/ws', options)

client.addEventListener('message', (e) => {
  const text: string = e.data.text
  const id: string | undefined = e.id
  console.log(text, id, e.text)
})
client.addEventListener('open', (e) => e.handover && console.log(e.uuid, e.user, e.via))
client.addEventListener('close', (e) => e.final && console.log(e.code, e.reason))
client.addEventListener('state', (e) => show(e.state), { once: true })
client.addEventListener('own', (e: Event) => e.type)

function show(state: State): string {
  switch (state.name) {
    case 'connecting':
      return 'connecting'
    case 'open':
      return state.user
    case 'waiting':
      return new Date(state.until).toString()
    case 'offline':
      return state.reason
    case 'closed':
      return `${state.code}`
  }
}

const receipt: Promise<string> = client.request({ n: 1 }, { id: 'r1', signal: AbortSignal.timeout(1000) })
receipt.catch((e) => e instanceof RequestError && e.code)
client.refresh().then(() => client.close())

new PushClient('/ws', { WebSocket })
new PushClient('/ws', { WebSocket: null, sse: '/events', token: 'abc' })

// @ts-expect-error: a misspelt option
new PushClient('/ws', { tokens: 'abc' })
// @ts-expect-error: no such member
client.addEventListener('message', (e) => e.data.missing)
// @ts-expect-error: state is not to be set
client.state = { name: 'connecting' }
// @ts-expect-error: until is there while it waits only
client.state.until
