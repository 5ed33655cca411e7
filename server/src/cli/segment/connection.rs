//! Owns one connection to a Kafka broker: requests out, answers in their order, each within a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chronik_protocol::codec::{self, RequestResponsePair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;

/// What brokers log us as.
const CLIENT_ID: &str = "chronik-segment";
/// To connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to its answer; a broker holds a fetch back for a second at most, and a produce for thirty.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer. A Fetch may pass what was asked for by one batch.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// See the module.
pub struct Connection {
    address: String,
    stream: TcpStream,
    last_sent: i32,
    last_received: i32,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(address: &str) -> Result<Self, Failure> {
        let unreachable = |reason: String| {
            format!(
                "no broker can be reached at {address}: {reason}; start it, or name another with --bootstrap"
            )
        };
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| unreachable(format!("no answer in {} s", CONNECT_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { address: address.to_owned(), stream, last_sent: 0, last_received: 0 })
    }

    /// Sends a request and waits for its answer; none other may be under way.
    pub async fn call<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Failure> {
        self.send(request, version).await?;
        self.receive::<R>(version).await
    }

    /// Sends a request.
    pub async fn send<R: RequestResponsePair>(&mut self, request: &R, version: i16) -> Result<(), Failure> {
        self.last_sent += 1;
        let frame = codec::encode_request(self.last_sent, CLIENT_ID, request, version)
            .map_err(|error| format!("a request cannot be written: {error}"))?;
        let sent = timeout(ANSWER_TIMEOUT, self.stream.write_all(&frame)).await;
        sent.map_err(|_| self.gone("it takes no more requests"))?
            .map_err(|error| self.gone(&error.to_string()))
    }

    /// The answer to the oldest request that has none yet.
    pub async fn receive<R: RequestResponsePair>(&mut self, version: i16) -> Result<R::Response, Failure> {
        let answered = timeout(ANSWER_TIMEOUT, self.frame()).await;
        let frame = answered.map_err(|_| self.gone("it does not answer"))??;
        self.last_received += 1;
        let no_broker = |problem: &dyn std::fmt::Display| {
            format!("what answers at {} is no Kafka broker: {problem}", self.address)
        };
        let (correlation, response) =
            codec::decode_response::<R>(frame, version).map_err(|error| no_broker(&error))?;
        if correlation != self.last_received {
            return Err(no_broker(&"it answers another request than the oldest"));
        }
        Ok(response)
    }

    fn gone(&self, reason: &str) -> Failure {
        format!("the broker at {} was lost: {reason}; try again when it is up", self.address)
    }

    async fn frame(&mut self) -> Result<Bytes, Failure> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.map_err(|error| self.gone(&error.to_string()))?;
        let length = usize::try_from(i32::from_be_bytes(prefix)).unwrap_or(0);
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(format!("what answers at {} is no Kafka broker", self.address));
        }
        let mut frame = BytesMut::zeroed(length);
        self.stream.read_exact(&mut frame).await.map_err(|error| self.gone(&error.to_string()))?;
        Ok(frame.freeze())
    }
}
