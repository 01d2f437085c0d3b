// The Shop API's own client against the proxy: node client.mjs http://127.0.0.1:8080
// Prints one JSON line a call; tests/sfcc/test_client.py reads them.
import ShopApi from 'commercecloud-ocapi-client'

const client = new ShopApi.ApiClient({
  basePath: `${process.argv[2]}/s/RefArch/dw/shop/v20_4`,
  defaultHeaders: {},
  enableCookies: true,
})
client.authentications.client_id.apiKey = 'test-only-client'
ShopApi.ApiClient.instance = client

const customers = new ShopApi.CustomersApi()
const sessions = new ShopApi.SessionsApi()
const baskets = new ShopApi.BasketsApi()
const basic = (name, password) => ({ authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}` })

// Every call gives its data and the answer; a refused one is rejected with the Fault.
async function call(name, act) {
  try {
    const { data, response } = await act()
    const { status, header } = response
    console.log(JSON.stringify({ name, ok: true, status, authorization: header.authorization, kind: data?.constructor.name, data }))
    return data
  } catch (fault) {
    const { type, message, status } = fault
    console.log(JSON.stringify({ name, ok: false, kind: fault.constructor.name, type, message, status }))
  }
}

const authenticate = (type, opts) => customers.postCustomersAuthWithHttpInfo(new ShopApi.AuthRequest(type), opts)

const guest = await call('guest', () => authenticate('guest'))
await call('guest is known', () => customers.getCustomersByIDWithHttpInfo(guest.customer_id))
await call('refresh of a guest', () => authenticate('refresh'))
const jane = await call('credentials', () => authenticate('credentials', basic('jane@example.com', 'correct-horse-1')))
await call('customer', () => customers.getCustomersByIDWithHttpInfo(jane.customer_id))
await call('refresh', () => authenticate('refresh'))
await call('sessions', () => sessions.postSessionsWithHttpInfo())
await call('session', () => authenticate('session'))
const basket = await call('basket', () => baskets.postBasketsWithHttpInfo())
await call('put', () => baskets.putBasketsByIDCustomerWithHttpInfo(basket?.basket_id, { email: 'jane@example.com' }))
await call('wrong password', () => authenticate('credentials', basic('jane@example.com', 'test-only-wrong')))
await call('denied', () => authenticate('credentials', basic('joe@mailinator.com', 'test-only')))
await call('second factor', () => authenticate('credentials', basic('maria@example.com', 'correct-horse-2')))
await call('somebody else', () => customers.getCustomersByIDWithHttpInfo(guest.customer_id))
await call('invalidate', () => customers.deleteCustomersAuthWithHttpInfo({ authorization: client.defaultHeaders.authorization }))
await call('invalidated', () => customers.getCustomersByIDWithHttpInfo(jane.customer_id))
