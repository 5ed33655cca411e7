//! Configuration as an operator meets it: precedence, provenance, and every fault told at once.

use std::collections::BTreeMap;
use std::io::Write;

use chronik_engine::store::Durability;
use chronik_engine::store::rocks::{CommitProfile, WalProfile};
use chronik_protocol::batch::{TargetCompression, TimestampType};
use chronik_protocol::compression::Compression;

use super::setting::Bind;
use super::*;

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn flag(mut sources: Sources, name: &str, value: &str, typed: &str) -> Sources {
    sources.flags.push((name.to_owned(), value.to_owned(), typed.to_owned()));
    sources
}

fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    (file, sources)
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn faults(sources: &Sources) -> Vec<Fault> {
    load(sources).unwrap_err().0
}

#[test]
fn every_default_loads_and_reaches_its_field() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config.node.node_id, 1);
    assert_eq!(config.group.initial_rebalance_delay_ms, 3_000);
    assert_eq!(config.network.socket_request_max_bytes, 104_857_600);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!(config.listeners[0].advertised.to_string(), "127.0.0.1:9092");
    assert_eq!(config.http.http_addr.to_string(), "127.0.0.1:6092");
    assert_eq!(config.storage.produce_profile, CommitProfile::HighThroughput);
    assert_eq!(config.storage.wal_profile, None);
    assert!(config.http.admin_api_key.is_none());
}

#[test]
fn profile_names_are_the_engines() {
    let names: Vec<&str> = CommitProfile::ALL.iter().map(|profile| profile.name()).collect();
    assert_eq!(names, super::table::PRODUCE_PROFILES);
    let names: Vec<&str> = WalProfile::ALL.iter().map(|profile| profile.name()).collect();
    assert_eq!(names, super::table::WAL_PROFILES[1..]);
}

#[test]
fn names_and_variables_are_unique_and_nearest_to_themselves() {
    let mut seen = std::collections::BTreeSet::new();
    for setting in settings() {
        assert!(seen.insert(setting.name.to_owned()), "{} twice", setting.name);
        assert!(seen.insert(setting.env_name()), "{} twice", setting.env_name());
        assert!(setting.doc.ends_with('.'), "{} has no sentence", setting.name);
    }
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let (_file, mut sources) = file("num.partitions = 2\nmessage.max.bytes = 5\n[log.retention]\nms = 7\n");
    sources.env = env(&[("CHRONIK_NUM_PARTITIONS", "3"), ("CHRONIK_MESSAGE_MAX_BYTES", "6")]).env;
    let sources = flag(sources, "num.partitions", "4", "--set");
    let config = load(&sources).unwrap();
    assert_eq!(config.topics.num_partitions, 4);
    assert_eq!(config.entries.origin("num.partitions"), Some(&Origin::Flag("--set".into())));
    assert_eq!(config.entries.value("message.max.bytes"), Some("6"));
    assert_eq!(
        config.entries.origin("message.max.bytes"),
        Some(&Origin::Env("CHRONIK_MESSAGE_MAX_BYTES".into()))
    );
    assert!(matches!(config.entries.origin("log.retention.ms"), Some(Origin::File { line: 4, .. })));
    assert_eq!(config.entries.origin("node.id"), Some(&Origin::Default));
}

#[test]
fn all_faults_are_reported_at_once_with_option_origin_and_remedy() {
    let (_file, mut sources) =
        file("num.partitons = 1\nlog.segment.bytes = 5\nlog.format = 'xml'\nnode.id = 1979-05-27\n");
    sources.env = env(&[
        ("CHRONIK_NUM_PARTITIONS", "zero"),
        ("CHRONIK_NUMBER_PARTITIONS", "1"),
        ("CHRONIK_GROUP_MIN_SESSION_TIMEOUT_MS", "9"),
        ("CHRONIK_GROUP_MAX_SESSION_TIMEOUT_MS", "8"),
    ])
    .env;
    let found = faults(&flag(sources, "log.dirs", "/x", "--set log.dirs=/x"));
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expect = [
        ("num.partitons", "Did you mean num.partitions?"),
        ("log.segment.bytes", "at least 1048576"),
        ("log.format", "one of text, json"),
        ("node.id", "line 4"),
        ("num.partitions", "environment variable CHRONIK_NUM_PARTITIONS"),
        ("CHRONIK_NUMBER_PARTITIONS", "Did you mean CHRONIK_NUM_PARTITIONS?"),
        ("group.min.session.timeout.ms", "above group.max.session.timeout.ms (8)"),
        ("log.dirs", "Did you mean data.dir?"),
    ];
    assert_eq!(found.len(), expect.len(), "{told:#?}");
    for (option, part) in expect {
        assert!(
            told.iter().any(|line| line.starts_with(&format!("{option} (")) && line.contains(part)),
            "{option}: {part} not in {told:#?}"
        );
    }
}

