// The filter of the list: words that must all hold; `-` before one turns it round.

export const HELP = [
  ["jane", "the text is in the path, the operation, a rule or the id"],
  ["status:4xx", "status, or its class; status:403, status:none"],
  ["op:createUserAuthTicket", "operation, or the beginning of it"],
  ["rule:lockout", "a rule that ran or decided, or the beginning of it"],
  ["by:rule", "who answered: upstream, rule, proxy, nobody"],
  ["method:post", "method"],
  ["own:>5", "own time in milliseconds; up:>100 that of the auth service"],
  ["is:denied", "denied, failed, hungup"],
  ["-op:refresh", "all but these"],
];

const begins = (text, start) => (text ?? "").toLowerCase().startsWith(start);

function compare(value, wanted) {
  const found = /^(>=|<=|>|<)?(\d+(?:\.\d+)?)$/.exec(wanted);
  if (!found || value === undefined || value === null) return false;
  const bound = Number(found[2]);
  switch (found[1]) {
    case "<": return value < bound;
    case "<=": return value <= bound;
    case ">=": return value >= bound;
    default: return value > bound;
  }
}

const KEYS = {
  status: (row, wanted) => (wanted === "none" ? !row.status : wanted.endsWith("xx") ? String(row.status ?? "")[0] === wanted[0] : begins(String(row.status ?? ""), wanted)),
  op: (row, wanted) => (wanted === "none" ? !row.operation : begins(row.operation, wanted)),
  rule: (row, wanted) => begins(row.rule, wanted) || (row.ran ?? []).some((name) => begins(name, wanted)),
  by: (row, wanted) => begins(row.by ?? "nobody", wanted),
  method: (row, wanted) => begins(row.method, wanted),
  path: (row, wanted) => row.target.toLowerCase().includes(wanted),
  own: (row, wanted) => compare(row.own, wanted),
  up: (row, wanted) => compare(row.upstream, wanted),
  is: (row, wanted) => ({ denied: !!row.denied, failed: row.by === "proxy" || !!row.error, hungup: !!row.hung_up })[wanted] ?? false,
};

const searched = (row) => `${row.method} ${row.target} ${row.operation ?? ""} ${row.rule ?? ""} ${(row.ran ?? []).join(" ")} ${row.id}`.toLowerCase();

/** Make a test of rows; `wrong` are the words that mean nothing, which are passed over. */
export function compile(source) {
  const tests = [];
  const wrong = [];
  for (const word of source.toLowerCase().split(/\s+/).filter(Boolean)) {
    const not = word.length > 1 && word.startsWith("-");
    const plain = not ? word.slice(1) : word;
    const [, key, wanted] = /^([a-z]+):(.*)$/.exec(plain) ?? [];
    if (key && !(key in KEYS)) {
      wrong.push(word);
      continue;
    }
    if (key && !wanted) continue;
    const test = key ? (row) => KEYS[key](row, wanted) : (row) => searched(row).includes(plain);
    tests.push(not ? (row) => !test(row) : test);
  }
  return { holds: tests.length ? (row) => tests.every((test) => test(row)) : null, wrong };
}
