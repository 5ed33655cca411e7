//! One TCP connection to a broker: frames out, frames in, in order.
//!
//! Owns correlation ids and their check. Pipelining is the caller's: `split` gives a sender and a
//! receiver, and Kafka answers a connection's requests in the order they were sent.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use chronik_protocol::codec::{self, RequestResponsePair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Result;

/// Longest reply accepted. A Fetch may pass `fetch.max.bytes` by one batch; 1 GiB is past any
/// setting in use and still keeps a broken length from taking the machine's memory.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Bytes asked of the socket at once when small replies are read; several arrive together.
const READ_BYTES: usize = 64 * 1024;

/// Offset of the correlation id in an encoded request: length (4), API key (2), version (2).
pub const CORRELATION_AT: usize = 8;

/// A connection used for one request at a time.
pub struct Connection {
    sender: Sender,
    receiver: Receiver,
    next_correlation: i32,
}

/// The sending half.
pub struct Sender(OwnedWriteHalf);

/// The receiving half.
pub struct Receiver {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

impl Connection {
    /// Connects to `address` (`host:port`).
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let receiver = Receiver { half: read, buffer: BytesMut::new() };
        Ok(Self { sender: Sender(write), receiver, next_correlation: 0 })
    }

    /// Sends one request and waits for its reply.
    pub async fn call<R: RequestResponsePair>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.next_correlation += 1;
        let frame = codec::encode_request(self.next_correlation, CLIENT_ID, request, version)?;
        self.sender.send(&[&frame]).await?;
        let reply = self.receiver.next().await?;
        let (correlation, response) = codec::decode_response::<R>(reply, version)?;
        expect_correlation(self.next_correlation, correlation)?;
        Ok(response)
    }

    /// Gives up one-at-a-time use.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// What brokers log us as.
pub const CLIENT_ID: &str = "chronik-bench";

impl Sender {
    /// Writes `parts` one after the other, in one system call when the socket takes them.
    pub async fn send(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = self.0.write_vectored(rest).await?;
            if written == 0 {
                return Err("the broker closed the connection".into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}

impl Receiver {
    /// The next frame, without its length.
    pub async fn next(&mut self) -> Result<Bytes> {
        self.fill(4).await?;
        let prefix = [self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]];
        let length = usize::try_from(i32::from_be_bytes(prefix))
            .ok()
            .filter(|&length| (4..=FRAME_BYTES_MAX).contains(&length))
            .ok_or("the broker sent an absurd frame length")?;
        self.fill(4 + length).await?;
        let mut frame = self.buffer.split_to(4 + length).freeze();
        Ok(frame.split_off(4))
    }

    async fn fill(&mut self, wanted: usize) -> Result<()> {
        while self.buffer.len() < wanted {
            self.buffer.reserve((wanted - self.buffer.len()).max(READ_BYTES));
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err("the broker closed the connection".into());
            }
        }
        Ok(())
    }
}

/// Replies must come in the order of the requests.
pub fn expect_correlation(expected: i32, got: i32) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(format!("the broker answered request {got} where {expected} was due").into())
}
