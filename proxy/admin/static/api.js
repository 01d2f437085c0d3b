// What the pages ask the admin port. The token is kept in this module alone: it is in no storage and no address.

let token = null;

/** Take the token from the fragment that the page was opened with, and leave none of it there. */
export function takeToken() {
  const found = /^#token=(.*)$/.exec(location.hash);
  if (!found) return;
  try {
    token = decodeURIComponent(found[1]);
  } catch {
    token = found[1];
  }
  history.replaceState(null, "", `${location.pathname}#/live`);
}

export const setToken = (text) => (token = text);

/** An answer that is none; `status` is 0 when nobody answered. */
export class Failed extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(`api/${path}`, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed(0, "the admin port does not answer");
  }
  if (!response.ok) throw new Failed(response.status, (await response.text()).trim() || response.statusText);
  return response;
}

export const json = async (path, signal) => (await ask(path, { signal })).json();
export const text = async (path, signal) => (await ask(path, { signal })).text();

export const post = async (path, body, signal) =>
  (await ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal })).json();

/** Listen to server-sent events until aborted; `take` gets each one's name and data. An EventSource could send no token. */
export async function stream(path, signal, take) {
  const response = await ask(path, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    let end;
    while ((end = waiting.indexOf("\n\n")) >= 0) {
      const event = /^event: (.*)\ndata: (.*)$/.exec(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (event) take(event[1], JSON.parse(event[2]));
    }
  }
}
