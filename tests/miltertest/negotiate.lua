-- Every step Greylag decides by must come, in real time; and it asks for no action it never takes.
dofile("common.lua")

local conn = mt.connect(socket)
must("negotiate", mt.negotiate(conn, nil, nil, nil))

local needed = {
    SMFIP_NOCONNECT = SMFIP_NOCONNECT, SMFIP_NOHELO = SMFIP_NOHELO, SMFIP_NOMAIL = SMFIP_NOMAIL,
    SMFIP_NORCPT = SMFIP_NORCPT, SMFIP_NOHDRS = SMFIP_NOHDRS, SMFIP_NOEOH = SMFIP_NOEOH, SMFIP_NOBODY = SMFIP_NOBODY,
    SMFIP_NR_RCPT = SMFIP_NR_RCPT,
}
for name, option in pairs(needed) do
    if mt.test_option(conn, option) then
        fail(name .. " must not be negotiated")
    end
end

if not mt.test_action(conn, SMFIF_ADDHDRS) then
    fail("tags are headers, so SMFIF_ADDHDRS is needed")
end
local unused = {
    SMFIF_CHGBODY = SMFIF_CHGBODY, SMFIF_ADDRCPT = SMFIF_ADDRCPT, SMFIF_DELRCPT = SMFIF_DELRCPT,
}
for name, action in pairs(unused) do
    if mt.test_action(conn, action) then
        fail(name .. " is asked for and never used")
    end
end
mt.disconnect(conn)
