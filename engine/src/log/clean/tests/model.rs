//! A log beside everything that was ever written to it: whatever happens, the latest value of every key is there.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What may happen to a log.
#[derive(Clone, Debug)]
enum Act {
    Append {
        records: Vec<(u8, bool)>,
        codec: u8,
        producer: Option<u8>,
    },
    /// A batch of one of two transactional producers.
    Begin {
        records: Vec<(u8, bool)>,
        producer: u8,
    },
    End {
        producer: u8,
        commit: bool,
    },
    Wait(i64),
    Roll,
    Clean,
    /// A pass that ends with the process, some steps in.
    Crash {
        steps: usize,
        seed: u64,
    },
    DeleteRecords(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let record = (0u8..9, prop::bool::weighted(0.75));
    let producer = prop::option::weighted(0.5, 0u8..3);
    prop_oneof![
        8 => (prop::collection::vec(record, 1..5), 0u8..5, producer)
            .prop_map(|(records, codec, producer)| Act::Append { records, codec, producer }),
        3 => (prop::collection::vec((1u8..9, prop::bool::weighted(0.75)), 1..4), 10u8..12)
            .prop_map(|(records, producer)| Act::Begin { records, producer }),
        3 => (10u8..12, any::<bool>()).prop_map(|(producer, commit)| Act::End { producer, commit }),
        2 => prop_oneof![Just(1), Just(1000), Just(DAY_MS)].prop_map(Act::Wait),
        1 => Just(Act::Roll),
        2 => Just(Act::Clean),
        2 => (0usize..12, any::<u64>()).prop_map(|(steps, seed)| Act::Crash { steps, seed }),
        1 => (0u8..4).prop_map(Act::DeleteRecords),
    ]
}

/// The log beside everything that was ever written to it.
struct Model {
    store: Arc<MemoryStore>,
    log: Arc<PartitionLog>,
    config: LogConfig,
    written: BTreeMap<i64, Found>,
    /// Offsets of open transactions, and records of aborted ones.
    open: HashMap<u8, Vec<i64>>,
    aborted: BTreeMap<i64, Found>,
    sequences: HashMap<u8, i32>,
    now_ms: i64,
}

impl Model {
    async fn append(&mut self, given: &[(u8, bool)], codec: u8, producer: Option<u8>, transactional: bool) {
        let mut builder = BatchBuilder::new()
            .compression(Compression::from_id(codec).unwrap(), None)
            .transactional(transactional);
        if let Some(id) = producer {
            let sequence = self.sequences.entry(id).or_default();
            builder = builder.producer(id.into(), 0, *sequence);
            *sequence += given.len() as i32;
        }
        let base = self.log.offsets().next_offset;
        for (index, (key, has_value)) in given.iter().enumerate() {
            // Key 0 is none.
            let key = (*key > 0).then(|| vec![b'k', *key]);
            let offset = base + index as i64;
            let value = has_value.then(|| format!("value {offset}").into_bytes());
            let timestamp_ms = self.now_ms - i64::from(given[0].0) * 3;
            builder = builder.record(timestamp_ms, key.as_deref(), value.as_deref());
            self.written.insert(offset, Found { offset, key, value, timestamp_ms });
        }
        let batch = valid(builder.build().unwrap());
        let appended = match transactional {
            true => self.log.append_vouched(&batch, self.now_ms, Vouched::Explicitly),
            false => self.log.append(&batch, self.now_ms),
        };
        let appended = appended.unwrap();
        appended.ticket.await.unwrap();
        assert_eq!(appended.base_offset, base);
        if transactional {
            let offsets = base..base + given.len() as i64;
            self.open.entry(producer.expect("it has one")).or_default().extend(offsets);
        }
    }

    async fn end(&mut self, producer: u8, commit: bool) {
        let Some(offsets) = self.open.remove(&producer) else { return };
        let marker = Marker {
            producer_id: producer.into(),
            producer_epoch: 0,
            coordinator_epoch: 0,
            commit,
            raises_epoch: false,
        };
        self.log.append_marker(&marker, self.now_ms).unwrap().ticket.await.unwrap();
        for offset in offsets.into_iter().filter(|_| !commit) {
            let record = self.written.remove(&offset).expect("it was written");
            self.aborted.insert(offset, record);
        }
    }

    async fn crash(&mut self, steps: usize, seed: u64) {
        if let Some(mut pass) = self.log.clean(options(self.now_ms)).unwrap() {
            for _ in 0..steps {
                if pass.step().await.unwrap().done {
                    break;
                }
            }
        }
        self.store = Arc::new(self.store.crash(CrashPoint::Random(seed)));
        self.log = open(&self.store, &self.config, (seed % 2) as usize * (1 << 20)).await;
        self.check().await;
    }

