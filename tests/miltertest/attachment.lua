-- A forbidden attachment refuses the message, and the session goes on.
dofile("common.lua")

local conn = greet(HELO)
continues(conn, "mail", mt.mailfrom(conn, "<alice@sender.example>"))
continues(conn, "rcpt", mt.rcptto(conn, "<bob@example.test>"))
content(conn, {
    { "From", "alice@sender.example" },
    { "MIME-Version", "1.0" },
    { "Content-Type", 'multipart/mixed; boundary="b"' },
}, '--b\r\nContent-Disposition: attachment; filename="evil.exe"\r\n\r\nMZ\r\n--b--\r\n')
expect(conn, "end of message", SMFIR_REPLYCODE)
local text = "Forbidden attachment: evil.exe - files of type exe are not accepted, remove it and send again"
if not mt.eom_check(conn, MT_SMTPREPLY, "554", "5.7.0", text) then
    fail("the reply is not 554 5.7.0 " .. text)
end

continues(conn, "mail", mt.mailfrom(conn, "<alice@sender.example>"))
continues(conn, "rcpt", mt.rcptto(conn, "<bob@example.test>"))
mt.disconnect(conn)
