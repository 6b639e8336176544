-- Two clean messages in one session, with an aborted one between: nothing is accepted before its end.
dofile("common.lua")

local conn = greet(HELO)
local headers = { { "From", "alice@sender.example" }, { "To", "bob@example.test" }, { "Subject", "hello" } }

for n = 1, 2 do
    continues(conn, "mail", mt.mailfrom(conn, "<alice@sender.example>"))
    continues(conn, "rcpt", mt.rcptto(conn, "<bob@example.test>"))
    continues(conn, "rcpt", mt.rcptto(conn, "<carol@example.test>"))
    content(conn, headers, "Hello\r\n")
    local verdict = mt.getreply(conn)
    if verdict ~= SMFIR_ACCEPT and verdict ~= SMFIR_CONTINUE then
        fail(string.format("message %d: got %q", n, string.char(verdict)))
    end
    if mt.eom_check(conn, MT_HDRADD) or mt.eom_check(conn, MT_HDRINSERT, "X-Greylag") or mt.eom_check(conn, MT_QUARANTINE) then
        fail("a clean message is tagged")
    end

    continues(conn, "mail", mt.mailfrom(conn, "<aborted@sender.example>"))
    continues(conn, "rcpt", mt.rcptto(conn, "<bob@example.test>"))
    must("abort", mt.abort(conn))
end
mt.disconnect(conn)
