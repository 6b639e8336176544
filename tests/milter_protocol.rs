//! The milter server on real sockets: recorded sessions of Postfix and Sendmail, broken input, and the life of
//! connections.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greylag::milter::server::ListenerOptions;
use greylag::milter::{Limits, MessageMemory};
use greylag::reason::Check;
use greylag::telemetry::TraceQuery;
use serde_json::json;
use support::milter::{Agreed, EndOfMessage, Mta, OFFER, Offer, Reply, Server, cstrs, options, packet};
use support::{accepting_driver, driver_of, driver_with_checks_off};
use tokio::sync::Semaphore;

const CLIENT: &str = "192.0.2.1:4242";

const CONTINUE: &[u8] = b"\0\0\0\x01c";

const MESSAGE: &str = "From: a@b.test\r\nSubject: hi\r\n there\r\n\r\nHello\r\n";

async fn server() -> Server {
    Server::tcp(accepting_driver(), options()).await
}

/// Takes a message from MAIL to the end of its content; everything is accepted.
async fn deliver(mta: &mut Mta) {
    assert_eq!(mta.mail("<a@b.test>").await, Reply::Continue);
    assert_eq!(mta.rcpt("<bob@example.test>").await, Reply::Continue);
    assert_eq!(mta.data().await, Reply::Continue);
    assert_eq!(mta.content(MESSAGE).await, EndOfMessage::unchanged());
}

/// CONNECT and HELO of an ordinary client.
async fn greet(mta: &mut Mta) {
    assert_eq!(mta.connect("[192.0.2.1]", CLIENT.parse().unwrap()).await, Reply::Continue);
    assert_eq!(mta.helo("mail.example.org").await, Reply::Continue);
}

/// A session recorded from Postfix 3.7.11, packet by packet, and how many bare CONTINUE follow each.
fn postfix_session() -> Vec<(&'static [u8], usize)> {
    vec![
        (
            b"\0\0\0\x71DCj\0mx.example.test\0{daemon_name}\0mx.example.test\0{daemon_addr}\x00127.0.0.1\0\
              v\0Postfix 3.7.11\0_\0unknown [127.0.0.1]\0",
            0,
        ),
        (b"\0\0\0\x1aC[127.0.0.1]\x004\xb8\x3c127.0.0.1\0", 0),
        (b"\0\0\0\x02DH", 0),
        (b"\0\0\0\x08Hc.test\0", 0),
        (b"\0\0\0\x40DM{mail_addr}\0a@b.test\0{mail_host}\0b.test\0{mail_mailer}\0discard\0", 0),
        (b"\0\0\0\x14M<a@b.test>\0SIZE=40\0", 1),
        (
            b"\0\0\0\x50DR{rcpt_addr}\0bob@example.test\0{rcpt_host}\0[127.0.0.1]:18826\0\
              {rcpt_mailer}\0smtp\0",
            0,
        ),
        (b"\0\0\0\x14R<bob@example.test>\0", 1),
        (b"\0\0\0\x10DTi\x006283C9913D7\0", 0),
        (b"\0\0\0\x01T", 1),
        (b"\0\0\0\x10DLi\x006283C9913D7\0", 0),
        (b"\0\0\0\x0fLFrom\0a@b.test\0", 0),
        (b"\0\0\0\x10DLi\x006283C9913D7\0", 0),
        (b"\0\0\0\x13LSubject\0hi\n there\0", 0),
        (b"\0\0\0\x10DLi\x006283C9913D7\0", 0),
        (b"\0\0\0\x25LDate\0Mon, 1 Jan 2024 00:00:00 +0000\0", 0),
        (b"\0\0\0\x10DLi\x006283C9913D7\0", 0),
        (b"\0\0\0\x12LMessage-Id\0<1@x>\0", 0),
        (b"\0\0\0\x10DNi\x006283C9913D7\0", 0),
        (b"\0\0\0\x01N", 0),
        (b"\0\0\0\x10DBi\x006283C9913D7\0", 0),
        (b"\0\0\0\x08BHello\r\n", 0),
        (b"\0\0\0\x10DEi\x006283C9913D7\0", 0),
        (b"\0\0\0\x01E", 1),
        (b"\0\0\0\x01A", 0),
        (b"\0\0\0\x01A", 0),
        (b"\0\0\0\x01Q", 0),
    ]
}

