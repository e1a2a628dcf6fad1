// oauth4webapi, which takes nothing on trust: node oauth4webapi.mjs RESOURCE METHOD
import * as oauth from 'oauth4webapi'
import { REDIRECT_URI, done, visit } from './user.mjs'

const [resource, method] = process.argv.slice(2)
const options = { [oauth.allowInsecureRequests]: true }
const scope = 'notes:read notes:write'

// --- discovery, by the challenge (RFC 9728) and then by the issuer (RFC 8414, and OpenID's form) ---
const refused = await oauth
  .protectedResourceRequest('oat_none', 'GET', new URL(resource), undefined, undefined, options)
  .then(() => undefined, (error) => error.cause[0])
const described = await oauth.resourceDiscoveryRequest(new URL(resource), options)
const document = await oauth.processResourceDiscoveryResponse(new URL(resource), described)
const issuer = new URL(document.authorization_servers[0])
const found = {}
for (const algorithm of ['oidc', 'oauth2']) {
  const answer = await oauth.discoveryRequest(issuer, { ...options, algorithm })
  found[algorithm] = await oauth.processDiscoveryResponse(issuer, answer)
}
const server = found.oauth2

// --- registration ---
const wanted = {
  client_name: 'oauth4webapi',
  redirect_uris: [REDIRECT_URI],
  grant_types: ['authorization_code', 'refresh_token'],
  token_endpoint_auth_method: method,
  scope,
}
const registered = await oauth.dynamicClientRegistrationRequest(server, wanted, options)
const client = await oauth.processDynamicClientRegistrationResponse(registered)
const authentication = {
  none: () => oauth.None(),
  client_secret_basic: () => oauth.ClientSecretBasic(client.client_secret),
  client_secret_post: () => oauth.ClientSecretPost(client.client_secret),
}[method]()

// --- authorization, with PKCE ---
const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const address = new URL(server.authorization_endpoint)
for (const [name, value] of Object.entries({
  client_id: client.client_id,
  redirect_uri: REDIRECT_URI,
  response_type: 'code',
  scope,
  state,
  resource: document.resource,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
})) address.searchParams.set(name, value)
const told = oauth.validateAuthResponse(server, client, await visit(address), state)
const exchanged = await oauth.authorizationCodeGrantRequest(
  server, client, authentication, told, REDIRECT_URI, verifier, options,
)
let tokens = await oauth.processAuthorizationCodeResponse(server, client, exchanged)
const first = { scope: tokens.scope, type: tokens.token_type, expires_in: tokens.expires_in }

// --- calls, and refreshes ---
const call = async () => {
  const answer = await oauth.protectedResourceRequest(
    tokens.access_token, 'GET', new URL(resource), undefined, undefined, options,
  )
  return (await answer.json()).notes
}
const refresh = async () => {
  const answer = await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, options)
  tokens = await oauth.processRefreshTokenResponse(server, client, answer)
}
const notes = [await call()]
const seen = new Set([tokens.refresh_token])
for (let turn = 0; turn < 3; turn += 1) {
  await refresh()
  seen.add(tokens.refresh_token)
  notes.push(await call())
}

// --- revocation ---
const revoked = await oauth.revocationRequest(server, client, authentication, tokens.refresh_token, options)
await oauth.processRevocationResponse(revoked)
const after = await call().then(() => undefined, (error) => error.cause[0])
const dead = await refresh().then(() => undefined, (error) => [error.status, error.error])

done({
  refused: { scheme: refused.scheme, resource_metadata: refused.parameters.resource_metadata },
  issuers: [found.oidc.issuer, server.issuer],
  method: client.token_endpoint_auth_method,
  secret: 'client_secret' in client,
  first,
  notes,
  pairs: seen.size,
  after: after.parameters.error,
  dead,
})
