//! Payloads as OpenTelemetry's encoders write them: built with `prost` from the schema, read by the walker.

use proptest::prelude::*;
use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricsData {
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceMetrics {
    #[prost(string, tag = "3")]
    pub schema_url: String,
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(message, optional, tag = "5")]
    pub gauge: Option<Points>,
    #[prost(message, optional, tag = "7")]
    pub sum: Option<Points>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Points {
    #[prost(message, repeated, tag = "1")]
    pub points: Vec<Point>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Point {
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    #[prost(double, optional, tag = "4")]
    pub as_double: Option<f64>,
    #[prost(sfixed64, optional, tag = "6")]
    pub as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(string, optional, tag = "1")]
    pub text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    pub number: Option<i64>,
}

/// A payload of gauges with one point each.
pub(crate) fn gauges(values: &[(&str, f64)]) -> Vec<u8> {
    let metrics = values.iter().map(|(name, value)| {
        let point = Point { start: 1, as_double: Some(*value), as_int: None, attributes: Vec::new() };
        Metric {
            name: (*name).to_owned(),
            description: "d".to_owned(),
            gauge: Some(Points { points: vec![point] }),
            sum: None,
        }
    });
    let scope = ScopeMetrics { metrics: metrics.collect() };
    let resource = ResourceMetrics { schema_url: "s".to_owned(), scope_metrics: vec![scope] };
    MetricsData { resource_metrics: vec![resource] }.encode_to_vec()
}

#[test]
fn gauges_and_sums_are_read_with_their_attributes() {
    let attribute = |key: &str, text: Option<&str>, number: Option<i64>| Attribute {
        key: key.to_owned(),
        value: Some(AnyValue { text: text.map(str::to_owned), number }),
    };
    let point = Point {
        start: 9,
        as_double: None,
        as_int: Some(-7),
        attributes: vec![attribute("topic", Some("t"), None), attribute("node", None, Some(3))],
    };
    let metric = Metric {
        name: "a.sum".to_owned(),
        description: String::new(),
        gauge: None,
        sum: Some(Points { points: vec![point] }),
    };
    let resource = ResourceMetrics {
        schema_url: String::new(),
        scope_metrics: vec![ScopeMetrics { metrics: vec![metric] }],
    };
    let mut payload = MetricsData { resource_metrics: vec![resource] }.encode_to_vec();
    payload.extend(gauges(&[("b.gauge", 0.5), ("unwanted", 1.0)]));
    let found = read(&payload, 10, |name| name != "unwanted").unwrap();
    let sample = |name: &str, attributes: &str, value: f64| Sample {
        name: name.to_owned(),
        attributes: attributes.to_owned(),
        value,
    };
    assert_eq!(found.samples, [sample("a.sum", "node=3,topic=t", -7.0), sample("b.gauge", "", 0.5)]);
    assert_eq!(found.dropped, 0);
}

#[test]
fn what_is_too_many_or_too_long_is_counted_and_left_out() {
    let long = "x".repeat(257);
    let payload = gauges(&[("a", 1.0), ("b", 2.0), (&long, 3.0), ("c", 4.0)]);
    let found = read(&payload, 2, |_| true).unwrap();
    assert_eq!((found.samples.len(), found.dropped), (2, 2));
}

#[test]
fn payloads_cut_short_are_malformed() {
    let payload = gauges(&[("a.metric", 1.0)]);
    // The outermost message is one field: every cut breaks its length.
    for end in 1..payload.len() {
        assert_eq!(read(&payload[..end], 10, |_| true), Err(Malformed), "{end}");
    }
    for bytes in [&[0xff; 20][..], &[0x0b], &[0x00, 0x00], &[0x0a, 0x01, 0xff]] {
        assert_eq!(read(bytes, 10, |_| true), Err(Malformed), "{bytes:?}");
    }
    assert_eq!(read(&[], 10, |_| true), Ok(Read::default()));
}

proptest! {
    #[test]
    fn hostile_bytes_neither_panic_nor_give_more_than_the_bound(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0usize..300,
        byte in any::<u8>(),
    ) {
        let _ = read(&bytes, 3, |_| true);
        let mut payload = gauges(&[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)]);
        let index = at % payload.len();
        payload[index] = byte;
        if let Ok(found) = read(&payload, 3, |_| true) {
            prop_assert!(found.samples.len() <= 3);
        }
    }
}
