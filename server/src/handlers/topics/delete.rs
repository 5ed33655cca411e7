//! DeleteTopics, by name or by id.

use std::collections::{BTreeSet, HashMap};

use chronik_protocol::codec::messages::delete_topics_response::DeletableTopicResult;
use chronik_protocol::codec::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use chronik_protocol::codec::{StrBytes, Uuid};
use chronik_protocol::message;

use super::{lock_changes, within};
use crate::broker::Broker;
use crate::error_code::ErrorCode;
use crate::handlers::metadata::wire_id;
use crate::handlers::refusal::{Refusal, outcome};
use crate::internal_topics;
use crate::request::RequestContext;

/// First version whose clients know TOPIC_DELETION_DISABLED.
const KNOWS_DISABLED: i16 = 3;

/// One topic as a request names it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Named {
    Name(StrBytes),
    Id([u8; 16]),
    /// By both, or by neither.
    Badly(Option<StrBytes>, [u8; 16]),
}

/// Answers DeleteTopics.
pub async fn delete(ctx: &RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = named(&request);
    if !ctx.broker.config.topics.delete_topic_enable {
        let code = if ctx.api_version < KNOWS_DISABLED {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        return everything_refused(&named, &Refusal::new(code, "Topic deletion is disabled."));
    }
    let broker = ctx.broker.clone();
    let asked = named.clone();
    let work = async move {
        let mut times: HashMap<Named, usize> = HashMap::new();
        for topic in &asked {
            *times.entry(topic.clone()).or_default() += 1;
        }
        let mut responses = Vec::with_capacity(asked.len());
        let mut gone = BTreeSet::new();
        for topic in asked {
            // Once named twice, a topic is answered once, at its first place.
            if let Some(times) = times.remove(&topic) {
                responses.push(delete_one(&broker, topic, times > 1, &mut gone).await);
            }
        }
        forget_offsets(&broker, gone).await;
        message!(DeleteTopicsResponse { responses: responses })
    };
    match within(request.timeout_ms, work).await {
        Ok(response) => response,
        Err(refusal) => everything_refused(&named, &refusal),
    }
}

fn named(request: &DeleteTopicsRequest) -> Vec<Named> {
    let names = request.topic_names.iter().map(|name| Named::Name(name.clone()));
    let topics = request.topics.iter().map(|topic| match (&topic.name, topic.topic_id) {
        (Some(name), id) if id.is_zero() => Named::Name(name.clone()),
        (None, id) if !id.is_zero() => Named::Id(id.to_bytes()),
        (name, id) => Named::Badly(name.clone(), id.to_bytes()),
    });
    names.chain(topics).collect()
}

/// Deletes what groups have committed on topics that are gone: a topic recreated under the name begins at offset 0,
/// where old positions would be out of range or, worse, in the middle.
async fn forget_offsets(broker: &Broker, gone: BTreeSet<uuid::Uuid>) {
    if !gone.is_empty()
        && let Err(error) = broker.groups.topics_deleted(gone).await
    {
        // The topics are gone all the same, and offsets go by topic id: nobody is shown these.
        tracing::warn!(?error, "committed offsets of deleted topics are left to their expiry");
    }
}

async fn delete_one(
    broker: &Broker,
    topic: Named,
    duplicate: bool,
    gone: &mut BTreeSet<uuid::Uuid>,
) -> DeletableTopicResult {
    match topic {
        Named::Badly(name, id) => {
            let message = if name.is_some() {
                "You may not specify both topic name and topic id."
            } else {
                "Neither topic name nor id were specified."
            };
            result(name, Uuid::from_bytes(id), &Err(Refusal::invalid_request(message)))
        }
        Named::Name(name) if duplicate => {
            result(Some(name), Uuid::ZERO, &Err(Refusal::invalid_request("Duplicate topic name.")))
        }
        Named::Id(id) if duplicate => {
            result(None, Uuid::from_bytes(id), &Err(Refusal::invalid_request("Duplicate topic id.")))
        }
        Named::Name(name) => match delete_by_name(broker, &name).await {
            Ok(id) => {
                gone.insert(id);
                result(Some(name), wire_id(&id), &Ok(()))
            }
            Err(refusal) => result(Some(name), Uuid::ZERO, &Err(refusal)),
        },
        Named::Id(id) => match delete_by_id(broker, &uuid::Uuid::from_bytes(id)).await {
            Ok(name) => {
                gone.insert(uuid::Uuid::from_bytes(id));
                result(Some(name), Uuid::from_bytes(id), &Ok(()))
            }
            Err(refusal) => result(None, Uuid::from_bytes(id), &Err(refusal)),
        },
    }
}

async fn delete_by_name(broker: &Broker, name: &str) -> Result<uuid::Uuid, Refusal> {
    if let Some(internal) = internal_topics::find(name) {
        return Err(Refusal::new(ErrorCode::InvalidTopicException, internal.refusal()));
    }
    let _changes = lock_changes().await;
    if broker.engine.topics().get(name).is_none() {
        return Err(Refusal::unknown_topic());
    }
    remove(broker, name).await
}

async fn delete_by_id(broker: &Broker, id: &uuid::Uuid) -> Result<StrBytes, Refusal> {
    if let Some(internal) = internal_topics::find_by_id(id) {
        return Err(Refusal::new(ErrorCode::InvalidTopicException, internal.refusal()));
    }
    let _changes = lock_changes().await;
    // The lock keeps the name with this incarnation until it is gone.
    let name = broker.engine.topics().get_by_id(id).map(|topic| topic.name.clone());
    let name = name
        .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID."))?;
    remove(broker, &name).await?;
    Ok((&*name).into())
}

async fn remove(broker: &Broker, name: &str) -> Result<uuid::Uuid, Refusal> {
    let deleted = broker.engine.delete_topic(name).await?;
    tracing::info!(topic = name, id = %deleted.id, "topic deleted");
    Ok(deleted.id)
}

fn result(name: Option<StrBytes>, id: Uuid, done: &Result<(), Refusal>) -> DeletableTopicResult {
    let (error_code, error_message) = outcome(done);
    message!(DeletableTopicResult {
        name: name,
        topic_id: id,
        error_code: error_code,
        error_message: error_message,
    })
}

fn everything_refused(named: &[Named], refusal: &Refusal) -> DeleteTopicsResponse {
    let responses = named.iter().map(|topic| {
        let (name, id) = match topic {
            Named::Name(name) => (Some(name.clone()), Uuid::ZERO),
            Named::Id(id) => (None, Uuid::from_bytes(*id)),
            Named::Badly(name, id) => (name.clone(), Uuid::from_bytes(*id)),
        };
        result(name, id, &Err(refusal.clone()))
    });
    message!(DeleteTopicsResponse { responses: responses.collect() })
}
