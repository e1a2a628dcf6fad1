// The official TypeScript client of MCP, of the first or the second generation: node mcp_sdk.mjs 1|2 URL STORY
import { REDIRECT_URI, done, visit } from './user.mjs'

const [generation, url, story] = process.argv.slice(2)
const { Client, StreamableHTTPClientTransport } =
  generation === '2'
    ? await import('@modelcontextprotocol/client')
    : {
        ...(await import('@modelcontextprotocol/sdk/client/index.js')),
        ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
      }

const store = { visits: 0, invalidated: [], pairs: [] }

const provider = {
  redirectUrl: REDIRECT_URI,
  clientMetadata: {
    client_name: 'The official client',
    redirect_uris: [REDIRECT_URI],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => 'a%20state',
  clientInformation: () => store.client,
  saveClientInformation: (client) => { store.client = client },
  tokens: () => store.tokens,
  saveTokens: (tokens) => { store.tokens = tokens; store.pairs.push(tokens.refresh_token) },
  redirectToAuthorization: async (address) => { store.visits += 1; store.landed = await visit(address) },
  saveCodeVerifier: (verifier) => { store.verifier = verifier },
  codeVerifier: () => store.verifier,
  invalidateCredentials: (what) => {
    store.invalidated.push(what)
    if (what === 'all' || what === 'client') store.client = undefined
    if (what === 'all' || what === 'tokens') store.tokens = undefined
  },
}

/** Connected; through the browser where the client finds no other way. */
async function connect() {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider })
  const client = new Client({ name: 'interop', version: '1.0.0' })
  try {
    await client.connect(transport)
    return client
  } catch (error) {
    if (!store.landed) throw error
    const told = store.landed.searchParams
    store.landed = undefined
    if (told.get('state') !== 'a%20state') throw new Error('another state')
    await (generation === '2' ? transport.finishAuth(told) : transport.finishAuth(told.get('code')))
    return connect()
  }
}

const whoAmI = async (client) => (await client.callTool({ name: 'who_am_i', arguments: {} })).structuredContent

/** The access token is not good any more: the next call meets 401. */
const spoil = () => { store.tokens = { ...store.tokens, access_token: 'oat_gone' } }

/** What every renewal waits for before it is sent. */
let renewal = async () => {}
const plainFetch = globalThis.fetch
globalThis.fetch = async (address, options) => {
  if (String(options?.body ?? '').includes('grant_type=refresh_token')) await renewal()
  return plainFetch(address, options)
}

/** A wait that ends, for all and for good, when so many wait. */
function gathering(count) {
  let open
  const all = new Promise((resolve) => { open = resolve })
  return () => {
    count -= 1
    if (count <= 0) open()
    return all
  }
}

const stories = {
  async alone() {
    const client = await connect()
    const seen = [await whoAmI(client)]
    for (let turn = 0; turn < 3; turn += 1) {
      spoil()
      seen.push(await whoAmI(client))
    }
    const tools = (await client.listTools()).tools.map((tool) => tool.name)
    return { seen, tools, pairs: new Set(store.pairs).size }
  },

  // Eight connections share one store and meet 401 at once: each refreshes with the same token. None is sent before the
  // last is ready, for the client reads the store only after its discovery: a connection that is slow there would find
  // the new pair and renew it at once, while the old token of a quicker one is still on its way.
  async together() {
    const clients = [await connect()]
    while (clients.length < 8) clients.push(await connect())
    const rounds = []
    for (let turn = 0; turn < 3; turn += 1) {
      spoil()
      renewal = gathering(clients.length)
      const answers = await Promise.allSettled(clients.map(whoAmI))
      rounds.push(answers.map((answer) => answer.value?.subject ?? String(answer.reason)))
    }
    return { rounds, pairs: new Set(store.pairs).size }
  },

  // A connection whose renewal is on its way while two others renew, one after the other, from the same store.
  async overtaken() {
    const clients = []
    while (clients.length < 3) clients.push(await connect())
    const [slow, ...quick] = clients
    spoil()
    let go, sent
    const held = new Promise((resolve) => { go = resolve })
    const ready = new Promise((resolve) => { sent = resolve })
    renewal = () => { renewal = async () => {}; sent(); return held }
    const late = whoAmI(slow).then((found) => found.subject, (error) => error.constructor.name)
    await ready
    const others = []
    for (const client of quick) {
      spoil()
      others.push((await whoAmI(client)).subject)
    }
    go()
    return { others, late: await late, pairs: new Set(store.pairs).size }
  },

  // The grant is gone, then the registration: the client comes back from both.
  async lost() {
    const client = await connect()
    const form = new URLSearchParams({ token: store.tokens.refresh_token, client_id: store.client.client_id })
    const server = await (await fetch(new URL('/.well-known/oauth-authorization-server', url))).json()
    const revoked = await fetch(server.revocation_endpoint, { method: 'POST', body: form })
    const refused = await whoAmI(client).then(() => 'went on', (error) => error.constructor.name)
    const again = await whoAmI(await connect())
    store.client = { ...store.client, client_id: 'forgotten' }
    spoil()
    const forgotten = await whoAmI(client).then(() => 'went on', (error) => error.constructor.name)
    return { revoked: revoked.status, refused, again: again.subject, forgotten, last: (await whoAmI(await connect())).subject }
  },
}

const found = await stories[story]()
done({ ...found, visits: store.visits, invalidated: store.invalidated })
