-- First try and early retry are deferred, the retry after min_delay (1 s) passes; another recipient needs no delay of its own.
dofile("common.lua")

local function try(recipient)
    local conn = greet(HELO)
    continues(conn, "mail", mt.mailfrom(conn, "<alice@sender.example>"))
    must("rcpt", mt.rcptto(conn, recipient))
    local reply = mt.getreply(conn)
    mt.disconnect(conn)
    return reply
end

local function check(what, got, expected)
    if got ~= expected then
        fail(string.format("%s: expected %q, got %q", what, string.char(expected), string.char(got)))
    end
end

check("first try", try("<bob@example.test>"), SMFIR_REPLYCODE)
check("early retry", try("<bob@example.test>"), SMFIR_REPLYCODE)
mt.sleep(1.2)
check("retry", try("<bob@example.test>"), SMFIR_CONTINUE)
check("another recipient", try("<carol@example.test>"), SMFIR_CONTINUE)
