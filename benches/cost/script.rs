//! A connection without a socket: what the MTA says stands ready, what we answer is taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use greylag::listener::Readable;
use greylag::milter::Transport;
use greylag::milter::server::Conversation;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives one of the prepared texts a read, then the end of the stream.
pub(crate) struct Script<'a, I> {
    says: I,
    /// What is left of the text under way.
    rest: &'a [u8],
    /// What was answered last.
    pub(crate) answered: Vec<u8>,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Script<'a, I> {
    pub(crate) fn new(says: I) -> Self {
        Self { says, rest: &[], answered: Vec::with_capacity(4096) }
    }
}

impl<'a, I: Iterator<Item = &'a [u8]> + Unpin> AsyncRead for &mut Script<'a, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty()
            && let Some(next) = self.says.next()
        {
            self.answered.clear();
            self.rest = next;
        }
        let length = buffer.remaining().min(self.rest.len());
        let (now, later) = self.rest.split_at(length);
        buffer.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

impl<I: Unpin> AsyncWrite for &mut Script<'_, I> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<I: Sync> Readable for &mut Script<'_, I> {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl<'a, I: Iterator<Item = &'a [u8]> + Sync + Unpin> Conversation for &mut Script<'a, I> {
    fn transport(&self) -> Transport {
        Transport::Tcp
    }
}
