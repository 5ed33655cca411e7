//! One connection: frames in, replies out, in the order of the requests.
//!
//! Like Kafka's `SocketServer`, a connection has one request at work at a time, with one exception: a Produce may
//! start while the Produces before it wait for the disk. Their order is settled when they start, and waiting for
//! each other's fsync would waste the pipelining that clients do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::limits::{
    ConnectionLimits, DECODED_BYTES_PER_BYTE, DRAIN_TIMEOUT, HALF_CLOSED_TIMEOUT, IN_FLIGHT_REQUESTS_MAX,
    PRODUCE_PARTITION_BYTES, PRODUCE_PARTITIONS_MAX, WRITE_GATHER_BYTES,
};
use super::memory::{Hold, RequestMemory};
use super::reader::{Frame, FrameReader, ReadError};
use super::reply::Reply;
use crate::broker::{Broker, ListenerInfo};
use crate::dispatch::{self, Prepared};
use crate::request::{ClientSoftware, ReplyFuture, RequestError};

/// What all connections of a listener share.
#[derive(Clone)]
pub(super) struct ConnectionContext {
    pub(super) broker: Arc<Broker>,
    pub(super) listener: Arc<ListenerInfo>,
    pub(super) memory: RequestMemory,
    pub(super) limits: ConnectionLimits,
    /// Turns true when the broker stops.
    pub(super) stopping: watch::Receiver<bool>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the reply could not be written: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the broker stopped before the peer had taken its reply")]
    Stopped,
}

struct InFlight {
    reply: ReplyFuture,
    pipelined: bool,
}

struct Held {
    prepared: Prepared,
    hold: Hold,
}

struct Connection<R, W> {
    context: ConnectionContext,
    peer: SocketAddr,
    software: Arc<OnceLock<ClientSoftware>>,
    reader: FrameReader<R>,
    writer: W,
    in_flight: VecDeque<InFlight>,
    /// A request that has been read but may not start yet.
    held: Option<Held>,
    last_active: Instant,
}

