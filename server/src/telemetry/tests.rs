//! Which clients may push what and when, without a clock and without bytes.

use super::*;

const INTERVAL_MS: i64 = 1_000;

fn configs(pairs: &[(&str, &str)]) -> ResourceConfigs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn telemetry() -> Telemetry {
    let telemetry = Telemetry::default();
    telemetry.put("s", configs(&[("interval.ms", "1000"), ("metrics", "a.,b.")]));
    telemetry
}

fn facts(client_id: &str) -> ClientFacts {
    ClientFacts {
        client_id: client_id.to_owned(),
        instance_id: "i".to_owned(),
        software_name: "apache-kafka-java".to_owned(),
        software_version: "4.3.0".to_owned(),
        source_address: "10.0.0.1".to_owned(),
        source_port: "5".to_owned(),
    }
}

fn id(number: u128) -> InstanceId {
    number.to_be_bytes()
}

fn of(subscription_id: i32) -> Push {
    Push { subscription_id, terminating: false, compression: 4, bytes: 10, max_bytes: 100 }
}

fn sample(name: &str) -> Sample {
    Sample { name: name.to_owned(), attributes: String::new(), value: 1.0 }
}

#[test]
fn a_client_asks_then_pushes_once_an_interval() {
    let telemetry = telemetry();
    let (one, facts) = (id(7), facts("c"));
    let asked = telemetry.ask(one, &facts, 0).unwrap();
    assert_eq!((asked.interval_ms, &asked.metrics[..]), (1_000, &["a.".to_owned(), "b.".to_owned()][..]));
    assert!(asked.wants("a.x") && !asked.wants("ax"));
    assert_eq!(telemetry.ask(one, &facts, 10), Err(TelemetryError::Throttled));
    let push = of(asked.subscription_id);
    assert_eq!(telemetry.admit(one, &facts, &push, 20), Ok(asked.clone()));
    assert_eq!(telemetry.admit(one, &facts, &push, 30), Err(TelemetryError::Throttled));
    assert_eq!(telemetry.admit(one, &facts, &push, 20 + INTERVAL_MS), Ok(asked.clone()));
    assert_eq!(telemetry.ask(one, &facts, 20 + INTERVAL_MS), Err(TelemetryError::Throttled));
    assert_eq!(telemetry.ask(one, &facts, 20 + 2 * INTERVAL_MS), Ok(asked));
}

#[test]
fn a_last_push_may_come_early_and_is_the_last() {
    let telemetry = telemetry();
    let (one, facts) = (id(7), facts("c"));
    let asked = telemetry.ask(one, &facts, 0).unwrap();
    let push = of(asked.subscription_id);
    telemetry.admit(one, &facts, &push, 1).unwrap();
    let last = Push { terminating: true, ..push };
    assert!(telemetry.admit(one, &facts, &last, 2).is_ok());
    for push in [push, last] {
        assert_eq!(telemetry.admit(one, &facts, &push, 9_000), Err(TelemetryError::Terminated));
    }
}

#[test]
fn pushes_of_another_subscription_codec_or_size_are_refused() {
    let telemetry = telemetry();
    let facts = facts("c");
    let refused = |number: u128, change: fn(&mut Push)| {
        let asked = telemetry.ask(id(number), &facts, 0).unwrap();
        let mut push = of(asked.subscription_id);
        change(&mut push);
        telemetry.admit(id(number), &facts, &push, 1)
    };
    assert_eq!(refused(2, |push| push.subscription_id += 1), Err(TelemetryError::UnknownSubscription));
    assert_eq!(refused(3, |push| push.compression = 5), Err(TelemetryError::UnsupportedCompression));
    assert_eq!(refused(4, |push| push.compression = -1), Err(TelemetryError::UnsupportedCompression));
    assert_eq!(refused(5, |push| push.bytes = 101), Err(TelemetryError::TooLarge));
    assert!(refused(6, |push| push.compression = 0).is_ok());
    // Only who was sent to ask may ask again at once.
    assert!(telemetry.ask(id(2), &facts, 2).is_ok());
    assert_eq!(telemetry.ask(id(5), &facts, 2), Err(TelemetryError::Throttled));
}