#[test]
fn broken_toml_and_a_missing_file_are_faults_like_others() {
    let (_file, mut sources) = file("num.partitions = \nlog.level = 'info'\n");
    sources.env = env(&[("CHRONIK_NODE_ID", "x")]).env;
    let found = faults(&sources);
    assert!(found.iter().any(|fault| matches!(fault.origin, Origin::File { line: 1, .. })));
    assert!(found.iter().any(|fault| fault.option == "node.id"));
    let missing = Sources { file: Some("/nonexistent/chronik.toml".into()), ..Sources::default() };
    assert!(faults(&missing)[0].problem.contains("cannot read"));
}

#[test]
fn a_name_that_continues_another_works_in_quotes() {
    let (_file, sources) = file("'max.connections' = 7\n'max.connections.per.ip' = 5\n");
    let config = load(&sources).unwrap();
    assert_eq!((config.network.max_connections, config.network.max_connections_per_ip), (7, 5));
}

#[test]
fn sizes_take_units_of_1024() {
    let config = load(&env(&[("CHRONIK_WAL_ROTATION_SIZE", "250 MB")])).unwrap();
    assert_eq!(config.entries.value("log.segment.bytes"), Some("262144000"));
    let config =
        load(&env(&[("CHRONIK_WAL_ROTATION_SIZE", "1g"), ("CHRONIK_LOG_SEGMENT_BYTES", "2 MiB")])).unwrap();
    assert_eq!(config.entries.value("log.segment.bytes"), Some("2097152"), "the alias is weaker");
    assert_eq!(faults(&env(&[("CHRONIK_LOG_SEGMENT_BYTES", "2 parsecs")])).len(), 1);
}

#[test]
fn secrets_never_leave() {
    let config = load(&env(&[("CHRONIK_ADMIN_API_KEY", "swordfish")])).unwrap();
    assert_eq!(config.http.admin_api_key.as_ref().unwrap().expose(), "swordfish");
    let everything = format!("{config:?}{:?}", config.entries.describe());
    assert!(!everything.contains("swordfish"));
    let entries = config.entries.describe();
    let entry = entries.iter().find(|entry| entry.name == "chronik.admin.api.key").unwrap();
    assert!(entry.sensitive && entry.value.is_none());
    assert_eq!(entry.source, ConfigSource::StaticBroker);
}

#[test]
fn several_listeners_are_told_by_name() {
    let sources = env(&[
        ("CHRONIK_LISTENERS", "INTERNAL://127.0.0.1:9092, external://[::1]:9094"),
        ("CHRONIK_ADVERTISED_LISTENERS", "EXTERNAL://broker.example:19094"),
    ]);
    let config = load(&sources).unwrap();
    let told: Vec<String> =
        config.listeners.iter().map(|l| format!("{} {} {}", l.name, l.bind, l.advertised)).collect();
    assert_eq!(told, ["INTERNAL 127.0.0.1:9092 127.0.0.1:9092", "EXTERNAL [::1]:9094 broker.example:19094"]);
}

#[test]
fn a_wildcard_is_never_told_to_clients() {
    let config = load(&env(&[("CHRONIK_BIND_ADDR", "0.0.0.0")])).unwrap();
    let listener = &config.listeners[0];
    assert_eq!(listener.bind.to_string(), "0.0.0.0:9092");
    assert!(!listener.advertised.is_wildcard());
    assert_eq!(listener.advertised_from, AdvertisedFrom::Interface);
    assert_eq!(config.http.http_addr.to_string(), "0.0.0.0:6092");
    let config = load(&env(&[("CHRONIK_BIND_ADDR", "::"), ("CHRONIK_ADVERTISED_ADDR", "h")])).unwrap();
    assert_eq!(config.listeners[0].bind.to_string(), "[::]:9092");
    assert_eq!(config.listeners[0].advertised.to_string(), "h:9092");
    assert_eq!(config.listeners[0].advertised_from, AdvertisedFrom::Configured);
    let wrong = env(&[("CHRONIK_ADVERTISED_LISTENERS", "PLAINTEXT://0.0.0.0:9092")]);
    assert!(faults(&wrong)[0].problem.contains("cannot connect"));
}