    async fn clean(&mut self) {
        let end = self.log.cleanable(self.now_ms).unwrap().end;
        // A pass that takes up an interrupted one ends where that would have ended, and another does the rest.
        let mut passes = 0;
        while let Some(pass) = self.log.clean(options(self.now_ms)).unwrap() {
            finish(pass).await.unwrap();
            passes += 1;
            assert!(passes <= 3, "there is always something left to do");
        }
        let found = self.check().await;
        let left =
            found.iter().find(|record| record.offset < end && self.aborted.contains_key(&record.offset));
        assert_eq!(left, None, "aborted data stays");
        assert!(self.log.cleaned_to().first_dirty >= end);
        let mut seen = std::collections::HashSet::new();
        for record in found.iter().filter(|record| record.offset < end) {
            let key = record.key.clone().expect("keyless records go");
            assert!(seen.insert(key), "two records of a key below {end}: {record:?}");
        }
        let bytes = batches(&self.log).await;
        assert!(self.log.clean(options(self.now_ms)).unwrap().is_none(), "nothing is left to do");
        assert_eq!(batches(&self.log).await, bytes);
        assert_figures(&self.log).await;
        assert_times(&self.log).await;
    }

    /// What holds whenever the log can be read: after a pass, in the middle of one, after a crash.
    async fn check(&self) -> Vec<Found> {
        let start = self.log.offsets().readable_from;
        let first_dirty = self.log.cleanable(self.now_ms).unwrap().end;
        // The start may be inside a batch, and readers leave out what is before it.
        let found = all_records(&self.log).await;
        let found: Vec<Found> = found.into_iter().filter(|record| record.offset >= start).collect();
        assert!(found.windows(2).all(|pair| pair[0].offset < pair[1].offset), "the order is kept");
        for record in &found {
            let written = self.written.get(&record.offset).or(self.aborted.get(&record.offset));
            assert_eq!(Some(record), written, "nothing but what was written");
        }
        let stable = self.log.offsets().last_stable_offset;
        let committed = found
            .iter()
            .filter(|record| record.offset < stable && !self.aborted.contains_key(&record.offset));
        assert_eq!(committed_records(&self.log).await, committed.cloned().collect::<Vec<_>>());
        let has = |offset: i64| found.binary_search_by_key(&offset, |record| record.offset).is_ok();
        for offset in self.written.range(start.max(first_dirty)..).map(|(offset, _)| *offset) {
            assert!(has(offset), "{offset} is behind the end of what may be cleaned");
        }
        let mut latest: HashMap<&[u8], &Found> = HashMap::new();
        for record in self.written.values() {
            record.key.as_ref().and_then(|key| latest.insert(key, record));
        }
        for (key, last) in latest {
            assert!(last.value.is_none() || last.offset < start || has(last.offset), "{last:?} is lost");
            if last.value.is_none() && !has(last.offset) && last.offset >= start {
                let revived = found.iter().find(|record| {
                    record.key.as_deref() == Some(key) && !self.aborted.contains_key(&record.offset)
                });
                assert_eq!(revived, None, "a deleted key came back");
            }
        }
        for offset in start..self.log.high_watermark() {
            let read = self.log.read(offset, 1, true, Isolation::Uncommitted).await.unwrap();
            let header = BatchHeader::parse(&read.chunks.concat()).unwrap();
            assert!(header.last_offset() >= offset, "a reader at {offset} gets on");
        }
        found
    }
}

/// A short run takes a second or two; `PROPTEST_CASES` asks for a longer one.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    // semantics 3.9.7
    #[test]
    fn whatever_happens_the_latest_value_of_every_key_is_there(
        acts in prop::collection::vec(act(), 1..60),
        segment_bytes in 200u64..900,
        min_lag in prop_oneof![Just(0i64), Just(1500)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let config = LogConfig { segment_bytes, min_compaction_lag_ms: min_lag, ..config() };
            let store = Arc::new(MemoryStore::new());
            let log = open(&store, &config, 0).await;
            let mut model = Model {
                store,
                log,
                config,
                written: BTreeMap::new(),
                open: HashMap::new(),
                aborted: BTreeMap::new(),
                sequences: HashMap::new(),
                now_ms: NOW,
            };
            for act in acts {
                match act {
                    Act::Append { records, codec, producer } => {
                        model.append(&records, codec, producer, false).await;
                    }
                    Act::Begin { records, producer } => model.append(&records, 0, Some(producer), true).await,
                    Act::End { producer, commit } => model.end(producer, commit).await,
                    Act::Wait(by_ms) => model.now_ms += by_ms,
                    Act::Roll => {
                        if let Some(ticket) = model.log.roll_for_cleaning(model.now_ms, true) {
                            ticket.await.unwrap();
                        }
                    }
                    Act::Clean => model.clean().await,
                    Act::Crash { steps, seed } => model.crash(steps, seed).await,
                    Act::DeleteRecords(part) => {
                        let offsets = model.log.offsets();
                        let span = offsets.high_watermark - offsets.readable_from;
                        let start = offsets.readable_from + span * i64::from(part) / 8;
                        model.log.delete_records(Some(start)).unwrap().1.await.unwrap();
                    }
                }
            }
            model.clean().await;
        });
    }
}
