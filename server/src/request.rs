//! A request as handlers see it: who asks, what comes back, and when nothing does. Knows no handler and no table.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use chronik_protocol::codec::{CodecError, StrBytes};
use chronik_protocol::frame::FrameError;

use crate::broker::{Broker, ListenerInfo};
use crate::net::Reply;

/// A client's library, as it names itself in ApiVersions (KIP-511).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Who asks, and how.
#[derive(Clone)]
pub struct RequestContext {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The listener that the connection came in by; answers that name the broker use its advertised address.
    pub listener: Arc<ListenerInfo>,
    /// The peer.
    pub client_addr: SocketAddr,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
    /// What its library calls itself, once it has said so.
    pub software: Arc<OnceLock<ClientSoftware>>,
    /// Version of the request, within the table's range.
    pub api_version: i16,
    /// Matches the answer to the request.
    pub correlation_id: i32,
    /// When the frame was complete.
    pub received: std::time::Instant,
}

impl RequestContext {
    /// What the client calls itself; empty when it does not say.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }

    /// Copies what is a slice of the frame, so that a request that waits does not keep all of it in memory.
    pub fn detach(&mut self) {
        self.client_id = self.client_id.take().map(|id| StrBytes::from(&*id));
    }
}

/// The rest of a request's work. The first part, up to where order matters, has been done when this is returned.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Result<Reply, RequestError>> + Send>>;

/// Why a request gets no answer but a closed connection, as in Kafka's `SocketServer`.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body does not follow the schema.
    #[error("the request body cannot be decoded: {0}")]
    Decode(CodecError),
    /// Our answer cannot be written in the version asked; a bug here.
    #[error("the response cannot be encoded: {0}")]
    Encode(CodecError),
    /// The frame is too short for a header.
    #[error("the request header cannot be read: {0}")]
    Frame(FrameError),
    /// A body longer than any that makes sense, and than may safely be decoded.
    #[error(
        "a {api} request of {bytes} bytes: at most {max_bytes} bytes are taken, records aside; send several"
    )]
    TooLong {
        /// Which.
        api: &'static str,
        /// The body's length.
        bytes: usize,
        /// What is taken.
        max_bytes: usize,
    },
    /// More partitions in one Produce than may safely be answered.
    #[error("a Produce with more than {max} partitions; send several")]
    TooManyPartitions {
        /// What is taken.
        max: usize,
    },
    /// Not in the table.
    #[error("api key {0} is not served")]
    UnknownApi(i16),
    /// Outside the table's range.
    #[error("{api} version {version} is not served")]
    UnsupportedVersion {
        /// Which.
        api: &'static str,
        /// The version asked.
        version: i16,
    },
    /// A Produce with `acks=0` failed; the client can learn it in no other way.
    #[error("an unacknowledged produce failed with error code {0}")]
    UnacknowledgedProduce(i16),
}
