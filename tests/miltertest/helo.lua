-- The verdict on the HELO name is held until the recipient is known; each recipient is refused, postmaster is not.
dofile("common.lua")

for _, name in ipairs({ "127.0.0.1", "[192.168.1.1]", "localhost", "mon-serveur", "fakedomain.xyz" }) do
    local conn = greet(name)
    continues(conn, name .. ": mail", mt.mailfrom(conn, "<alice@sender.example>"))
    for _, recipient in ipairs({ "<bob@example.test>", "<carol@example.test>" }) do
        must("rcpt", mt.rcptto(conn, recipient))
        expect(conn, name .. ": rcpt " .. recipient, SMFIR_REPLYCODE)
    end
    continues(conn, name .. ": postmaster", mt.rcptto(conn, "<postmaster@example.test>"))
    mt.disconnect(conn)
end
