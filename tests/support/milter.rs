//! The MTA's side of the milter protocol, written from the protocol and not from Greylag's code, and a server for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use greylag::driver::Driver;
use greylag::listener::Listener;
use greylag::milter::Limits;
use greylag::milter::server::{ListenerOptions, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No answer takes longer, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What Postfix and Sendmail offer.
pub(crate) const OFFER: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

const NO_BODY: u32 = 0x10;
const NO_HEADER: u32 = 0x20;
const NO_END_OF_HEADER: u32 = 0x40;
const NO_REPLY_HEADER: u32 = 0x80;
const NO_DATA: u32 = 0x200;
const NO_REPLY_CONNECT: u32 = 0x1000;
const NO_REPLY_HELO: u32 = 0x2000;
const NO_REPLY_MAIL: u32 = 0x4000;
const NO_REPLY_RCPT: u32 = 0x8000;
const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
const NO_REPLY_BODY: u32 = 0x8_0000;

/// A milter server in this process, on a free port of the loopback interface or on a UNIX socket.
pub(crate) struct Server {
    /// Where it listens; `None` on a UNIX socket.
    pub(crate) address: Option<SocketAddr>,
    /// Cancelled to let it drain.
    pub(crate) stop: CancellationToken,
    /// Ends when it has drained.
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn tcp(driver: Arc<Driver>, options: ListenerOptions) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::start(Listener::Tcp(listener), Some(address), driver, options)
    }

    pub(crate) fn unix(path: &Path, driver: Arc<Driver>, options: ListenerOptions) -> Self {
        Self::start(Listener::Unix(UnixListener::bind(path).unwrap()), None, driver, options)
    }

    fn start(
        listener: Listener,
        address: Option<SocketAddr>,
        driver: Arc<Driver>,
        options: ListenerOptions,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, driver, options, stop.clone()));
        Self { address, stop, task }
    }

    /// An MTA's connection to it, over TCP.
    pub(crate) async fn mta(&self) -> Mta {
        Mta::tcp(self.address.expect("the server listens on TCP")).await
    }

    /// An MTA's connection to it that has negotiated as Postfix and Sendmail do.
    pub(crate) async fn negotiated(&self) -> Mta {
        let mut mta = self.mta().await;
        mta.negotiate(OFFER).await;
        mta
    }
}

/// Options of a listener named `test` with room for many connections.
pub(crate) fn options() -> ListenerOptions {
    ListenerOptions {
        name: "test".into(),
        limits: Limits::default(),
        connections: Arc::new(Semaphore::new(1000)),
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) version: u32,
    pub(crate) actions: u32,
    pub(crate) protocol: u32,
}

/// The filter's answer to the negotiation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) version: u32,
    pub(crate) actions: u32,
    pub(crate) protocol: u32,
    /// Stage numbers and names of macros.
    pub(crate) macro_lists: Vec<(u32, String)>,
}

/// A final reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Continue,
    /// To BODY: no more of it.
    Skip,
    /// The text of a REPLYCODE as the client would see it.
    Refuse(String),
}

impl Reply {
    /// The text of a refusal; empty otherwise.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Continue | Self::Skip => "",
            Self::Refuse(text) => text,
        }
    }
}

/// A change of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    HeaderInserted { index: u32, name: String, value: String },
    HeaderChanged { index: u32, name: String, value: String },
    Quarantined(String),
}

/// What the filter says at the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndOfMessage {
    pub(crate) changes: Vec<Change>,
    /// How often it said that it is still at work.
    pub(crate) progress: usize,
    pub(crate) reply: Reply,
}

impl EndOfMessage {
    /// Let through as it is.
    pub(crate) fn unchanged() -> Self {
        Self { changes: Vec::new(), progress: 0, reply: Reply::Continue }
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An MTA's connection to a milter.
pub(crate) struct Mta {
    wire: Box<dyn Wire>,
    agreed: Agreed,
}

impl Mta {
    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { wire: Box::new(stream), agreed: Agreed::default() }
    }

    pub(crate) async fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        Self { wire: Box::new(stream), agreed: Agreed::default() }
    }