#[test]
fn advertised_addr_takes_a_host_or_a_host_and_port() {
    let told = |text: &str| {
        let config = load(&env(&[("CHRONIK_ADVERTISED_ADDR", text)]));
        config.map(|config| config.listeners[0].advertised.to_string())
    };
    assert_eq!(told("kafka.example").unwrap(), "kafka.example:9092");
    assert_eq!(told("kafka.example:1234").unwrap(), "kafka.example:1234");
    assert_eq!(told("[2001:db8::1]:1234").unwrap(), "[2001:db8::1]:1234");
    assert_eq!(told("[2001:db8::1]").unwrap(), "[2001:db8::1]:9092");
    assert!(told("kafka example").is_err());
    let flagged = flag(env(&[("CHRONIK_ADVERTISED_ADDR", "a")]), "advertise", "b:1", "--advertise");
    assert_eq!(load(&flagged).unwrap().listeners[0].advertised.to_string(), "b:1");
}

#[test]
fn contradictory_addresses_are_refused() {
    let both = env(&[("CHRONIK_BIND_ADDR", "0.0.0.0"), ("CHRONIK_LISTENERS", "A://127.0.0.1:1")]);
    assert!(faults(&both)[0].remedy.contains("CHRONIK_BIND_ADDR"));
    let unknown = env(&[("CHRONIK_ADVERTISED_LISTENERS", "OTHER://h:1")]);
    assert!(faults(&unknown)[0].problem.contains("no listener OTHER"));
    let same = env(&[("CHRONIK_HTTP_ADDR", "0.0.0.0:9092")]);
    assert!(faults(&same)[0].problem.contains("same address"));
    let two =
        env(&[("CHRONIK_LISTENERS", "A://127.0.0.1:1,B://127.0.0.1:2"), ("CHRONIK_ADVERTISED_ADDR", "x:1")]);
    assert!(faults(&two)[0].problem.contains("2 listeners"));
    for bad in ["A://h", "h:1", "A://h:1,A://h:2", "A://::1:9092", "A://h:70000", ",", "A B://h:1"] {
        assert_eq!(faults(&env(&[("CHRONIK_LISTENERS", bad)])).len(), 1, "{bad}");
    }
}

#[test]
fn broker_entries_carry_source_and_synonyms() {
    let config = load(&env(&[("CHRONIK_NUM_PARTITIONS", "3")])).unwrap();
    let entries = config.entries.describe();
    assert_eq!(entries.len(), settings().len());
    let entry = entries.iter().find(|entry| entry.name == "num.partitions").unwrap();
    assert_eq!((entry.value.as_deref(), entry.source.code()), (Some("3"), 4));
    let synonyms: Vec<_> =
        entry.synonyms.iter().map(|s| (s.value.as_deref().unwrap(), s.source.code())).collect();
    assert_eq!(synonyms, [("3", 4), ("1", 5)]);
}

#[test]
fn topic_table_is_sorted_and_its_defaults_agree_with_the_broker() {
    let config = load(&Sources::default()).unwrap();
    let names: Vec<_> = topic_settings().iter().map(|setting| setting.name).collect();
    assert!(names.is_sorted());
    for entry in describe_topic(&BTreeMap::new(), &config) {
        let row = topic_settings().iter().find(|row| row.name == entry.name).unwrap();
        assert_eq!(entry.value.as_deref(), row.default, "{}", entry.name);
        assert_eq!(entry.source, ConfigSource::Default, "{}", entry.name);
    }
}

#[test]
fn a_topic_default_in_the_broker_table_is_a_synonym_of_that_config() {
    for setting in settings() {
        if let Bind::TopicDefault(topic) = setting.bind {
            let row = topic_settings().iter().find(|row| row.name == topic).unwrap();
            assert!(
                row.effect || setting.doc.starts_with("*No effect:*"),
                "{} sets {topic}, which has none",
                setting.name
            );
            assert!(row.synonyms.iter().any(|synonym| synonym.name == setting.name));
        }
    }
}

#[test]
fn topics_inherit_milliseconds_over_minutes_over_hours() {
    let retention =
        |pairs: &[(&str, &str)]| log_config(&BTreeMap::new(), &load(&env(pairs)).unwrap()).retention_ms;
    assert_eq!(retention(&[]), Some(604_800_000));
    assert_eq!(retention(&[("CHRONIK_LOG_RETENTION_HOURS", "2")]), Some(7_200_000));
    assert_eq!(retention(&[("CHRONIK_LOG_RETENTION_HOURS", "-1")]), None);
    let minutes = ("CHRONIK_LOG_RETENTION_MINUTES", "3");
    assert_eq!(retention(&[minutes, ("CHRONIK_LOG_RETENTION_HOURS", "2")]), Some(180_000));
    assert_eq!(retention(&[minutes, ("CHRONIK_LOG_RETENTION_MS", "4")]), Some(4));
}

