//! Which topic names are legal, which collide, and which are the broker's own.
//!
//! The rules are those of Kafka's `org.apache.kafka.common.internals.Topic`; messages name the same cause. Pure: it
//! knows no catalogue but what it is shown.

use std::borrow::Cow;

use chronik_engine::topic::TopicMap;

use crate::internal_topics;

/// Longest name, in characters; Kafka makes directory names of them.
pub const NAME_LENGTH_MAX: usize = 249;

/// Kafka's metadata log. Nobody may create a topic of this name.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Checks a name; the error says what is wrong with it.
///
/// # Errors
/// Text for the client, to go out with INVALID_TOPIC_EXCEPTION.
pub fn validate(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.chars().count() > NAME_LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}")
    } else if !name.bytes().all(legal) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// Whether [`validate`] passes, without its text.
pub fn is_valid(name: &str) -> bool {
    validate(name).is_ok()
}

/// An existing topic whose name differs from `name` only in '.' and '_', if any: metric names would collide.
/// The topic of the very name is not one.
pub fn colliding<'a>(name: &str, topics: &'a TopicMap) -> Option<&'a str> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let unified = unify(name);
    let existing =
        topics.iter().map(|topic| &*topic.name).chain(internal_topics::all().map(|topic| topic.name));
    existing.filter(|other| *other != name).find(|other| other.len() == name.len() && unify(other) == unified)
}

fn unify(name: &str) -> Cow<'_, str> {
    if name.contains('.') { Cow::Owned(name.replace('.', "_")) } else { Cow::Borrowed(name) }
}

fn legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    // semantics 3.9.1
    #[test]
    fn illegal_names_are_refused_with_their_reason() {
        for (name, reason) in [
            ("", "empty string"),
            (".", "'.' is not allowed"),
            ("..", "'..' is not allowed"),
            ("a b", "other than ASCII alphanumerics"),
            ("straße", "other than ASCII alphanumerics"),
            ("a/b", "other than ASCII alphanumerics"),
        ] {
            let error = validate(name).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!(validate(&"a".repeat(250)).unwrap_err().contains("longer than the max allowed length 249"));
        for name in ["a", "...", "A-z_0.9", &"a".repeat(249)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_brokers_own_topics_take_part_in_collisions() {
        let topics = TopicMap::default();
        assert_eq!(colliding("_.consumer.offsets", &topics), Some("__consumer_offsets"));
        assert_eq!(
            colliding("__consumer_offsets", &topics),
            None,
            "the very name exists, which is another error"
        );
        assert_eq!(colliding("plain", &topics), None);
    }
}
