//! What goes back: a frame in one or many pieces, written without gluing them together.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::limits::{WRITE_SLICES_MAX, transfer_time};

/// The answer to one request.
#[derive(Debug, Default)]
pub struct Reply {
    chunks: Vec<Bytes>,
}

impl Reply {
    /// A whole frame, length prefix included.
    pub fn frame(frame: Bytes) -> Self {
        Self { chunks: vec![frame] }
    }

    /// A frame in pieces; the first begins with the length prefix that covers all of them.
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        Self { chunks }
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
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The socket's, and `TimedOut` when the peer takes the bytes too slowly.
    pub(super) async fn write_to(self, io: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let bytes = self.bytes();
        if bytes == 0 {
            return Ok(());
        }
        let written = tokio::time::timeout(transfer_time(bytes), write_chunks(io, self.chunks)).await;
        written.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }
}

async fn write_chunks(io: &mut (impl AsyncWrite + Unpin), mut chunks: Vec<Bytes>) -> std::io::Result<()> {
    let mut first = 0;
    while first < chunks.len() {
        if chunks[first].is_empty() {
            first += 1;
            continue;
        }
        let last = chunks.len().min(first + WRITE_SLICES_MAX);
        let slices: Vec<IoSlice<'_>> = chunks[first..last].iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = io.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let chunk = &mut chunks[first];
            let taken = written.min(chunk.len());
            chunk.advance(taken);
            written -= taken;
            if chunk.is_empty() {
                first += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn pieces_arrive_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let chunks: Vec<Bytes> = (0..200u8).map(|byte| Bytes::from(vec![byte; usize::from(byte) % 5])).collect();
        let expected = chunks.concat();
        let writer = tokio::spawn(async move { Reply::chunks(chunks).write_to(&mut near).await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(read, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (mut near, _far) = tokio::io::duplex(7);
        let error = Reply::frame(Bytes::from(vec![0; 100])).write_to(&mut near).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
