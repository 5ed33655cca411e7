//! Frames in: length first, then memory, then bytes. Cancel safe: what was read is kept between calls.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_protocol::frame::{FrameError, frame_length};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::limits::{SMALL_FRAME_BYTES, STAGING_BYTES, STALL_GRACE, WHOLE_FRAME_BYTES, transfer_time};
use super::memory::{MemoryBound, Reserved};

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
    memory: MemoryBound,
    max_frame_bytes: usize,
    staging: BytesMut,
    partial: Option<Partial>,
}

struct Partial {
    /// An allocation of its own, in the end exactly as large as the frame: its record batches may live long in the
    /// tail ring, and must not keep a shared buffer alive.
    frame: Vec<u8>,
    length: usize,
    reserved: Reserved,
    /// By when all of it must have come.
    deadline: Instant,
    /// When something came last.
    progress: Instant,
    /// Since when it waits for memory of ours.
    waiting_since: Option<Instant>,
}

impl Partial {
    /// Makes room for more of the frame: all of a usual one, else as much as has come already. However long that
    /// takes, it is not the peer who is slow. Cancel safe.
    async fn make_room(&mut self) {
        let held = self.frame.capacity();
        if self.frame.len() < held.min(self.length) {
            return;
        }
        let whole = self.length <= WHOLE_FRAME_BYTES;
        let total = if whole { self.length } else { self.length.min((2 * held).max(SMALL_FRAME_BYTES)) };
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.reserved.grow(total).await;
        let waited = since.elapsed();
        self.waiting_since = None;
        self.deadline += waited;
        self.progress += waited;
        self.frame.reserve_exact(total - self.frame.len());
    }

    /// When the peer is given up unless something comes.
    fn stalled_at(&self) -> Instant {
        self.deadline.min(self.progress + STALL_GRACE)
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(io: R, memory: MemoryBound, max_frame_bytes: usize) -> Self {
        Self { io, memory, max_frame_bytes, staging: BytesMut::new(), partial: None }
    }

    /// The next frame; `None` once the peer has closed between frames.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if self.partial.is_none() && self.staging.len() >= PREFIX_BYTES {
                self.begin()?;
            }
            if let Some(partial) = self.partial.take_if(|partial| partial.frame.len() == partial.length) {
                return Ok(Some(Frame { bytes: partial.frame.into(), reserved: partial.reserved }));
            }
            let read = match &mut self.partial {
                Some(partial) => {
                    partial.make_room().await;
                    let stalled_at = partial.stalled_at();
                    let read = timeout_at(stalled_at, read_more(&mut self.io, &mut self.staging, partial));
                    read.await.map_err(|_| ReadError::Stalled)??
                }
                None => {
                    self.staging.reserve(STAGING_BYTES);
                    self.io.read_buf(&mut self.staging).await?
                }
            };
            if read == 0 {
                let between = self.partial.is_none() && self.staging.is_empty();
                return if between {
                    Ok(None)
                } else {
                    Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    /// Starts the frame whose length prefix has come.
    fn begin(&mut self) -> Result<(), ReadError> {
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.staging[..PREFIX_BYTES]);
        let length = frame_length(prefix, self.max_frame_bytes)?;
        self.staging.advance(PREFIX_BYTES);
        let now = Instant::now();
        self.partial = Some(Partial {
            frame: Vec::new(),
            length,
            reserved: self.memory.open(length),
            deadline: now + transfer_time(length),
            progress: now,
            waiting_since: None,
        });
        Ok(())
    }
}

/// Reads some of a frame, first from what came with its length, into the room that was made for it. Cancel safe.
async fn read_more(
    io: &mut (impl AsyncRead + Unpin),
    staging: &mut BytesMut,
    partial: &mut Partial,
) -> std::io::Result<usize> {
    let room = partial.frame.capacity().min(partial.length) - partial.frame.len();
    let read = if staging.is_empty() {
        let mut room = (&mut partial.frame).limit(room);
        io.read_buf(&mut room).await?
    } else {
        let here = room.min(staging.len());
        partial.frame.extend_from_slice(&staging[..here]);
        staging.advance(here);
        if staging.is_empty() {
            // An idle connection holds no buffer.
            *staging = BytesMut::new();
        }
        here
    };
    partial.progress = Instant::now();
    Ok(read)
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
        let mut reader = FrameReader::new(far, MemoryBound::new(1 << 20), 1 << 20);
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
        // Small frames have an eighth of it.
        let memory = MemoryBound::new(8000);
        let bytes = framed(&[&[1; 900], &[2; 900]]);
        let mut reader = FrameReader::new(&bytes[..], memory.clone(), 10_000);
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(memory.used_bytes(), 900);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), reader.next()).await.is_err(),
            "no room for the second"
        );
        drop(first);
        assert_eq!(reader.next().await.unwrap().unwrap().bytes.len(), 900);
    }

    #[tokio::test]
    async fn a_large_frame_reserves_no_more_than_twice_what_has_come() {
        let memory = MemoryBound::new(1 << 30);
        let (mut near, far) = tokio::io::duplex(64 << 10);
        let mut reader = FrameReader::new(far, memory.clone(), 100 << 20);
        near.write_all(&(50i32 << 20).to_be_bytes()).await.unwrap();
        let mut sent = 0;
        for _ in 0..100 {
            near.write_all(&[3; 50_000]).await.unwrap();
            sent += 50_000;
            assert!(tokio::time::timeout(Duration::from_millis(1), reader.next()).await.is_err());
            assert!(memory.used_bytes() <= 2 * sent + SMALL_FRAME_BYTES, "{} of {sent}", memory.used_bytes());
        }
        let rest =
            tokio::spawn(async move { near.write_all(&vec![3; (50 << 20) - sent]).await.map(|()| near) });
        let frame = reader.next().await.unwrap().unwrap();
        assert_eq!((frame.bytes.len(), memory.used_bytes()), (50 << 20, 50 << 20));
        assert!(frame.bytes.iter().all(|byte| *byte == 3));
        rest.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_never_ends_is_given_up() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(&100i32.to_be_bytes()).await.unwrap();
        let mut reader = FrameReader::new(far, MemoryBound::new(1000), 1000);
        assert!(matches!(reader.next().await, Err(ReadError::Stalled)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_not_given_up_for_memory_that_we_lack() {
        let memory = MemoryBound::new(8000);
        let everything = memory.reserve(1000).await;
        let bytes = framed(&[&[1; 900]]);
        let mut reader = FrameReader::new(&bytes[..], memory.clone(), 10_000);
        let patience = 4 * STALL_GRACE;
        for _ in 0..2 {
            assert!(tokio::time::timeout(patience, reader.next()).await.is_err(), "waits");
        }
        drop(everything);
        assert_eq!(reader.next().await.unwrap().unwrap().bytes.len(), 900);
    }

    #[tokio::test]
    async fn absurd_lengths_are_refused_before_anything_is_allocated() {
        for length in [-1, i32::MIN, 0, 7, 1001, i32::MAX] {
            let bytes = length.to_be_bytes();
            let mut reader = FrameReader::new(&bytes[..], MemoryBound::new(1000), 1000);
            assert!(matches!(reader.next().await, Err(ReadError::Frame(_))), "{length}");
        }
    }
}
