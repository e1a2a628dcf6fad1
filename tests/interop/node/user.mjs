// The user at the browser is a Python program at the other end of our input and output.
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export const REDIRECT_URI = 'http://127.0.0.1:8765/callback'

/** Send the user to `url`, and return the address that they came back with. */
export async function visit(url) {
  console.log(JSON.stringify({ visit: String(url) }))
  return new URL((await lines.next()).value)
}

/** Tell what was found, and end. */
export function done(found) {
  console.log(JSON.stringify({ done: found }))
  process.exit(0)
}
