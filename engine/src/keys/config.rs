//! Configs of resources that are not topics (a topic carries its own): `resource type, name → ConfigValue`.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, KeyParser, corrupt_key, tag_range};
use crate::store::StoreError;

const CONFIG: u8 = 0x11;

/// What was set on one resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigValue {
    /// By Kafka's names.
    #[prost(btree_map = "string, string", tag = "1")]
    pub configs: BTreeMap<String, String>,
}

/// Key of one resource. `kind` is the caller's number for its type, and never changes its meaning.
pub fn key(kind: u8, name: &str) -> Bytes {
    KeyBuilder::new(2 + name.len()).u8(CONFIG).u8(kind).bytes(name.as_bytes()).build()
}

/// Every resource.
pub fn all() -> Range<Bytes> {
    tag_range(CONFIG)
}

/// Type and name of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<(u8, &str), StoreError> {
    let mut parser = KeyParser::new(key, "config");
    parser.tag(CONFIG)?;
    let kind = parser.take(1)?.first().copied().ok_or_else(|| corrupt_key("config"))?;
    let name = std::str::from_utf8(parser.rest()).map_err(|_| corrupt_key("config"))?;
    Ok((kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_key() {
        let bytes = key(4, "ab");
        assert_eq!(&bytes[..], [0x11, 4, b'a', b'b']);
        assert_eq!(parse(&bytes).unwrap(), (4, "ab"));
        assert_eq!(parse(&key(16, "")).unwrap(), (16, ""));
        assert!(all().contains(&bytes));
    }

    #[test]
    fn golden_value() {
        let value = ConfigValue { configs: [("a".to_owned(), "1".to_owned())].into() };
        let bytes = prost::Message::encode_to_vec(&value);
        assert_eq!(bytes, [10, 6, 10, 1, b'a', 18, 1, b'1']);
    }

    #[test]
    fn other_layouts_are_corrupt() {
        for bytes in [&[0x11][..], &[0x12, 4], &[0x11, 4, 0xff]] {
            assert!(matches!(parse(bytes), Err(StoreError::Corrupt(_))), "{bytes:?}");
        }
    }
}