/// A session recorded from Sendmail 8.17.1.9.
fn sendmail_session() -> Vec<(&'static [u8], usize)> {
    vec![
        (
            b"\0\0\0\x52DCj\0sm.example.test\0_\0localhost [127.0.0.1]\0{daemon_name}\0MTA\0\
              {if_name}\0localhost\0",
            0,
        ),
        (b"\0\0\0\x18Clocalhost\x004\x9e\xfc127.0.0.1\0", 0),
        (b"\0\0\0\x0cUFOOBAR x y\0", 1),
        (b"\0\0\0\x02DH", 0),
        (b"\0\0\0\x08Hc.test\0", 0),
        (
            b"\0\0\0\x4fDMi\x006AN3L9f2010853\0{mail_mailer}\0esmtp\0{mail_host}\0[127.0.0.1]\0\
              {mail_addr}\0a@b\0",
            0,
        ),
        (b"\0\0\0\x07M<a@b>\0", 1),
        (
            b"\0\0\0\x4bDR{rcpt_mailer}\0esmtp\0{rcpt_host}\0[127.0.0.1]\0\
              {rcpt_addr}\0bob@example.test\0",
            0,
        ),
        (b"\0\0\0\x14R<bob@example.test>\0", 1),
        (b"\0\0\0\x01T", 1),
        (b"\0\0\0\x0aLFrom\0a@b\0", 0),
        (b"\0\0\0\x0bLSubject\0s\0", 0),
        (b"\0\0\0\x01N", 0),
        (b"\0\0\0\x07Bbody\r\n", 0),
        (b"\0\0\0\x11DE{msg_id}\0<1@x>\0", 0),
        (b"\0\0\0\x01E", 1),
        (b"\0\0\0\x01Q", 0),
    ]
}

#[tokio::test]
async fn recorded_sessions_get_the_answers_the_mtas_wait_for() {
    let server = server().await;
    for session in [postfix_session(), sendmail_session()] {
        let mut mta = server.negotiated().await;
        for (packet, replies) in session {
            mta.bytes(packet).await;
            for _ in 0..replies {
                assert_eq!(mta.reply().await, Reply::Continue, "{}", packet.escape_ascii());
            }
        }
        assert_eq!(mta.rest().await, b"", "an answer too many");
    }
}

#[tokio::test]
async fn every_command_is_answered_where_no_reply_flags_are_offered() {
    let server = server().await;
    let mut mta = server.mta().await;
    let agreed = mta.negotiate(Offer { version: 4, actions: 0x1ff, protocol: 0x37f }).await;
    assert_eq!((agreed.version, agreed.actions, agreed.protocol), (4, 0x131, 0x140));
    for (packet, replies) in postfix_session() {
        mta.bytes(packet).await;
        let replies = if matches!(packet[4], b'C' | b'H' | b'L' | b'N' | b'B') { 1 } else { replies };
        for _ in 0..replies {
            assert_eq!(mta.reply().await, Reply::Continue, "{}", packet.escape_ascii());
        }
    }
    assert_eq!(mta.rest().await, b"");
}

#[tokio::test]
async fn negotiation_names_the_macros_where_that_is_offered() {
    let server = server().await;
    let list = |stage: u32, names: &str| (stage, names.to_owned());
    let expected = Agreed {
        version: 6,
        actions: 0x131,
        protocol: 0x1c_31c0,
        macro_lists: vec![
            list(0, "j _ v {daemon_addr} {daemon_port} {client_resolve} {if_addr}"),
            list(1, "{tls_version}"),
            list(2, "i {auth_authen} {mail_addr}"),
            list(3, "i {rcpt_addr}"),
            list(4, "i"),
            list(5, "i"),
            list(6, "i"),
        ],
    };
    assert_eq!(server.mta().await.negotiate(OFFER).await, &expected);

    // The go-milter client.
    let mut mta = server.mta().await;
    let agreed = mta.negotiate(Offer { version: 6, actions: 0x57, protocol: 0 }).await;
    let expected = Agreed { version: 6, actions: 0x11, protocol: 0, macro_lists: Vec::new() };
    assert_eq!(agreed, &expected);
}