    /// Sends bytes as they are.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).await.unwrap();
    }

    /// Sends one packet.
    pub(crate) async fn packet(&mut self, code: u8, payload: &[u8]) {
        self.bytes(&packet(code, payload)).await;
    }

    /// Reads one packet.
    pub(crate) async fn read_packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let length = self.wire.read_u32().await?;
            let mut packet = vec![0; length as usize];
            self.wire.read_exact(&mut packet).await?;
            Ok::<_, std::io::Error>((packet.remove(0), packet))
        };
        let packet = tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
        packet.expect("an answer before the connection ends")
    }

    /// Reads a final reply.
    pub(crate) async fn reply(&mut self) -> Reply {
        let (code, payload) = self.read_packet().await;
        reply(code, &payload)
    }

    /// Everything the filter still says until it closes the connection.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A filter that closes with input unread resets the connection; what it said before counts.
        let read = self.wire.read_to_end(&mut rest);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends in time");
        rest
    }

    /// Closes our side and reads what is left.
    pub(crate) async fn close(mut self) -> Vec<u8> {
        self.wire.shutdown().await.unwrap();
        self.rest().await
    }

    pub(crate) async fn negotiate(&mut self, offer: Offer) -> &Agreed {
        let numbers = [offer.version, offer.actions, offer.protocol].map(u32::to_be_bytes);
        self.packet(b'O', &numbers.concat()).await;
        let (code, payload) = self.read_packet().await;
        assert_eq!(code, b'O');
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let mut macro_lists = Vec::new();
        let mut at = 12;
        while at < payload.len() {
            let names = strings(&payload[at + 4..])[0].clone();
            macro_lists.push((number(at), names.clone()));
            at += 4 + names.len() + 1;
        }
        self.agreed = Agreed { version: number(0), actions: number(4), protocol: number(8), macro_lists };
        &self.agreed
    }

    /// Sends the macros that belong to the command `code`.
    pub(crate) async fn macros(&mut self, code: u8, macros: &[(&str, &str)]) {
        let mut payload = vec![code];
        for (name, value) in macros {
            payload.extend(cstrs([*name, *value]));
        }
        self.packet(b'D', &payload).await;
    }

    /// CONNECT from an Internet address.
    pub(crate) async fn connect(&mut self, name: &str, client: SocketAddr) -> Reply {
        let family = if client.is_ipv4() { b'4' } else { b'6' };
        let address = client.ip().to_string();
        let payload =
            [&cstrs([name])[..], &[family], &client.port().to_be_bytes(), &cstrs([&*address])].concat();
        self.packet(b'C', &payload).await;
        self.reply_unless(NO_REPLY_CONNECT).await
    }

    pub(crate) async fn helo(&mut self, name: &str) -> Reply {
        self.packet(b'H', &cstrs([name])).await;
        self.reply_unless(NO_REPLY_HELO).await
    }

    /// MAIL with the path as the client types it, with angle brackets.
    pub(crate) async fn mail(&mut self, path: &str) -> Reply {
        self.packet(b'M', &cstrs([path])).await;
        self.reply_unless(NO_REPLY_MAIL).await
    }

    /// RCPT with the path as the client types it, with angle brackets.
    pub(crate) async fn rcpt(&mut self, path: &str) -> Reply {
        self.packet(b'R', &cstrs([path])).await;
        self.reply_unless(NO_REPLY_RCPT).await
    }

    pub(crate) async fn data(&mut self) -> Reply {
        if self.sends(NO_DATA) {
            self.packet(b'T', b"").await;
            return self.reply().await;
        }
        Reply::Continue
    }

    pub(crate) async fn unknown(&mut self, line: &str) -> Reply {
        self.packet(b'U', &cstrs([line])).await;
        self.reply().await
    }

    /// One header field; `Continue` where no reply is due.
    pub(crate) async fn header(&mut self, name: &str, value: &str) -> Reply {
        if !self.sends(NO_HEADER) {
            return Reply::Continue;
        }
        self.packet(b'L', &cstrs([name, value])).await;
        self.reply_unless(NO_REPLY_HEADER).await
    }

    pub(crate) async fn end_of_header(&mut self) -> Reply {
        if !self.sends(NO_END_OF_HEADER) {
            return Reply::Continue;
        }
        self.packet(b'N', b"").await;
        self.reply_unless(NO_REPLY_END_OF_HEADER).await
    }

    /// A piece of the body, at most 65535 bytes.
    pub(crate) async fn body(&mut self, chunk: &[u8]) -> Reply {
        if !self.sends(NO_BODY) {
            return Reply::Continue;
        }
        self.packet(b'B', chunk).await;
        self.reply_unless(NO_REPLY_BODY).await
    }

    pub(crate) async fn end_of_message(&mut self) -> EndOfMessage {
        self.packet(b'E', b"").await;
        let mut changes = Vec::new();
        let mut progress = 0;
        loop {
            let (code, payload) = self.read_packet().await;
            let index = || u32::from_be_bytes(payload[..4].try_into().unwrap());
            let field = || <[String; 2]>::try_from(strings(&payload[4..])).expect("a name and a value");
            match code {
                b'p' => progress += 1,
                b'q' => changes.push(Change::Quarantined(strings(&payload)[0].clone())),
                b'i' => {
                    let [name, value] = field();
                    changes.push(Change::HeaderInserted { index: index(), name, value });
                }
                b'm' => {
                    let [name, value] = field();
                    changes.push(Change::HeaderChanged { index: index(), name, value });
                }
                code => return EndOfMessage { changes, progress, reply: reply(code, &payload) },
            }
        }
    }

    /// Sends the content of a message, `Name: value` lines, an empty line and a body, with CRLF line ends.
    pub(crate) async fn content(&mut self, message: &str) -> EndOfMessage {
        let (header, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        for field in unfolded(header) {
            let (name, value) = field.split_once(':').expect("a header field");
            let value = value.strip_prefix(' ').unwrap_or(value);
            assert_eq!(self.header(name, value).await, Reply::Continue);
        }
        assert_eq!(self.end_of_header().await, Reply::Continue);
        for chunk in body.as_bytes().chunks(65535) {
            match self.body(chunk).await {
                Reply::Continue => {}
                Reply::Skip => break,
                refused @ Reply::Refuse(_) => panic!("the body is refused before its end: {refused:?}"),
            }
        }
        self.end_of_message().await
    }

    pub(crate) async fn abort(&mut self) {
        self.packet(b'A', b"").await;
    }

    /// QUIT; nothing may be said any more.
    pub(crate) async fn quit(mut self) {
        self.packet(b'Q', b"").await;
        assert_eq!(self.rest().await, b"");
    }

    fn sends(&self, not_sent: u32) -> bool {
        self.agreed.protocol & not_sent == 0
    }

    async fn reply_unless(&mut self, no_reply: u32) -> Reply {
        if self.agreed.protocol & no_reply == 0 { self.reply().await } else { Reply::Continue }
    }
}

