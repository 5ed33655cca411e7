//! The topics a consumer's JoinGroup metadata names.
//!
//! Only the part that every version of Kafka's `ConsumerProtocolSubscription` begins with is read, as Kafka's
//! coordinator does: version (2), number of topics (4), each a length (2) and UTF-8. What follows, and versions yet to
//! come, are the clients' business; the message crate's decoder would refuse both.

/// The topics, or none when `metadata` is no subscription.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<String>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    // Every topic takes two bytes at least, so a hostile count ends the loop before it costs anything.
    let mut topics = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, tail) = tail.split_at_checked(length)?;
        topics.push(str::from_utf8(name).ok()?.to_owned());
        rest = tail;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version_and_whatever_follows_is_ignored() {
        let v0 = b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(topics(v0), Some(vec!["a".to_owned(), "bc".to_owned()]));
        let later = [&b"\0\x63"[..], &v0[2..], b"anything"].concat();
        assert_eq!(topics(&later), topics(v0));
        assert_eq!(topics(b"\0\x01\0\0\0\0"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_subscription_is_refused_without_allocating_for_it() {
        assert_eq!(topics(b""), None);
        assert_eq!(topics(b"\xff\xff\0\0\0\0"), None);
        assert_eq!(topics(b"\0\0\xff\xff\xff\xff"), None);
        assert_eq!(topics(b"\0\0\x7f\xff\xff\xff\0\x01a"), None);
        assert_eq!(topics(b"\0\0\0\0\0\x01\xff\xff"), None);
        assert_eq!(topics(b"\0\0\0\0\0\x01\0\x02a"), None);
        assert_eq!(topics(b"\0\0\0\0\0\x01\0\x01\xff"), None);
    }
}