#[test]
fn a_changed_subscription_is_another_question() {
    let telemetry = telemetry();
    let (one, facts) = (id(7), facts("c"));
    let before = telemetry.ask(one, &facts, 0).unwrap();
    telemetry.put("t", configs(&[("interval.ms", "500"), ("metrics", "*")]));
    let push = of(before.subscription_id);
    assert_eq!(telemetry.admit(one, &facts, &push, 1), Err(TelemetryError::UnknownSubscription));
    let now = telemetry.ask(one, &facts, 2).unwrap();
    assert_eq!((now.interval_ms, &now.metrics[..]), (500, &[String::new()][..]));
    assert!(now.wants("anything"));
    telemetry.put("t", ResourceConfigs::new());
    assert_eq!(telemetry.names(), ["s"]);
    assert_eq!(telemetry.ask(one, &facts, 10_000).unwrap(), before);
}

#[test]
fn subscriptions_are_for_the_clients_that_match_all_patterns() {
    let telemetry = Telemetry::default();
    let asked = |telemetry: &Telemetry, number: u128, client: &str| {
        telemetry.ask(id(number), &facts(client), 0).unwrap().metrics
    };
    telemetry
        .put("s", configs(&[("metrics", "m"), ("match", "client_id=app.*, client_software_version=4\\..*")]));
    assert_eq!(asked(&telemetry, 2, "app-1"), ["m"]);
    assert_eq!(asked(&telemetry, 3, "my-app-1"), [""; 0], "the whole value must match");
    for (number, matched) in [
        (10, "client_instance_id=i"),
        (11, "client_software_name=apache.*"),
        (12, "client_source_address=10\\.0\\.0\\..*"),
        (13, "client_source_port=5"),
    ] {
        telemetry.put("s", configs(&[("metrics", "m"), ("match", matched)]));
        assert_eq!(asked(&telemetry, number, "c"), ["m"], "{matched}");
    }
}

#[test]
fn configs_are_checked_as_kafka_checks_them() {
    let refused = |name: &str, value: &str| subscription::parse(&configs(&[(name, value)])).unwrap_err();
    for (name, value) in [("interval.ms", "99"), ("interval.ms", "3600001"), ("no.such", "1")] {
        assert!(matches!(refused(name, value), SubscriptionFault::Request(_)), "{name} {value}");
    }
    for value in ["client_id", "client_id=a=b", "nope=a", "client_id=(", "client_id=a)(b"] {
        assert!(matches!(refused("match", value), SubscriptionFault::Config(_)), "{value}");
    }
    assert!(matches!(refused("interval.ms", "soon"), SubscriptionFault::Config(_)));
    for (name, value) in [("interval.ms", "100"), ("interval.ms", "3600000"), ("match", ""), ("metrics", "")]
    {
        assert!(subscription::parse(&configs(&[(name, value)])).is_ok(), "{name} {value}");
    }
}

#[test]
fn silent_clients_are_forgotten_with_their_values() {
    let telemetry = telemetry();
    telemetry.ask(id(7), &facts("c"), 0).unwrap();
    assert_eq!(telemetry.keep(id(7), vec![sample("a.x"), sample("b.x")]), 0);
    // What it pushes next takes the place of what it pushed before.
    telemetry.keep(id(7), vec![sample("a.x")]);
    let (clients, shown) = telemetry.shown(60_000);
    assert_eq!((clients, shown.len()), (1, 1));
    assert_eq!((&*shown[0].client_id, &*shown[0].sample.name), ("c", "a.x"));
    assert_eq!(telemetry.shown(60_001), (0, Vec::new()));
    assert_eq!(telemetry.state.lock().samples, 0);
    assert_eq!(telemetry.keep(id(7), vec![sample("a.x")]), 1, "nobody to keep it for");
}

#[test]
fn clients_and_values_are_bounded() {
    let telemetry = telemetry();
    for number in 0..=INSTANCES_MAX as u128 {
        telemetry.ask(id(number + 2), &facts("c"), number as i64).unwrap();
    }
    assert_eq!(telemetry.state.lock().instances.len(), INSTANCES_MAX);
    assert!(!telemetry.state.lock().instances.contains_key(&id(2)), "the longest silent one went");
    let most = vec![sample("a.x"); SAMPLES_MAX - 1];
    assert_eq!(telemetry.keep(id(3), most), 0);
    assert_eq!(telemetry.keep(id(4), vec![sample("a.x"); 3]), 2);
    assert_eq!(telemetry.state.lock().samples, SAMPLES_MAX);
    assert_eq!(telemetry.keep(id(3), Vec::new()), 0);
    assert_eq!(telemetry.keep(id(4), vec![sample("a.x"); 3]), 0);
}