#[tokio::test]
async fn packets_may_be_split_at_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("milter.sock");
    let server = Server::unix(&path, accepting_driver(), options());
    let offer = packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
    let wire: Vec<u8> =
        offer.into_iter().chain(postfix_session().iter().flat_map(|(packet, _)| packet.to_vec())).collect();

    let mut expected = Mta::unix(&path).await;
    expected.bytes(&wire).await;
    let expected = expected.rest().await;
    assert!(expected.ends_with(&CONTINUE.repeat(4)), "{}", expected.escape_ascii());

    for split in 1..wire.len() {
        let mut mta = Mta::unix(&path).await;
        mta.bytes(&wire[..split]).await;
        tokio::task::yield_now().await;
        mta.bytes(&wire[split..]).await;
        assert_eq!(mta.rest().await, expected, "split after {split} bytes");
    }

    let mut mta = Mta::unix(&path).await;
    for byte in wire {
        mta.bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(mta.rest().await, expected, "byte by byte");
    drop(server);
}

#[tokio::test]
async fn what_is_no_milter_protocol_is_closed_without_an_answer() {
    let server = server().await;
    for (what, bytes) in [
        ("length 0", b"\0\0\0\0".to_vec()),
        ("length 4 GiB", b"\xff\xff\xff\xffO".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
        ("unknown command", packet(b'?', b"")),
        ("short offer", packet(b'O', b"\0\0\0\x06")),
        ("version 1", packet(b'O', b"\0\0\0\x01\0\0\0\x0f\0\0\0\x3f")),
        ("CONNECT before negotiation", packet(b'C', b"h\0U")),
    ] {
        let mut mta = server.mta().await;
        mta.bytes(&bytes).await;
        assert_eq!(mta.rest().await, b"", "{what}");
    }
}

#[tokio::test]
async fn a_protocol_error_closes_its_connection_only() {
    let server = server().await;
    let mut healthy = server.negotiated().await;
    greet(&mut healthy).await;
    for (what, packets) in [
        ("two negotiations", vec![packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")]),
        ("content without MAIL", vec![packet(b'E', b"")]),
        ("HELO without NUL", vec![packet(b'H', b"c.test")]),
        ("RCPT without MAIL", vec![packet(b'R', &cstrs(["<bob@example.test>"]))]),
    ] {
        let mut mta = server.negotiated().await;
        greet(&mut mta).await;
        for packet in packets {
            mta.bytes(&packet).await;
        }
        assert_eq!(mta.rest().await, b"", "{what}");
    }
    deliver(&mut healthy).await;
    healthy.quit().await;
}

#[tokio::test]
async fn a_truncated_packet_gets_no_answer() {
    let server = server().await;
    let helo = packet(b'H', &cstrs(["c.test"]));
    for length in 0..helo.len() {
        let mut mta = server.negotiated().await;
        mta.connect("[192.0.2.1]", CLIENT.parse().unwrap()).await;
        mta.bytes(&helo[..length]).await;
        assert_eq!(mta.close().await, b"", "{length} bytes");
    }
}

#[tokio::test]
async fn one_connection_carries_several_messages() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    for _ in 0..3 {
        // Postfix: ABORT after each message, also an accepted one.
        deliver(&mut mta).await;
        mta.abort().await;
        mta.abort().await;
    }
    for _ in 0..3 {
        // Sendmail: none.
        deliver(&mut mta).await;
    }
    mta.quit().await;
}

#[tokio::test]
async fn messages_may_be_given_up_anywhere() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    for steps in 1..=5 {
        mta.mail("<a@b.test>").await;
        if steps > 1 {
            mta.rcpt("<bob@example.test>").await;
        }
        if steps > 2 {
            mta.data().await;
        }
        if steps > 3 {
            mta.header("Subject", "hi").await;
        }
        if steps > 4 {
            mta.body(b"Hel").await;
        }
        mta.abort().await;
        deliver(&mut mta).await;
    }
    mta.mail("<a@b.test>").await;
    mta.quit().await;
}

#[tokio::test]
async fn helo_may_come_again_anywhere() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    // STARTTLS.
    mta.abort().await;
    mta.macros(b'H', &[("{tls_version}", "TLSv1.3"), ("{cipher}", "TLS_AES_256_GCM_SHA384")]).await;
    assert_eq!(mta.helo("mail.example.org").await, Reply::Continue);
    // In a message; Postfix sends its ABORT after it.
    mta.mail("<a@b.test>").await;
    mta.rcpt("<bob@example.test>").await;
    assert_eq!(mta.helo("mail.example.org").await, Reply::Continue);
    mta.abort().await;
    deliver(&mut mta).await;
    mta.quit().await;
}