/// Serves until the peer leaves, errs, or idles too long, or the broker stops.
pub(super) async fn run<R, W>(
    context: ConnectionContext,
    peer: SocketAddr,
    reader: R,
    writer: W,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let reader = FrameReader::new(reader, context.memory.frames.clone(), context.limits.max_frame_bytes);
    let mut connection = Connection {
        context,
        peer,
        software: Arc::default(),
        reader,
        writer,
        in_flight: VecDeque::new(),
        held: None,
        last_active: Instant::now(),
    };
    connection.serve().await
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn serve(&mut self) -> Result<(), ConnectionError> {
        let mut stopping = self.context.stopping.clone();
        loop {
            if *stopping.borrow() {
                return self.drain(DRAIN_TIMEOUT).await;
            }
            let idle_deadline = self.last_active + self.context.limits.max_idle;
            let (busy, may_read) = (!self.in_flight.is_empty(), self.held.is_none());
            tokio::select! {
                biased;
                reply = next_reply(&mut self.in_flight), if busy => {
                    self.in_flight.pop_front();
                    self.finish(reply?).await?;
                }
                // Also while a request is at work: this is how a peer that left is noticed.
                frame = self.reader.next(), if may_read => {
                    let accepted = match frame {
                        Ok(Some(frame)) => self.accept(frame).await,
                        // It may have closed its own direction only, and still listen.
                        Ok(None) => return self.drain(HALF_CLOSED_TIMEOUT).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(error) = accepted {
                        // Kafka would not have read on before the requests before this one were answered.
                        self.drain(DRAIN_TIMEOUT).await?;
                        return Err(error);
                    }
                }
                () = sleep_until(idle_deadline), if !busy => return Ok(()),
                _ = stopping.changed() => {}
            }
        }
    }

    /// Starts a request, or holds it until those before it are answered.
    async fn accept(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        self.last_active = Instant::now();
        let context = &self.context;
        let prepared =
            dispatch::prepare(&context.broker, &context.listener, self.peer, &self.software, frame.bytes)?;
        self.held = Some(Held { prepared, hold: Hold::of_frame(frame.reserved) });
        self.start_held().await
    }

    async fn start_held(&mut self) -> Result<(), ConnectionError> {
        let may_start = |held: &mut Held| {
            self.in_flight.is_empty()
                || (held.prepared.pipelined()
                    && self.in_flight.len() < IN_FLIGHT_REQUESTS_MAX
                    && self.in_flight.iter().all(|request| request.pipelined))
        };
        let Some(mut held) = self.held.take_if(may_start) else { return Ok(()) };
        let pipelined = held.prepared.pipelined();
        if pipelined {
            // The store's queue is bounded in bytes: wait for room before the append, holding no lock. A store that
            // takes no more writes fails the append itself, with the right answer.
            let _ = self.context.broker.engine.ready().await;
        }
        let decoded = decoded_bytes(&held.prepared)?;
        if decoded > 0 {
            let mut reserved = self.context.memory.decoded.open(decoded);
            reserved.grow(decoded).await;
            held.hold.add_decoded(reserved);
        }
        let reply = held.prepared.start(held.hold);
        self.in_flight.push_back(InFlight { reply, pipelined });
        Ok(())
    }

    /// Writes a reply with those behind it that are ready too, in one go.
    async fn finish(&mut self, mut reply: Reply) -> Result<(), ConnectionError> {
        let mut failed = None;
        while reply.bytes() < WRITE_GATHER_BYTES {
            let Some(next) = self.in_flight.front_mut() else { break };
            // Not ready: it registers again when it is polled as the front.
            let Some(ready) = (&mut next.reply).now_or_never() else { break };
            self.in_flight.pop_front();
            match ready {
                Ok(ready) => reply.append(ready),
                Err(error) => {
                    // Ends the connection, but not before those in front of it are answered.
                    failed = Some(error);
                    break;
                }
            }
        }
        tokio::select! {
            biased;
            written = reply.write_to(&mut self.writer, self.context.limits.stall()) => written?,
            // A peer that takes nothing keeps a stop waiting no longer than one that asks nothing.
            () = stop_overdue(&self.context.stopping) => return Err(ConnectionError::Stopped),
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.last_active = Instant::now();
        self.start_held().await
    }

    /// Answers what is under way, for a while, and leaves the rest.
    async fn drain(&mut self, patience: Duration) -> Result<(), ConnectionError> {
        let deadline = Instant::now() + patience;
        while !self.in_flight.is_empty() {
            let Ok(reply) = timeout_at(deadline, next_reply(&mut self.in_flight)).await else { break };
            self.in_flight.pop_front();
            let written = reply?.write_to(&mut self.writer, self.context.limits.stall());
            let Ok(written) = timeout_at(deadline, written).await else { break };
            written?;
        }
        Ok(())
    }
}

/// Returns when a stop has been asked for, and [`DRAIN_TIMEOUT`] has passed since.
async fn stop_overdue(stopping: &watch::Receiver<bool>) {
    if stopping.clone().wait_for(|stop| *stop).await.is_ok() {
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    }
}

/// What a request may take in memory besides its frame.
fn decoded_bytes(prepared: &Prepared) -> Result<usize, RequestError> {
    Ok(match prepared.produce_partitions() {
        None => prepared.body_bytes().saturating_mul(DECODED_BYTES_PER_BYTE),
        Some(partitions) if partitions > PRODUCE_PARTITIONS_MAX => {
            return Err(RequestError::TooManyPartitions { max: PRODUCE_PARTITIONS_MAX });
        }
        // Usually little beside the records, which are not copied.
        Some(partitions) => {
            let bytes = partitions.saturating_mul(PRODUCE_PARTITION_BYTES);
            if bytes <= prepared.body_bytes() { 0 } else { bytes }
        }
    })
}

/// The oldest request's reply. Cancel safe: the request stays in the queue until the caller takes it off.
async fn next_reply(in_flight: &mut VecDeque<InFlight>) -> Result<Reply, RequestError> {
    match in_flight.front_mut() {
        Some(request) => (&mut request.reply).await,
        None => std::future::pending().await,
    }
}
