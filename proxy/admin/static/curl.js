// A request as a line for a shell.

const SKIPPED = new Set(["host", "content-length", "connection", "transfer-encoding", "accept-encoding"]);

export const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Write the request of a record as curl; what was replaced stays replaced. */
export function curl(record) {
  const { method, target, headers, body } = record.request;
  const parts = [`curl -i ${quote(`${record.scheme}://${record.host}${target}`)}`];
  const given = body?.text;
  if (method !== (given === undefined ? "GET" : "POST")) parts.push(`-X ${quote(method)}`);
  for (const [name, value] of headers) if (!SKIPPED.has(name.toLowerCase())) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (given !== undefined) parts.push(`--data-raw ${quote(given)}`);
  return parts.join(" \\\n  ");
}
