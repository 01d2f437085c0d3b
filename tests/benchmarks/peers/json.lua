-- JSON in Lua alone, written for LuaJIT: what a user of Envoy's Lua filter brings along.
local byte, char, find, sub, format = string.byte, string.char, string.find, string.sub, string.format
local concat, tonumber = table.concat, tonumber
local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ["/"] = "/", ["\\"] = "\\", ['"'] = '"' }
local value

local function utf8(code)
    if code < 0x80 then return char(code) end
    if code < 0x800 then return char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then
        return char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    return char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
        0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local function unescape(text)
    text = text:gsub("\\\\", "\\u005c")
    text = text:gsub("\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", function(high, low)
        return utf8(0x10000 + (tonumber(high, 16) - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00)
    end)
    text = text:gsub("\\u(%x%x%x%x)", function(code)
        -- A backslash of its own making would be read again below.
        return code:lower() == "005c" and "\\\\" or utf8(tonumber(code, 16))
    end)
    return (text:gsub("\\(.)", function(letter) return escapes[letter] or error("escape") end))
end

local function text(data, at)
    -- Plain searches: LuaJIT compiles these, and not those by pattern.
    local last = find(data, '"', at + 1, true) or error("a text has no end")
    local piece = sub(data, at + 1, last - 1)
    if not find(piece, "\\", 1, true) then return piece, last + 1 end
    local from = at + 1
    while true do
        local slashes = 0
        while byte(data, last - 1 - slashes) == 92 do slashes = slashes + 1 end
        if slashes % 2 == 0 then return unescape(sub(data, from, last - 1)), last + 1 end
        last = find(data, '"', last + 1, true) or error("a text has no end")
    end
end

local function skip(data, at)
    local mark = byte(data, at)
    while mark == 32 or mark == 10 or mark == 13 or mark == 9 do
        at = at + 1
        mark = byte(data, at)
    end
    return at
end

local function object(data, at)
    local made, key = {}, nil
    at = skip(data, at + 1)
    if byte(data, at) == 125 then return made, at + 1 end
    while true do
        if byte(data, at) ~= 34 then error("a name is missing") end
        key, at = text(data, at)
        at = skip(data, at)
        if byte(data, at) ~= 58 then error("a colon is missing") end
        made[key], at = value(data, skip(data, at + 1))
        at = skip(data, at)
        local mark = byte(data, at)
        if mark == 125 then return made, at + 1 end
        if mark ~= 44 then error("a comma is missing") end
        at = skip(data, at + 1)
    end
end

local function array(data, at)
    local made, count = {}, 0
    at = skip(data, at + 1)
    if byte(data, at) == 93 then return made, at + 1 end
    while true do
        count = count + 1
        made[count], at = value(data, at)
        at = skip(data, at)
        local mark = byte(data, at)
        if mark == 93 then return made, at + 1 end
        if mark ~= 44 then error("a comma is missing") end
        at = skip(data, at + 1)
    end
end

local null = setmetatable({}, { __tostring = function() return "null" end })

function value(data, at)
    local mark = byte(data, at)
    if mark == 34 then return text(data, at) end
    if mark == 123 then return object(data, at) end
    if mark == 91 then return array(data, at) end
    if mark == 116 and sub(data, at, at + 3) == "true" then return true, at + 4 end
    if mark == 102 and sub(data, at, at + 4) == "false" then return false, at + 5 end
    if mark == 110 and sub(data, at, at + 3) == "null" then return null, at + 4 end
    local _, last = find(data, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    if not last then error("no value") end
    return tonumber(sub(data, at, last)), last + 1
end

function decode(data)
    local found, at = value(data, skip(data, 1))
    if skip(data, at) <= #data then error("more than one value") end
    return found
end

local function quoted(piece)
    if find(piece, '[%c"\\]') then
        piece = piece:gsub('[%c"\\]', function(letter)
            return (letter == '"' or letter == "\\") and "\\" .. letter or format("\\u%04x", byte(letter))
        end)
    end
    return '"' .. piece .. '"'
end

local function write(out, n, data)
    local kind = type(data)
    if kind == "string" then
        out[n] = quoted(data)
    elseif kind == "number" then
        out[n] = format("%.14g", data)
    elseif kind ~= "table" or data == null then
        out[n] = tostring(data)
    elseif data[1] ~= nil then
        out[n] = "["
        for index = 1, #data do
            if index > 1 then
                n = n + 1
                out[n] = ","
            end
            n = write(out, n + 1, data[index])
        end
        n = n + 1
        out[n] = "]"
    else
        local mark = "{"
        for key, inner in pairs(data) do
            out[n] = mark
            out[n + 1] = quoted(key)
            out[n + 2] = ":"
            n = write(out, n + 3, inner) + 1
            mark = ","
        end
        if mark == "{" then
            out[n] = "{"
            n = n + 1
        end
        out[n] = "}"
    end
    return n
end

function encode(data)
    local out = {}
    write(out, 1, data)
    return concat(out)
end