#[test]
fn topic_entries_list_all_layers() {
    let minutes = ("CHRONIK_LOG_RETENTION_MINUTES", "3");
    let config = load(&env(&[minutes, ("CHRONIK_LOG_RETENTION_MS", "4")])).unwrap();
    let entries = describe_topic(&overrides(&[("retention.ms", "99")]), &config);
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_deref(), entry.source.code()), (Some("99"), 1));
    let synonyms: Vec<_> = entry
        .synonyms
        .iter()
        .map(|s| (s.name.as_str(), s.value.as_deref().unwrap(), s.source.code()))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "99", 1),
            ("log.retention.ms", "4", 4),
            ("log.retention.minutes", "3", 4),
            ("log.retention.hours", "168", 5),
        ]
    );
    // Kafka leaves out what stands before the strongest setting; without it, that is all.
    let entries = describe_topic(&overrides(&[]), &load(&env(&[minutes])).unwrap());
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_deref(), entry.synonyms.len()), (Some("180000"), 0));
}

#[test]
fn topic_overrides_are_checked_as_kafka_checks_them() {
    let config = load(&Sources::default()).unwrap();
    let refused = [
        ("no.such.config", "1"),
        ("segment.bytes", "1048575"),
        ("retention.ms", "-2"),
        ("cleanup.policy", "shrink"),
        ("cleanup.policy", "delete,delete"),
        ("compression.type", "none"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "0"),
        ("compression.zstd.level", "23"),
        ("message.timestamp.type", "createtime"),
        ("min.insync.replicas", "0"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("max.message.bytes", "2147483648"),
        ("remote.storage.enable", "yes"),
        ("preallocate", "yes"),
        ("leader.replication.throttled.replicas", "a"),
        ("chronik.durability", "never"),
    ];
    for (name, value) in refused {
        let found = validate_overrides(&overrides(&[(name, value)]), &config);
        assert_eq!(found.len(), 1, "{name}={value}");
        assert_eq!(found[0].name, name);
    }
    let accepted = [
        ("cleanup.policy", "compact, delete"),
        ("cleanup.policy", ""),
        ("retention.bytes", "-5"),
        ("compression.gzip.level", "-1"),
        ("compression.zstd.level", "-7"),
        ("remote.storage.enable", "true"),
        ("message.downconversion.enable", "TRUE"),
        ("internal.segment.bytes", "1000"),
        ("leader.replication.throttled.replicas", "0:1,1:1"),
    ];
    for (name, value) in accepted {
        assert_eq!(validate_overrides(&overrides(&[(name, value)]), &config), [], "{name}={value}");
    }
    let conflict = overrides(&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")]);
    assert_eq!(validate_overrides(&conflict, &config).len(), 1);
}

#[test]
fn a_topic_config_is_what_its_overrides_say() {
    let config = load(&Sources::default()).unwrap();
    let topic = log_config(
        &overrides(&[
            ("cleanup.policy", "compact"),
            ("compression.type", "zstd"),
            ("message.timestamp.type", "LogAppendTime"),
            ("chronik.durability", "os"),
            ("internal.segment.bytes", "1000"),
            ("retention.ms", "not a number"),
        ]),
        &config,
    );
    assert!(topic.cleanup_compact && !topic.cleanup_delete);
    assert_eq!(topic.compression, TargetCompression::To(Compression::Zstd, Some(3)));
    assert_eq!(topic.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(topic.durability, Durability::Os);
    assert_eq!(topic.segment_bytes, 1_000);
    assert_eq!(topic.retention_ms, Some(604_800_000), "a stored value that is no good counts as not set");
}

// A malformed endpoint used to end the process, and one with keys in it was shown by `doctor` and over HTTP.
#[test]
fn an_endpoint_is_an_address_and_holds_no_keys() {
    for sound in ["minio:9000", "http://127.0.0.1:9000", "https://s3.example/base", "http://[::1]:9000"] {
        load(&env(&[("S3_ENDPOINT", sound)])).unwrap();
    }
    for wrong in [
        "http://bad host:1",
        "http://",
        "ftp://h",
        "https://key:hush@h",
        "http:/key:hush@h/",
        "http://h:99999",
        "h:1?x=y",
    ] {
        let told: Vec<String> =
            faults(&env(&[("S3_ENDPOINT", wrong)])).iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains("s3.endpoint"), "{wrong}: {told:?}");
        assert!(!told[0].contains("hush"), "{told:?}");
    }
}
