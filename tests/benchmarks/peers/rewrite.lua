-- The jobs in Lua with cjson, as an nginx module is written by hand.
local cjson = require "cjson"
local decode, encode = cjson.decode, cjson.encode
local capture, req, log = ngx.location.capture, ngx.req, ngx.log
local disposable = { ["mailinator.com"] = true, ["trash.example"] = true }
local methods = { GET = ngx.HTTP_GET, POST = ngx.HTTP_POST }
-- Of the answer's head, what is not written by nginx or made wrong by the edit.
local dropped = { ["content-length"] = true, ["connection"] = true, ["transfer-encoding"] = true, ["etag"] = true }
local M = {}

local function deny(reason, code)
    ngx.status = 403
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.print(encode({ message = reason, errorCode = code }))
    return ngx.exit(403)
end

local function fail(status, why)
    log(ngx.ERR, why)
    return ngx.exit(status)
end

local function fetch()
    local answer = capture("/upstream" .. ngx.var.uri, {
        method = methods[req.get_method()], always_forward_body = true,
    })
    for name, value in pairs(answer.header) do
        if not dropped[name:lower()] then ngx.header[name] = value end
    end
    ngx.status = answer.status
    if answer.status ~= 200 then
        ngx.print(answer.body)
        return nil
    end
    if answer.truncated then return fail(502, "the answer was cut") end
    local ok, body = pcall(decode, answer.body)
    if not ok then return fail(502, "the answer is no JSON") end
    return body
end

local function write(body)
    local text = encode(body)
    ngx.header["Content-Length"] = #text
    ngx.print(text)
end

function M.login()
    req.read_body()
    local ok, sent = pcall(decode, req.get_body_data())
    if not ok or type(sent.username) ~= "string" then return fail(400, "the request is no login") end
    if disposable[sent.username:match("@(.*)$")] then
        return deny("Disposable addresses cannot sign in.", "DISPOSABLE_ADDRESS")
    end
    if sent.username == "blocked@example.com" then
        return deny("This account cannot sign in.", "BLOCKED_ACCOUNT")
    end
    local ticket = fetch()
    if not ticket then return end
    if ticket.jwtAccessToken then ngx.header["Authorization"] = "Bearer " .. ticket.jwtAccessToken end
    ticket.refreshToken = nil
    ticket.customerAccount.notes = nil
    if ticket.userId ~= "" then
        ticket.customerAccount.isAnonymous = false
        ticket.tier = "gold"
    end
    write(ticket)
end

function M.catalog()
    local items = fetch()
    if not items then return end
    items.internal = nil
    write(items)
end

return M
