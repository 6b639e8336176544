-- Steps that every script takes. `socket` comes from the command line (-D socket=inet:PORT@HOST).

CLIENT = "198.51.100.10"
HELO = "mail.sender.example"


-- Ends the script; miltertest itself does not say why one failed.
function fail(why)
    mt.echo(why)
    error(why)
end

function must(step, err)
    if err ~= nil then
        fail(step .. ": " .. err)
    end
end

function expect(conn, step, reply)
    local got = mt.getreply(conn)
    if got ~= reply then
        fail(string.format("%s: expected %q, got %q", step, string.char(reply), string.char(got)))
    end
end

-- A step that is to be answered with "continue".
function continues(conn, step, err)
    must(step, err)
    expect(conn, step, SMFIR_CONTINUE)
end

-- Connects as a client of another network and greets.
function greet(name)
    local conn = mt.connect(socket)
    if conn == nil then
        fail("cannot connect to " .. socket)
    end
    must("negotiate", mt.negotiate(conn, nil, nil, nil))
    mt.macro(conn, SMFIC_CONNECT, "j", "mx.example.test", "v", "Postfix 3.7.11")
    must("connect", mt.conninfo(conn, "unknown", CLIENT))
    must("helo", mt.helo(conn, name))
    return conn
end

-- Sends header and body and ends the message; the verdict is left to be looked at.
function content(conn, headers, body)
    if not mt.test_option(conn, SMFIP_NODATA) then
        continues(conn, "data", mt.data(conn))
    end
    for _, header in ipairs(headers) do
        must("header", mt.header(conn, header[1], header[2]))
    end
    if not mt.test_option(conn, SMFIP_NOEOH) then
        must("eoh", mt.eoh(conn))
    end
    must("body", mt.bodystring(conn, body))
    must("end of message", mt.eom(conn))
end