#[tokio::test]
async fn clients_without_helo_unknown_commands_and_odd_macros_are_answered() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    assert_eq!(mta.unknown("FOOBAR").await, Reply::Continue);
    mta.packet(b'D', b"").await;
    mta.packet(b'D', b"\xff").await;
    mta.packet(b'D', b"Cj").await;
    mta.packet(b'D', b"Cj\0mx.test\0odd\0").await;
    mta.packet(b'C', b"unknown\x004\0\0unknown\0").await;
    mta.mail("<a@b.test>").await;
    assert_eq!(mta.unknown("FOOBAR x y").await, Reply::Continue);
    mta.rcpt("<bob@example.test>").await;
    // A last piece of the body in the end of the message.
    mta.header("Subject", "hi").await;
    mta.packet(b'E', b"Hello\r\n").await;
    assert_eq!(mta.reply().await, Reply::Continue);
    mta.quit().await;
}

#[tokio::test]
async fn quit_nc_lets_another_client_use_the_connection() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    for _ in 0..2 {
        greet(&mut mta).await;
        deliver(&mut mta).await;
        mta.packet(b'K', b"").await;
    }
    mta.quit().await;
}

#[tokio::test]
async fn a_large_body_arrives_in_pieces() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    mta.mail("<a@b.test>").await;
    mta.rcpt("<bob@example.test>").await;
    mta.data().await;
    let message = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(300_000));
    assert_eq!(mta.content(&message).await, EndOfMessage::unchanged());
    mta.quit().await;
}

/// What is answered to a message too large to be kept, for a recipient with every check off and for one whose attachments are
/// looked into.
#[tokio::test]
async fn a_message_too_large_to_keep_is_deferred_where_its_body_is_read() {
    let scope =
        "[[scope]]\nname = \"read\"\nrecipient = [\"@read.test\"]\nset.attachments.mode = \"enforce\"\n";
    let driver = driver_with_checks_off(scope);
    let limits = Limits { message_bytes: 200_000, ..Limits::default() };
    let server = Server::tcp(Arc::clone(&driver), ListenerOptions { limits, ..options() }).await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    let large = format!("Subject: large\r\n\r\n{}", "x\r\n".repeat(70_000));
    mta.mail("<a@b.test>").await;
    mta.rcpt("<bob@example.test>").await;
    assert_eq!(mta.content(&large).await, EndOfMessage::unchanged());

    mta.mail("<a@b.test>").await;
    mta.rcpt("<bob@read.test>").await;
    let reply = "451 4.3.4 Message too large to be checked now, try again later";
    assert_eq!(mta.content(&large).await.reply.text(), reply);
    let [mail] = driver.trace().find(&TraceQuery { last: 1, ..TraceQuery::default() }).try_into().unwrap();
    let logged = &mail.steps.last().unwrap().decision;
    let said = ["stage", "action", "reason", "reply"].map(|key| logged[key].as_str().unwrap_or_default());
    assert_eq!(said, ["end_of_message", "defer", "content.too_large", reply]);
    assert_eq!(logged["recipients"], json!(["bob@read.test"]));
    deliver(&mut mta).await;
    mta.quit().await;
}

