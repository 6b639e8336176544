-- Every step Greylag decides by must come and be waited for, no other; and it asks for no action it never takes.
dofile("common.lua")

local conn = mt.connect(socket)
must("negotiate", mt.negotiate(conn, nil, nil, nil))

local needed = {
    SMFIP_NOCONNECT = SMFIP_NOCONNECT, SMFIP_NOHELO = SMFIP_NOHELO, SMFIP_NOMAIL = SMFIP_NOMAIL,
    SMFIP_NORCPT = SMFIP_NORCPT, SMFIP_NOHDRS = SMFIP_NOHDRS, SMFIP_NODATA = SMFIP_NODATA, SMFIP_NOBODY = SMFIP_NOBODY,
    SMFIP_NR_MAIL = SMFIP_NR_MAIL, SMFIP_NR_RCPT = SMFIP_NR_RCPT, SMFIP_NR_DATA = SMFIP_NR_DATA,
}
for name, option in pairs(needed) do
    if mt.test_option(conn, option) then
        fail(name .. " must not be negotiated")
    end
end

local silent = {
    SMFIP_NR_CONN = SMFIP_NR_CONN, SMFIP_NR_HELO = SMFIP_NR_HELO, SMFIP_NR_HDR = SMFIP_NR_HDR, SMFIP_NR_BODY = SMFIP_NR_BODY,
    SMFIP_NOEOH = SMFIP_NOEOH, SMFIP_NOUNKNOWN = SMFIP_NOUNKNOWN,
}
for name, option in pairs(silent) do
    if not mt.test_option(conn, option) then
        fail(name .. " must be negotiated: nothing is said there")
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
