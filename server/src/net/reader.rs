//! Frames in: length first, then memory, then bytes. Cancel safe: what was read is kept between calls.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_protocol::frame::{FrameError, frame_length};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::limits::{STAGING_BYTES, transfer_time};
use super::memory::{RequestMemory, Reserved};

const PREFIX_BYTES: usize = 4;

/// A complete frame without its length prefix, and the memory it holds.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) reserved: Reserved,
}

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the peer broke the framing: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sends a frame too slowly")]
    Stalled,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

/// Cuts a byte stream into frames.
pub(super) struct FrameReader<R> {
    io: R,
    memory: RequestMemory,
    max_frame_bytes: usize,
    staging: BytesMut,
    partial: Option<Partial>,
}

struct Partial {
    frame: BytesMut,
    length: usize,
    reserved: Reserved,
    deadline: Instant,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(io: R, memory: RequestMemory, max_frame_bytes: usize) -> Self {
        Self { io, memory, max_frame_bytes, staging: BytesMut::new(), partial: None }
    }

    /// The next frame; `None` once the peer has closed between frames.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if self.partial.is_none() && self.staging.len() >= PREFIX_BYTES {
                self.begin().await?;
            }
            if let Some(partial) = self.partial.take_if(|partial| partial.frame.len() == partial.length) {
                return Ok(Some(Frame { bytes: partial.frame.freeze(), reserved: partial.reserved }));
            }
            let read = match &mut self.partial {
                Some(partial) => {
                    let missing = partial.length - partial.frame.len();
                    let mut room = (&mut partial.frame).limit(missing);
                    let read = self.io.read_buf(&mut room);
                    tokio::time::timeout_at(partial.deadline, read).await.map_err(|_| ReadError::Stalled)??
                }
                None => {
                    self.staging.reserve(STAGING_BYTES);
                    self.io.read_buf(&mut self.staging).await?
                }
            };
            if read == 0 {
                let between = self.partial.is_none() && self.staging.is_empty();
                return if between { Ok(None) } else { Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()) };
            }
        }
    }

    /// Reserves memory for the frame whose length prefix has come, and moves what came with it.
    async fn begin(&mut self) -> Result<(), ReadError> {
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.staging[..PREFIX_BYTES]);
        let length = frame_length(prefix, self.max_frame_bytes)?;
        let reserved = self.memory.reserve(length).await;
        self.staging.advance(PREFIX_BYTES);
        // An allocation of its own, exactly as large as the frame: its record batches may live long in the tail ring,
        // and must not keep a shared buffer alive.
        let mut frame = BytesMut::with_capacity(length);
        let here = length.min(self.staging.len());
        frame.extend_from_slice(&self.staging[..here]);
        self.staging.advance(here);
        if self.staging.is_empty() {
            // An idle connection holds no buffer.
            self.staging = BytesMut::new();
        }
        self.partial = Some(Partial { frame, length, reserved, deadline: Instant::now() + transfer_time(length) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    fn framed(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            out.extend_from_slice(&(body.len() as i32).to_be_bytes());
            out.extend_from_slice(body);
        }
        out
    }

    #[tokio::test]
    async fn frames_survive_any_cut_and_any_cancellation() {
        let big = vec![7; 20_000];
        let bytes = framed(&[b"12345678", &big, b"abcdefghij"]);
        let (mut near, far) = tokio::io::duplex(64);
        tokio::spawn(async move {
            for piece in bytes.chunks(3) {
                near.write_all(piece).await.unwrap();
            }
        });
        let mut reader = FrameReader::new(far, RequestMemory::new(1 << 20), 1 << 20);
        let mut frames = Vec::new();
        while frames.len() < 3 {
            tokio::select! {
                biased;
                frame = reader.next() => frames.push(frame.unwrap().unwrap().bytes),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(frames, [&b"12345678"[..], &big, b"abcdefghij"]);
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn memory_is_reserved_before_the_frame_and_given_back_after() {
        let memory = RequestMemory::new(1000);
        let bytes = framed(&[&[1; 900], &[2; 900]]);
        let mut reader = FrameReader::new(&bytes[..], memory.clone(), 10_000);
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(memory.used_bytes(), 900);
        assert!(tokio::time::timeout(Duration::from_millis(20), reader.next()).await.is_err(), "no room for the second");
        drop(first);
        assert_eq!(reader.next().await.unwrap().unwrap().bytes.len(), 900);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_never_ends_is_given_up() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(&100i32.to_be_bytes()).await.unwrap();
        let mut reader = FrameReader::new(far, RequestMemory::new(1000), 1000);
        assert!(matches!(reader.next().await, Err(ReadError::Stalled)));
    }

    #[tokio::test]
    async fn absurd_lengths_are_refused_before_anything_is_allocated() {
        for length in [-1, i32::MIN, 0, 7, 1001, i32::MAX] {
            let bytes = length.to_be_bytes();
            let mut reader = FrameReader::new(&bytes[..], RequestMemory::new(1000), 1000);
            assert!(matches!(reader.next().await, Err(ReadError::Frame(_))), "{length}");
        }
    }
}
