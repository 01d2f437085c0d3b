// The jobs in njs, as an nginx module is written by hand.
const DISPOSABLE = { "mailinator.com": true, "trash.example": true };
// Of the answer's head, what is not written by nginx or made wrong by the edit.
const DROPPED = { "content-length": true, "connection": true, "transfer-encoding": true, "etag": true };

function deny(r, reason, code) {
    r.headersOut["Content-Type"] = "application/json";
    r.headersOut["Cache-Control"] = "no-store";
    r.return(403, JSON.stringify({ message: reason, errorCode: code }));
}

async function fetch(r) {
    const answer = await r.subrequest("/upstream" + r.uri, { method: r.method, body: r.requestText });
    for (const name in answer.headersOut) {
        if (!DROPPED[name.toLowerCase()]) r.headersOut[name] = answer.headersOut[name];
    }
    return answer;
}

async function login(r) {
    let sent;
    try {
        sent = JSON.parse(r.requestText);
    } catch (error) {
        return r.return(400);
    }
    if (DISPOSABLE[sent.username.split("@")[1]]) return deny(r, "Disposable addresses cannot sign in.", "DISPOSABLE_ADDRESS");
    if (sent.username === "blocked@example.com") return deny(r, "This account cannot sign in.", "BLOCKED_ACCOUNT");
    const answer = await fetch(r);
    if (answer.status !== 200) return r.return(answer.status, answer.responseText);
    let ticket;
    try {
        ticket = JSON.parse(answer.responseText);
    } catch (error) {
        return r.return(502);
    }
    if (ticket.jwtAccessToken) r.headersOut["Authorization"] = "Bearer " + ticket.jwtAccessToken;
    delete ticket.refreshToken;
    delete ticket.customerAccount.notes;
    if (ticket.userId !== "") {
        ticket.customerAccount.isAnonymous = false;
        ticket.tier = "gold";
    }
    r.return(200, JSON.stringify(ticket));
}

async function catalog(r) {
    const answer = await fetch(r);
    if (answer.status !== 200) return r.return(answer.status, answer.responseText);
    const items = JSON.parse(answer.responseText);
    delete items.internal;
    r.return(200, JSON.stringify(items));
}

export default { login, catalog };