/// What is answered where every check only watches: to a message that is too large by its body, and to one that finds no room at all.
#[tokio::test]
async fn monitor_mode_changes_nothing_of_a_message_too_large_to_keep() {
    let file = |check: Check| (format!("{}.toml", check.name()), "mode = \"monitor\"\n".to_owned());
    let large = format!("X-Greylag: tag\r\nSubject: large\r\n\r\n{}", "x\r\n".repeat(80_000));
    for (message_bytes, all) in [(100 << 10, 100 << 20), (100 << 10, 0)] {
        let driver = driver_of(Check::ALL.map(file).into());
        let limits = Limits { message_bytes, memory: MessageMemory::new(all) };
        let server = Server::tcp(Arc::clone(&driver), ListenerOptions { limits, ..options() }).await;
        let mut mta = server.negotiated().await;
        greet(&mut mta).await;
        mta.mail("<a@b.test>").await;
        mta.rcpt("<bob@example.test>").await;
        mta.data().await;
        assert_eq!(mta.content(&large).await, EndOfMessage::unchanged(), "{all}");
        let [mail] =
            driver.trace().find(&TraceQuery { last: 1, ..TraceQuery::default() }).try_into().unwrap();
        let logged = &mail.steps.last().unwrap().decision;
        assert_eq!(
            (&logged["stage"], &logged["action"]),
            (&json!("end_of_message"), &json!("accept")),
            "{all}"
        );
        let finding = json!({
            "check": "content",
            "reason": "content.too_large",
            "action": "defer",
            "mode": "monitor",
            "detail": "",
        });
        assert_eq!(logged["findings"], json!([finding]), "{all}");
        mta.quit().await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let connections = Arc::new(Semaphore::new(1));
    let server = Server::tcp(accepting_driver(), ListenerOptions { connections, ..options() }).await;
    let first = server.negotiated().await;
    let mut second = server.mta().await;
    let waiting = tokio::time::timeout(Duration::from_millis(100), second.negotiate(OFFER)).await;
    assert!(waiting.is_err(), "it is not served yet");
    first.quit().await;
    let (code, _) = second.read_packet().await;
    assert_eq!(code, b'O', "its offer was waiting");
}

#[tokio::test]
async fn draining_lets_open_connections_end() {
    let server = server().await;
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    server.stop.cancel();
    deliver(&mut mta).await;
    assert!(!server.task.is_finished());
    let refused = async {
        while tokio::net::TcpStream::connect(server.address.unwrap()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("no new connections");
    mta.quit().await;
    tokio::time::timeout(Duration::from_secs(10), server.task).await.expect("it has drained").unwrap();
}

#[tokio::test]
async fn health_checks_are_quiet_and_protocol_errors_are_logged_once() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.subscriber());
    let server = server().await;

    assert_eq!(server.mta().await.close().await, b"");
    let mut mta = server.negotiated().await;
    greet(&mut mta).await;
    deliver(&mut mta).await;
    assert_eq!(mta.close().await, b"", "end of file instead of QUIT");
    let beside_decisions: Vec<String> =
        log.take().into_iter().filter(|line| !line.contains(" greylag::decision: ")).collect();
    assert_eq!(beside_decisions, Vec::<String>::new());

    let mut mta = server.mta().await;
    mta.bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    mta.rest().await;
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in
        ["WARN", "milter protocol error", "listener=\"test\"", "peer=\"127.0.0.1:", "1195725856 bytes"]
    {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

/// OpenDKIM's own milter client; what it skips it fills in with defaults.
#[tokio::test]
async fn miltertest_agrees() {
    const SCRIPT: &str = r#"
        conn = mt.connect("inet:" .. port .. "@127.0.0.1")
        function continues(step, failure)
            if failure ~= nil then error(step .. ": " .. failure) end
            if mt.getreply(conn) ~= SMFIR_CONTINUE then error(step .. ": not continued") end
        end
        if not mt.test_action(conn, SMFIF_ADDHDRS) then error("no ADDHDRS") end
        if not mt.test_option(conn, SMFIP_NR_BODY) then error("no NR_BODY") end
        if not mt.test_option(conn, SMFIP_NR_CONN) then error("no NR_CONN") end
        if not mt.test_option(conn, SMFIP_NOEOH) then error("no NOEOH") end
        if mt.conninfo(conn, "localhost", "127.0.0.1") ~= nil then error("connect") end
        if mt.helo(conn, "mail.example.org") ~= nil then error("helo") end
        for message = 1, 2 do
            mt.macro(conn, SMFIC_MAIL, "i", "A" .. message)
            continues("mail", mt.mailfrom(conn, "<a@b.test>", "SIZE=10"))
            continues("rcpt", mt.rcptto(conn, "<bob@example.test>"))
            continues("data", mt.data(conn))
            if mt.header(conn, "Subject", "hi") ~= nil then error("header") end
            if mt.bodyrandom(conn, 200000) ~= nil then error("body") end
            continues("eom", mt.eom(conn))
            if mt.eom_check(conn, MT_HDRADD) then error("a header was added") end
            mt.abort(conn)
        end
        mt.disconnect(conn)
    "#;
    let server = server().await;
    let port = server.address.unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.lua");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut miltertest = std::process::Command::new("miltertest");
    miltertest.arg("-D").arg(format!("port={port}")).arg("-s").arg(script);
    let output = tokio::task::spawn_blocking(move || miltertest.output()).await.unwrap();
    let output = output.expect("miltertest cannot be run: apt-get install miltertest");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Log lines above debug.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let log = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish()
    }

    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
