// The jobs with http-proxy-middleware. Arguments: where it is installed, port of the upstream, own port, access log.
const [, , home, upstream, port, log] = process.argv;
const { createWriteStream } = require("node:fs");
const { Agent, createServer } = require("node:http");
const { createProxyMiddleware, fixRequestBody, responseInterceptor } = require(home);

const DISPOSABLE = new Set(["mailinator.com", "trash.example"]);
const agent = new Agent({ keepAlive: true });
const lines = createWriteStream(log, { flags: "a" });
const target = { target: `http://127.0.0.1:${upstream}`, agent, xfwd: true };

const forward = createProxyMiddleware(target);

const login = createProxyMiddleware({
    ...target,
    selfHandleResponse: true,
    on: {
        proxyReq: (proxied, request) => {
            proxied.setHeader("x-vol-site", "21074");
            fixRequestBody(proxied, request);
        },
        proxyRes: responseInterceptor(async (body, answer, request, response) => {
            if (answer.statusCode !== 200) return body;
            const ticket = JSON.parse(body.toString("utf8"));
            if (ticket.jwtAccessToken) response.setHeader("Authorization", `Bearer ${ticket.jwtAccessToken}`);
            delete ticket.refreshToken;
            delete ticket.customerAccount.notes;
            if (ticket.userId !== "") {
                ticket.customerAccount.isAnonymous = false;
                ticket.tier = "gold";
            }
            response.removeHeader("etag");
            return JSON.stringify(ticket);
        }),
    },
});

const catalog = createProxyMiddleware({
    ...target,
    selfHandleResponse: true,
    on: {
        proxyRes: responseInterceptor(async (body, answer, request, response) => {
            const items = JSON.parse(body.toString("utf8"));
            delete items.internal;
            response.removeHeader("etag");
            return JSON.stringify(items);
        }),
    },
});

function deny(response, message, errorCode) {
    response.writeHead(403, { "Content-Type": "application/json", "Cache-Control": "no-store" });
    response.end(JSON.stringify({ message, errorCode }));
}

function begin(request, response) {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
        let sent;
        try {
            sent = JSON.parse(Buffer.concat(pieces).toString("utf8"));
        } catch {
            return response.writeHead(400).end();
        }
        if (DISPOSABLE.has(sent.username.split("@")[1])) {
            return deny(response, "Disposable addresses cannot sign in.", "DISPOSABLE_ADDRESS");
        }
        if (sent.username === "blocked@example.com") {
            return deny(response, "This account cannot sign in.", "BLOCKED_ACCOUNT");
        }
        request.body = sent;
        return login(request, response);
    });
}

createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
    const begun = process.hrtime.bigint();
    response.on("finish", () => {
        const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
        const { method, url: path } = request;
        const client = request.socket.remoteAddress;
        const line = { time: new Date(), client, method, path, status: response.statusCode, seconds };
        lines.write(JSON.stringify(line) + "\n");
    });
    if (request.url === "/api/commerce/customer/authtickets") return begin(request, response);
    if (request.url === "/api/commerce/catalog") return catalog(request, response);
    return forward(request, response);
}).listen(Number(port), "127.0.0.1");
