//! What goes back: a frame in one or many pieces, written without gluing them together.

use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::limits::{WRITE_SLICES_MAX, transfer_time};

/// The answer to one request.
#[derive(Debug, Default)]
pub struct Reply {
    chunks: Vec<Bytes>,
    /// Memory that is given back as the reply is written.
    held: Vec<OwnedSemaphorePermit>,
}

impl Reply {
    /// A whole frame, length prefix included.
    pub fn frame(frame: Bytes) -> Self {
        Self { chunks: vec![frame], held: Vec::new() }
    }

    /// A frame in pieces; the first begins with the length prefix that covers all of them.
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        Self { chunks, held: Vec::new() }
    }

    /// The same, with a reservation in bytes that ends as they are written, or given up.
    #[must_use]
    pub fn holding(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.held.push(permit);
        self
    }

    /// No answer at all: Produce with `acks=0`.
    pub fn none() -> Self {
        Self::default()
    }

    /// Bytes of all pieces.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Puts the pieces of `other` behind ours.
    pub(super) fn append(&mut self, other: Reply) {
        self.chunks.extend(other.chunks);
        self.held.extend(other.held);
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The socket's, and `TimedOut` when the peer takes nothing for `stall`, or takes the bytes too slowly.
    pub(super) async fn write_to(
        self,
        io: &mut (impl AsyncWrite + Unpin),
        stall: Duration,
    ) -> std::io::Result<()> {
        let bytes = self.bytes();
        if bytes == 0 {
            return Ok(());
        }
        timeout(transfer_time(bytes), write_chunks(io, self, stall)).await?
    }
}

async fn write_chunks(
    io: &mut (impl AsyncWrite + Unpin),
    reply: Reply,
    stall: Duration,
) -> std::io::Result<()> {
    // Of the pieces that are not wholly written, which are all still in memory.
    let mut kept_bytes = reply.bytes();
    let Reply { mut chunks, mut held } = reply;
    let (mut first, mut written_of_first) = (0, 0);
    while first < chunks.len() {
        if chunks[first].is_empty() {
            first += 1;
            continue;
        }
        let last = chunks.len().min(first + WRITE_SLICES_MAX);
        let slices: Vec<IoSlice<'_>> = chunks[first..last].iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = timeout(stall, io.write_vectored(&slices)).await??;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let chunk = &mut chunks[first];
            let taken = written.min(chunk.len());
            chunk.advance(taken);
            written -= taken;
            written_of_first += taken;
            if chunk.is_empty() {
                // Gone from memory as soon as the socket has it.
                *chunk = Bytes::new();
                first += 1;
                kept_bytes -= written_of_first;
                written_of_first = 0;
            }
        }
        give_back(&mut held, kept_bytes);
    }
    Ok(())
}

/// Ends what is held beyond `bytes`: readers that take their time keep no more from others than they have to.
fn give_back(held: &mut Vec<OwnedSemaphorePermit>, bytes: usize) {
    let mut surplus = held.iter().map(OwnedSemaphorePermit::num_permits).sum::<usize>().saturating_sub(bytes);
    while surplus > 0 {
        let Some(mut permit) = held.pop() else { return };
        let part = surplus.min(permit.num_permits());
        drop(permit.split(part));
        surplus -= part;
        if permit.num_permits() > 0 {
            held.push(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::time::Instant;

    use crate::net::limits::STALL_GRACE;

    #[tokio::test]
    async fn pieces_arrive_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let chunks: Vec<Bytes> =
            (0..200u8).map(|byte| Bytes::from(vec![byte; usize::from(byte) % 5])).collect();
        let expected = chunks.concat();
        let writer =
            tokio::spawn(async move { Reply::chunks(chunks).write_to(&mut near, STALL_GRACE).await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn what_is_held_is_given_back_as_the_peer_takes_the_pieces() {
        let memory = std::sync::Arc::new(tokio::sync::Semaphore::new(1000));
        let permit = memory.clone().acquire_many_owned(1000).await.unwrap();
        let (mut near, mut far) = tokio::io::duplex(50);
        let reply = Reply::chunks(vec![Bytes::from(vec![0; 100]); 10]).holding(permit);
        let writer = tokio::spawn(async move { reply.write_to(&mut near, STALL_GRACE).await });
        let mut taken = [0; 500];
        far.read_exact(&mut taken).await.unwrap();
        tokio::task::yield_now().await;
        assert!((400..=600).contains(&memory.available_permits()), "{}", memory.available_permits());
        far.read_exact(&mut taken).await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(memory.available_permits(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (mut near, _far) = tokio::io::duplex(7);
        let started = Instant::now();
        let reply = Reply::frame(Bytes::from(vec![0; 100 << 20]));
        let error = reply.write_to(&mut near, Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(4), "large answers wait no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_now_and_then_is_cut_off_too() {
        let (mut near, mut far) = tokio::io::duplex(1);
        let dripping = tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
        let reply = Reply::frame(Bytes::from(vec![0; 1000]));
        let error = reply.write_to(&mut near, Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        dripping.abort();
    }
}
