//! An error code with the text that goes along with it, for the admin APIs whose answers carry both.

use chronik_engine::error::TopicError;
use chronik_protocol::codec::StrBytes;

use crate::error_code::ErrorCode;

/// Why one item of an admin request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    pub(super) fn unknown_topic() -> Self {
        Self::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    }

    pub(super) fn timed_out() -> Self {
        Self::new(ErrorCode::RequestTimedOut, "The request timed out; what it asked for may yet be done.")
    }

    /// The text as a response carries it.
    pub(super) fn wire_message(&self) -> Option<StrBytes> {
        Some(self.message.as_str().into())
    }
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string())
    }
}

/// Code and text of an outcome: no error has no text (Kafka's `ApiError.NONE`).
pub(super) fn outcome<T>(result: &Result<T, Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), refusal.wire_message()),
    }
}