/// One packet as bytes.
pub(crate) fn packet(code: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes(), &[code][..], payload].concat()
}

/// The strings, each ended by a NUL.
pub(crate) fn cstrs<'a>(strings: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    strings.into_iter().flat_map(|string| string.bytes().chain([0])).collect()
}

fn strings(payload: &[u8]) -> Vec<String> {
    let payload = std::str::from_utf8(payload).expect("replies are text");
    payload.split_terminator('\0').map(str::to_owned).collect()
}

/// The reply of a packet, as strict as Postfix reads it.
fn reply(code: u8, payload: &[u8]) -> Reply {
    match code {
        b'c' => {
            assert_eq!(payload, b"", "CONTINUE has no payload");
            Reply::Continue
        }
        b's' => {
            assert_eq!(payload, b"", "SKIP has no payload");
            Reply::Skip
        }
        b'y' => {
            let (text, nul) = payload.split_at(payload.len() - 1);
            assert_eq!(nul, b"\0", "a reply ends in NUL");
            let text = std::str::from_utf8(text).expect("a reply is text");
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?} is one line of ASCII");
            assert!(
                matches!(text.as_bytes()[0], b'4' | b'5') && text.as_bytes()[0] == text.as_bytes()[4],
                "{text}"
            );
            assert!(!text.replace("%%", "").contains('%'), "{text:?} is a format string");
            Reply::Refuse(text.replace("%%", "%"))
        }
        code => panic!("unexpected reply {:?} {payload:?}", char::from(code)),
    }
}

fn unfolded(header: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in header.split("\r\n").filter(|line| !line.is_empty()) {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => *field += &format!("\n{line}"),
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

/// Sends a packet, command and payload, that is not answered: an MTA of few words, without a runtime.
pub(crate) fn tell(mta: &mut std::net::TcpStream, packet: &[u8]) {
    let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
    mta.write_all(&[&length, packet].concat()).unwrap();
}

/// Sends a packet and returns the one that is answered.
pub(crate) fn ask(mta: &mut std::net::TcpStream, packet: &[u8]) -> Vec<u8> {
    tell(mta, packet);
    let mut length = [0; 4];
    mta.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    mta.read_exact(&mut answer).unwrap();
    answer
}
