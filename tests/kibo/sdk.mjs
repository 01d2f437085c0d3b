// Kibo's own client against the proxy: node sdk.mjs http://127.0.0.1:8080
// Prints one JSON line a call; tests/kibo/test_client.py reads them.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { Configuration } = require('@kibocommerce/rest-sdk')
const { StorefrontAuthTicketApi } = require('@kibocommerce/rest-sdk/clients/Customer')

const apiHost = process.argv[2]
let last

// What the client's caller cannot see otherwise: the headers of the answer.
async function fetchApi(url, options) {
  last = await fetch(url, options)
  return last
}

const api = new StorefrontAuthTicketApi(
  new Configuration({ apiHost, tenantId: 1, siteId: 2, catalog: 1, masterCatalog: 1, accessToken: 'test-only-application', fetchApi }),
)

async function call(name, act) {
  last = undefined
  try {
    const value = await act()
    const cookie = last.headers.get('set-cookie')
    console.log(JSON.stringify({ name, ok: true, status: last.status, authorization: last.headers.get('authorization'), cookie, value }))
    return { value, cookie }
  } catch (error) {
    const { message, errorCode, statusCode, status } = error
    console.log(JSON.stringify({ name, ok: false, status: last?.status, error: error.constructor.name, message, errorCode, statusCode: statusCode ?? status }))
    return {}
  }
}

const login = (username, password, more) =>
  api.createUserAuthTicket({ customerUserAuthInfo: { username, password }, ...more })

const { cookie } = await call('login', () => login('jane@example.com', 'correct-horse-1'))
const refreshToken = /vestibule_refresh=([^;]+)/.exec(cookie ?? '')?.[1]
await call('refresh', () => api.refreshUserAuthTicket({ refreshToken }))
await call('unknown refresh', () => api.refreshUserAuthTicket({ refreshToken: 'test-only-unknown' }))
await call('anonymous', () => api.createAnonymousShopperAuthTicket())
await call('responseFields', () => login('jane@example.com', 'correct-horse-1', { responseFields: 'userId,customerAccount(id)' }))
await call('wrong password', () => login('jane@example.com', 'test-only-wrong'))
await call('denied', () => login('joe@mailinator.com', 'test-only'))
await call('second factor', () => login('maria@example.com', 'correct-horse-2'))
