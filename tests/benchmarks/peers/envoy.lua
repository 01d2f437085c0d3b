-- The jobs in Lua, for Envoy's filter; it brings no JSON, so json.lua is put before this.
local disposable = { ["mailinator.com"] = true, ["trash.example"] = true }

local function content(handle)
    local body = handle:body()
    return body and body:getBytes(0, body:length()) or ""
end

local function deny(handle, reason, code)
    handle:respond(
        { [":status"] = "403", ["content-type"] = "application/json", ["cache-control"] = "no-store" },
        encode({ message = reason, errorCode = code })
    )
end

function login_request(handle)
    local ok, sent = pcall(decode, content(handle))
    if not ok or type(sent.username) ~= "string" then
        return handle:respond({ [":status"] = "400" }, "")
    end
    if disposable[sent.username:match("@(.*)$")] then
        return deny(handle, "Disposable addresses cannot sign in.", "DISPOSABLE_ADDRESS")
    end
    if sent.username == "blocked@example.com" then
        return deny(handle, "This account cannot sign in.", "BLOCKED_ACCOUNT")
    end
    handle:headers():replace("x-vol-site", "21074")
end

local function rewrite(handle, edit)
    if handle:headers():get(":status") ~= "200" then return end
    local ok, body = pcall(decode, content(handle))
    -- Reading the body yields, and what was taken of the handle before that is no longer good.
    local headers = handle:headers()
    if not ok then
        headers:replace(":status", "502")
        body = {}
    else
        edit(headers, body)
    end
    headers:remove("etag")
    headers:replace("content-length", handle:body():setBytes(encode(body)))
end

function login_response(handle)
    rewrite(handle, function(headers, ticket)
        if ticket.jwtAccessToken then headers:replace("authorization", "Bearer " .. ticket.jwtAccessToken) end
        ticket.refreshToken = nil
        ticket.customerAccount.notes = nil
        if ticket.userId ~= "" then
            ticket.customerAccount.isAnonymous = false
            ticket.tier = "gold"
        end
    end)
end

function catalog_response(handle)
    rewrite(handle, function(_, items) items.internal = nil end)
end
