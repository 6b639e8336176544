//! Servers that parse and answer, and do nothing else: the limit of this machine, by which Greylag is measured.
//!
//! They run in a process of their own (`--nothing`), as Greylag does, on the same runtime.

use std::io;
use std::process::{Child, Command, Stdio};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ports::{self, Ports};
use crate::postfix::{BODY, CONNECT, DATA, END_OF_HEADER, END_OF_MESSAGE, HEADER, HELO, MAIL, RCPT};

/// The process of both servers; ends when this value does.
pub(crate) struct Nothing {
    child: Child,
    pub(crate) ports: Ports,
}

impl Nothing {
    /// Starts them. `agreed` is the answer to OPTNEG, packet and all, so that the milter negotiates as Greylag does.
    pub(crate) fn start(agreed: &[u8]) -> Self {
        let ports = Ports::free();
        let program = std::env::current_exe().expect("the path of this program");
        let hex: String = agreed.iter().map(|byte| format!("{byte:02x}")).collect();
        let child = Command::new(program)
            .args(["--nothing", &ports.policy.to_string(), &ports.milter.to_string(), &hex])
            .stdin(Stdio::null())
            .spawn()
            .expect("this program starts again");
        ports::wait(ports.policy);
        ports::wait(ports.milter);
        Self { child, ports }
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(policy: u16, milter: u16, agreed: &str) -> io::Result<()> {
    let pairs = agreed.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    let agreed: Vec<u8> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    let agreed: &'static [u8] = agreed.leak();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let policies = TcpListener::bind(("127.0.0.1", policy)).await?;
        let milters = TcpListener::bind(("127.0.0.1", milter)).await?;
        tokio::spawn(accept(policies, |stream| async { drop(policy_service(stream).await) }));
        accept(milters, move |stream| async move { drop(milter_service(stream, agreed).await) }).await
    })
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

/// Splits requests into attributes and says DUNNO.
async fn policy_service(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(4096);
    loop {
        while let Some(end) = input.windows(2).position(|pair| pair == b"\n\n") {
            let request = input.split_to(end + 2);
            let attributes = request[..].split(|byte| *byte == b'\n');
            let pairs = attributes.filter_map(|line| line.iter().position(|byte| *byte == b'='));
            std::hint::black_box(pairs.count());
            stream.write_all(b"action=DUNNO\n\n").await?;
        }
        input.reserve(4096);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Says CONTINUE to what is to be answered.
async fn milter_service(mut stream: TcpStream, agreed: &[u8]) -> io::Result<()> {
    let quick = socket2::SockRef::from(&stream).set_tcp_quickack(true);
    quick?;
    let protocol =
        agreed.get(13..17).map_or(0, |mask| u32::from_be_bytes(mask.try_into().unwrap_or_default()));
    let answered = [CONNECT, HELO, MAIL, RCPT, DATA, HEADER, END_OF_HEADER, BODY, END_OF_MESSAGE];
    let silent =
        |code: u8| !answered.iter().any(|command| command.code == code && command.is_answered(protocol));
    let mut input = BytesMut::with_capacity(4096);
    loop {
        while let Some(length) =
            input.get(..4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
        {
            let length = length as usize;
            if input.len() < 4 + length {
                input.reserve(4 + length - input.len());
                break;
            }
            let command = input.get(4).copied().unwrap_or(b'Q');
            input.advance(4 + length);
            match command {
                b'Q' => return Ok(()),
                b'O' => stream.write_all(agreed).await?,
                command if silent(command) => {}
                _ => stream.write_all(b"\0\0\0\x01c").await?,
            }
        }
        input.reserve(4096);
        let _ = socket2::SockRef::from(&stream).set_tcp_quickack(true);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}
