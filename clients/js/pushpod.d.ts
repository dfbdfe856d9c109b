/** What a PushClient may be told. Only what differs from the defaults need be given. */
export interface Options {
  /**
   * A token of the user, or a function that returns one. The function is called before each attempt to connect, and by
   * `refresh()`; `refused` says that the last token had expired or was not accepted, so that one kept in a cache must not
   * be returned again. An error counts as a failure to connect. The token travels as the subprotocol pair
   * `pushpod.v1, bearer.TOKEN`, never in the URL. Without a token the cookies decide, or `?user=` in the URL.
   */
  token?: string | ((asked: { refused: boolean }) => string | undefined | Promise<string | undefined>)
  /**
   * `?ping=`: `app` (default) or `app,SECONDS` (15 to 300) asks the server for pings that the page itself answers. Empty or
   * false leaves the server with WebSocket pings, which the browser answers. A dead server is noticed either way.
   */
  ping?: string | false
  /** Server-sent events where WebSocket fails: true (default) by the URL with `/sse` for `/ws`, another URL, or false. */
  sse?: boolean | string
  /**
   * Tabs of one browser share one connection where true, or a string that is the same in all of them. Give the user's
   * id where users can change: tabs of different users must not share. Where the browser has no Web Locks (insecure
   * pages, sandboxed frames), each tab connects for itself. Default: false.
   */
  share?: boolean | string
  /** The class to use; default is the global one. Node 20 has none: `import { WebSocket } from 'ws'`. null: server-sent events only. */
  WebSocket?: WebSocketClass | null
  /** Bounds of the waits where the server names none, in ms: before attempt n a wait drawn from 0 to min × 2ⁿ⁻¹, at most max. */
  backoff?: { min?: number; max?: number }
  /** ms from the beginning of an attempt, the token's callback included, to the welcome; default 10,000. */
  timeout?: number
}

/** What a PushClient needs of a WebSocket class; browsers' own, `ws` and undici fit. */
export interface WebSocketClass {
  new (url: string, protocols: string[]): {
    send(text: string): void
    close(code?: number, reason?: string): void
    addEventListener(type: 'open' | 'message' | 'close' | 'error', listener: (event: any) => void): void
  }
}

/**
 * What a user interface can show. `code` is a close code, 1006 where there was none (network, silent server, failing token
 * callback), and `reason` its text.
 */
export type State =
  /** The first attempt, or another one, is under way. */
  | { readonly name: 'connecting'; readonly code?: number; readonly reason?: string }
  /** Pushes arrive. */
  | { readonly name: 'open'; readonly uuid: string; readonly user: string; readonly via: 'websocket' | 'sse' }
  /** The next attempt is made at `until` (Unix ms). `connect()` makes it now. */
  | { readonly name: 'waiting'; readonly until: number; readonly code: number; readonly reason: string }
  /** The browser says that there is no network, or (without `until`) the page is put away: in the back/forward cache, or frozen while it shares. */
  | { readonly name: 'offline'; readonly until?: number; readonly code: number; readonly reason: string }
  /** By `close()` (code 1000), or because the server said to stay away. Only `connect()` connects again. */
  | { readonly name: 'closed'; readonly code: number; readonly reason: string }

/** A push. */
export interface PushMessage<Data = unknown> extends Event {
  readonly type: 'message'
  /** The producer's value, as `JSON.parse` reads it. */
  readonly data: Data
  /** The producer's own name for it. Further messages with the same id are dropped. */
  readonly id?: string
  /** The frame as it came: where `data` has numbers beyond 2⁵³, for instance. */
  readonly text: string
}

/** A connection is registered. */
export interface PushOpen extends Event {
  readonly type: 'open'
  readonly uuid: string
  readonly user: string
  readonly via: 'websocket' | 'sse'
  /** It took over from one that was still open: nothing was missed. Otherwise pushes may have been, and it is time to load. */
  readonly handover: boolean
}

/** Pushes do not arrive any more. */
export interface PushClose extends Event {
  readonly type: 'close'
  readonly code: number
  readonly reason: string
  /** The state is `closed`: the client does not come again by itself. */
  readonly final: boolean
}

export interface PushState extends Event {
  readonly type: 'state'
  readonly state: State
  readonly before: State
}

export interface PushEvents<Data = unknown> {
  message: PushMessage<Data>
  open: PushOpen
  close: PushClose
  state: PushState
}

type Listener<E> = ((event: E) => void) | { handleEvent(event: E): void }

/** Why a request was not taken. */
export declare class RequestError extends Error {
  readonly name: 'RequestError'
  readonly id: string
  /**
   * The server's `bad_frame`, `unknown_type`, `not_allowed`, `too_large`, or the client's own `closed` (by `close()` or for
   * good) and `one_way` (the connection is server-sent events).
   */
  readonly code: string
  readonly reason: string
  constructor(id: string, code: string, reason?: string)
}

/** Keeps one user connected, from its construction until `close()` or until the server says to stay away. */
export declare class PushClient<Data = unknown> extends EventTarget {
  /**
   * @param url of the endpoint, such as `wss://push.example.com/ws`; `https:` does too, and in a page a path alone. Its query is kept.
   * @throws TypeError for another kind of URL, and where there is no WebSocket.
   */
  constructor(url: string | URL, options?: Options)

  readonly state: State

  /** Connects now where the client waits or is closed. */
  connect(): void

  /** Ends the connection and rejects what waits. Of tabs that share one, only this tab leaves. */
  close(): void

  /**
   * Sends data up to the backends. Resolves with the request's id when the server has it; the result, if any, comes as a
   * message. It waits for a connection, is sent again where one breaks, and repeated where the server answers
   * `unavailable` or `rate`, always with the same id: at least once, and backends drop by (user, id). While a request with
   * the same id is under way, both are that one. After `signal` has aborted it is not known whether it has arrived.
   *
   * @throws RequestError, TypeError for data that is no JSON or a bad id, or the signal's reason.
   */
  request(data: unknown, options?: { id?: string; signal?: AbortSignal }): Promise<string>

  /**
   * Has the connection outlive its token: gets a fresh one by the callback and sends it. Rejects as `request()` does, and
   * with the callback's error.
   */
  refresh(): Promise<void>

  addEventListener<K extends keyof PushEvents>(type: K, listener: Listener<PushEvents<Data>[K]> | null, options?: AddEventListenerOptions | boolean): void
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void
  removeEventListener<K extends keyof PushEvents>(type: K, listener: Listener<PushEvents<Data>[K]> | null, options?: EventListenerOptions | boolean): void
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: EventListenerOptions | boolean): void
}
