//! DNS servers that are not as they should be: silent, slow, refusing, or careless with letters. Small enough to need no parser.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::process;

/// Length of a DNS message's header; the first question's name follows.
const HEADER: usize = 12;
/// How often a server looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct OddDns {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl OddDns {
    /// Takes every question and answers none.
    pub fn silent() -> Self {
        Self::udp(|_| None)
    }

    /// Answers every question with REFUSED.
    pub fn refusing() -> Self {
        const REFUSED: u8 = 5;
        Self::udp(|mut message| {
            message[2] |= 0x80;
            message[3] = message[3] & 0xf0 | REFUSED;
            Some(message)
        })
    }

    /// Asks `server`, and passes its answer on after a while.
    pub fn slow(server: SocketAddr, delay: Duration) -> Self {
        Self::udp(move |question| {
            thread::sleep(delay);
            ask(server, &question)
        })
    }

    /// Asks `server` over UDP; there is no TCP.
    pub fn udp_only(server: SocketAddr) -> Self {
        Self::udp(move |question| ask(server, &question))
    }

    /// Asks `server`, over UDP with the question in small letters; TCP is passed through.
    pub fn lower_casing(server: SocketAddr) -> Self {
        let mut this = Self::udp(move |mut question| {
            // Lengths of labels are below the letters.
            question
                .iter_mut()
                .skip(HEADER)
                .take_while(|byte| **byte != 0)
                .for_each(u8::make_ascii_lowercase);
            ask(server, &question)
        });
        let listener = TcpListener::bind(this.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let ended = Arc::clone(&this.ended);
        this.threads.push(thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => relay(client, server),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
                    Err(error) => panic!("accept: {error}"),
                }
            }
        }));
        this
    }

    fn udp(answer: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let socket = Arc::new(UdpSocket::bind(process::loopback(process::free_port())).unwrap());
        socket.set_read_timeout(Some(TICK)).unwrap();
        let address = socket.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let answer = Arc::new(answer);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while !until.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
                let (socket, answer, question) =
                    (Arc::clone(&socket), Arc::clone(&answer), buffer[..length].to_vec());
                thread::spawn(move || answer(question).map(|answer| socket.send_to(&answer, client)));
            }
        });
        Self { address, ended, threads: vec![thread] }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OddDns {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask(server: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(process::loopback(0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(question, server).unwrap();
    let mut buffer = [0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

/// Passes bytes on in both directions until either side closes.
fn relay(client: TcpStream, server: SocketAddr) {
    client.set_nonblocking(false).unwrap();
    let server = TcpStream::connect(server).unwrap();
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}
