//! Hostile bytes against everything that a peer can reach: request headers and bodies of every API and version, the
//! batch checks, the record walker, the decompressors. Nothing may panic, and nothing may allocate out of proportion.
//!
//! Seeded and short; `TEST_FUZZ_SECONDS` gives each of the tests that many seconds instead, and a seed of its own,
//! which a failure prints. `TEST_FUZZ_SEED` repeats it.
#![expect(unsafe_code, reason = "a counting allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use chronik_protocol::batch::{
    BatchBuilder, BatchView, Compression, TargetCompression, TimestampType, ValidateOptions, split_batches,
    validate,
};
use chronik_protocol::codec::{self, CodecError, KafkaRequest, messages};
use chronik_protocol::compression::{compress, decompress};
use chronik_protocol::limits::DECODED_BYTES_PER_BYTE;

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // While a thread ends, its counters are gone, and nobody looks at them.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    // A realloc may hold both for a moment, and is counted so.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`, and returns the most bytes that this thread held meanwhile beyond what it held before.
fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Small numbers and the extremes lead deeper into a schema than evenly spread ones.
    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => 0,
            1 => self.below(6) as u8,
            2 => [0xff, 0x7f, 0x80, 0xfe][self.below(4)],
            _ => self.next() as u8,
        }
    }

    fn bytes(&mut self, size_max: usize) -> Vec<u8> {
        let size = self.below(size_max + 1);
        (0..size).map(|_| self.byte()).collect()
    }

    /// `seed`, cut, changed, and grown a little.
    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 => drop(bytes.splice(at..at, self.bytes(12))),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = self.byte(),
                _ => {}
            }
        }
        bytes
    }
}

/// Says when a test has done enough.
struct Effort {
    rng: Rng,
    seed: u64,
    rounds_left: usize,
    until: Option<Instant>,
}

impl Effort {
    fn new(rounds: usize) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seconds = number("TEST_FUZZ_SECONDS");
        let clock = || {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970").as_nanos()
                as u64
        };
        let seed = number("TEST_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { clock() } else { 42 });
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        Self { rng: Rng(seed), seed, rounds_left: rounds, until }
    }

    fn goes_on(&mut self) -> bool {
        match self.until {
            Some(until) => Instant::now() < until,
            None => {
                self.rounds_left = self.rounds_left.saturating_sub(1);
                self.rounds_left > 0
            }
        }
    }
}

/// Prints how to repeat a failure, panics included.
struct Repeat<'a>(u64, &'a [u8], String);

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: TEST_FUZZ_SEED={}, bytes {:02x?}", self.2, self.0, self.1);
        }
    }
}

/// One request type of the codec.
struct Target {
    key: i16,
    min: i16,
    max: i16,
    seed: fn(i16) -> Option<Bytes>,
    decode: fn(Bytes, i16) -> Result<(), CodecError>,
}

fn target<R: KafkaRequest + Default>() -> Target {
    let (min, max) = codec::supported_versions(R::API_KEY.value()).expect("it has a descriptor");
    Target {
        key: R::API_KEY.value(),
        min,
        max,
        seed: |version| {
            let mut body = BytesMut::new();
            codec::encode_response_body_into(&R::default(), version, &mut body).ok().map(|_| body.freeze())
        },
        decode: |body, version| codec::decode_body::<R>(body, version).map(drop),
    }
}

macro_rules! targets {
    ($($request:ident,)*) => { vec![$(target::<messages::$request>()),*] };
}

fn targets() -> Vec<Target> {
    targets!(
        AddOffsetsToTxnRequest,
        AddPartitionsToTxnRequest,
        AddRaftVoterRequest,
        AllocateProducerIdsRequest,
        AlterClientQuotasRequest,
        AlterConfigsRequest,
        AlterPartitionRequest,
        AlterPartitionReassignmentsRequest,
        AlterReplicaLogDirsRequest,
        AlterShareGroupOffsetsRequest,
        AlterUserScramCredentialsRequest,
        ApiVersionsRequest,
        AssignReplicasToDirsRequest,
        BeginQuorumEpochRequest,
        BrokerHeartbeatRequest,
        BrokerRegistrationRequest,
        ConsumerGroupDescribeRequest,
        ConsumerGroupHeartbeatRequest,
        ControllerRegistrationRequest,
        CreateAclsRequest,
        CreateDelegationTokenRequest,
        CreatePartitionsRequest,
        CreateTopicsRequest,
        DeleteAclsRequest,
        DeleteGroupsRequest,
        DeleteRecordsRequest,
        DeleteShareGroupOffsetsRequest,
        DeleteShareGroupStateRequest,
        DeleteTopicsRequest,
        DescribeAclsRequest,
        DescribeClientQuotasRequest,
        DescribeClusterRequest,
        DescribeConfigsRequest,
        DescribeDelegationTokenRequest,
        DescribeGroupsRequest,
        DescribeLogDirsRequest,
        DescribeProducersRequest,
        DescribeQuorumRequest,
        DescribeShareGroupOffsetsRequest,
        DescribeTopicPartitionsRequest,
        DescribeTransactionsRequest,
        DescribeUserScramCredentialsRequest,
        ElectLeadersRequest,
        EndQuorumEpochRequest,
        EndTxnRequest,
        EnvelopeRequest,
        ExpireDelegationTokenRequest,
        FetchRequest,
        FetchSnapshotRequest,
        FindCoordinatorRequest,
        GetTelemetrySubscriptionsRequest,
        HeartbeatRequest,
        IncrementalAlterConfigsRequest,
        InitProducerIdRequest,
        InitializeShareGroupStateRequest,
        JoinGroupRequest,
        LeaveGroupRequest,
        ListConfigResourcesRequest,
        ListGroupsRequest,
        ListOffsetsRequest,
        ListPartitionReassignmentsRequest,
        ListTransactionsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetDeleteRequest,
        OffsetFetchRequest,
        OffsetForLeaderEpochRequest,
        ProduceRequest,
        PushTelemetryRequest,
        ReadShareGroupStateRequest,
        ReadShareGroupStateSummaryRequest,
        RemoveRaftVoterRequest,
        RenewDelegationTokenRequest,
        SaslAuthenticateRequest,
        SaslHandshakeRequest,
        ShareAcknowledgeRequest,
        ShareFetchRequest,
        ShareGroupDescribeRequest,
        ShareGroupHeartbeatRequest,
        StreamsGroupDescribeRequest,
        StreamsGroupHeartbeatRequest,
        StreamsGroupTopologyDescriptionUpdateRequest,
        SyncGroupRequest,
        TxnOffsetCommitRequest,
        UnregisterBrokerRequest,
        UpdateFeaturesRequest,
        UpdateRaftVoterRequest,
        VoteRequest,
        WriteShareGroupStateRequest,
        WriteTxnMarkersRequest,
    )
}

/// What a body may take once, whatever its size: one small vector for each nesting, and an error's text.
const BODY_BASE: usize = 16 << 10;

#[test]
fn every_api_of_the_codec_is_a_target() {
    let mut keys: Vec<i16> = targets().iter().map(|target| target.key).collect();
    keys.sort_unstable();
    let all: Vec<i16> = messages::API_DESCRIPTORS.iter().map(|api| api.api_key.value()).collect();
    assert_eq!(keys, all);
}

#[test]
fn request_bodies_of_every_version() {
    let mut effort = Effort::new(60);
    let targets = targets();
    let (mut tried, mut accepted, mut worst) = (0u64, 0u64, (0usize, 0i16));
    while effort.goes_on() {
        for target in &targets {
            for version in target.min..=target.max {
                let seed = (target.seed)(version).unwrap_or_default();
                for body in bodies(&mut effort.rng, &seed) {
                    let size = body.len();
                    let _repeat = Repeat(effort.seed, &body, format!("api {} version {version}", target.key));
                    let shared = Bytes::from(body.clone());
                    let (result, peak) = peak_bytes(|| (target.decode)(shared, version));
                    assert!(
                        peak <= BODY_BASE + DECODED_BYTES_PER_BYTE * size,
                        "{peak} bytes held for {size}"
                    );
                    tried += 1;
                    accepted += u64::from(result.is_ok());
                    if size >= 64 {
                        worst = worst.max((peak / size, target.key));
                    }
                }
            }
        }
    }
    eprintln!("{tried} bodies, {accepted} accepted, worst {} bytes held a byte (api {})", worst.0, worst.1);
    assert!(accepted * 50 > tried, "mutation has lost its way into the schemas");
}

/// Bytes of the bodies that are climbed with.
const CLIMBED_BYTES: usize = 4 << 10;

/// Steps from each place that a short climb begins at.
const CLIMB_STEPS: usize = 8;

/// A body as long as it is to be: a head, then the same few bytes again and again.
#[derive(Clone)]
struct Periodic {
    head: Vec<u8>,
    period: Vec<u8>,
}

impl Periodic {
    fn body(&self) -> Vec<u8> {
        let rest = self.period.iter().copied().cycle();
        self.head.iter().copied().chain(rest).take(CLIMBED_BYTES).collect()
    }

    /// A neighbour. Small numbers are what arrays with a single element, empty strings and no tags are made of.
    fn mutated(&self, rng: &mut Rng) -> Self {
        let mut next = self.clone();
        for _ in 0..=rng.below(2) {
            let bytes = if rng.below(4) == 0 { &mut next.head } else { &mut next.period };
            let at = rng.below(bytes.len() + 1);
            let byte = [0, 1, 1, 2, 3, 4, 5][rng.below(7)];
            match rng.below(4) {
                0 if bytes.len() < 60 => bytes.insert(at, byte),
                1 if bytes.len() > 1 && at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        next
    }

    /// Tenths of a byte that a decoder holds at most for each byte of the body. A vector that has just grown holds its
    /// old memory and twice as much, so the length matters; `lengths` says how many are tried.
    fn weight(&self, target: &Target, version: i16, lengths: usize) -> usize {
        let body = Bytes::from(self.body());
        let tried = (CLIMBED_BYTES / 2..=CLIMBED_BYTES).step_by(CLIMBED_BYTES / 2 / lengths);
        let weigh = |length| peak_bytes(|| (target.decode)(body.slice(..length), version)).1 * 10 / length;
        tried.map(weigh).max().unwrap_or_default()
    }
}

/// Bodies that claim a long array at each place where an empty request has one.
fn starts(seed: &[u8]) -> Vec<Periodic> {
    let mut found = Vec::new();
    for at in 0..seed.len().min(80) {
        // Compact: a varint of the length plus one, where the empty request says 1. Else four bytes of zeros.
        let compact = (seed[at] == 1).then_some(&[0xff, 0x1f][..]);
        let plain = (seed.get(at..at + 4) == Some(&[0; 4])).then_some(&[0, 0, 0x0f, 0xff][..]);
        for length in compact.into_iter().chain(plain) {
            let head = [&seed[..at], length].concat();
            found.extend([0, 1].map(|fill| Periodic { head: head.clone(), period: vec![fill] }));
        }
    }
    found
}

/// Climbs towards the body of one API and version that takes the most memory.
fn climb(target: &Target, version: i16, steps: usize, rng: &mut Rng) -> Option<(usize, Periodic)> {
    let seed = (target.seed)(version).unwrap_or_default();
    let weighed = |start: Periodic| (start.weight(target, version, 4), start);
    let mut places: Vec<(usize, Periodic)> = starts(&seed).into_iter().map(weighed).collect();
    places.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    places.truncate(4);
    for place in &mut places {
        for _ in 0..steps {
            let next = weighed(place.1.mutated(rng));
            if next.0 >= place.0 {
                *place = next;
            }
        }
    }
    let (_, best) = places.into_iter().max_by_key(|(weight, _)| *weight)?;
    Some((best.weight(target, version, 256), best))
}

/// The heaviest bodies that long climbs have found: API, version, head, period.
const HEAVIEST: [(i16, i16, &[u8], &[u8]); 3] = [
    (9, 8, &[0xff, 3, 1, 2, 1, 5, 5, 2, 1, 1, 0, 5, 0], &[2, 1, 1, 0, 1, 2, 0, 1]),
    (3, 8, &[0, 0, 5, 1], &[0]),
    (13, 4, &[1, 0xff, 4, 4, 5, 3, 1, 4], &[0, 1, 0, 1, 0]),
];

#[test]
fn no_body_becomes_more_than_is_reserved_for_it() {
    let mut effort = Effort::new(2);
    let targets = targets();
    let long = effort.until.is_some();
    let mut worst = (0, 0, 0);
    for (key, version, head, period) in HEAVIEST {
        let target = targets.iter().find(|target| target.key == key).expect("an API of the codec");
        let known = Periodic { head: head.to_vec(), period: period.to_vec() };
        worst = worst.max((known.weight(target, version, 256), key, version));
    }
    assert!(worst.0 > 1_000, "the heaviest bodies known have become lighter: climb anew");
    while effort.goes_on() {
        for target in &targets {
            for version in target.min..=target.max {
                let steps = if long { 1_000 } else { CLIMB_STEPS };
                let Some((weight, body)) = climb(target, version, steps, &mut effort.rng) else { continue };
                worst = worst.max((weight, target.key, version));
                assert!(
                    weight <= 10 * DECODED_BYTES_PER_BYTE,
                    "api {} version {version}: {weight} tenths of a byte held for each of {:02x?} {:02x?} …",
                    target.key,
                    body.head,
                    body.period
                );
            }
        }
    }
    let (weight, key, version) = worst;
    eprintln!("at worst {weight} tenths of a byte held a byte (api {key} version {version})");
    assert!(weight <= 10 * DECODED_BYTES_PER_BYTE);
}

/// One body of each kind.
fn bodies(rng: &mut Rng, seed: &[u8]) -> Vec<Vec<u8>> {
    let fill = [0, 1, 2, 3, 0x7f][rng.below(5)];
    let mut claiming = vec![fill; 64 + rng.below(1_500)];
    // A large array, often, at the place where many schemas have one.
    let at = rng.below(24);
    claiming[at..at + 4].copy_from_slice(&(rng.below(2_000) as i32).to_be_bytes());
    let cut = rng.below(seed.len() + 1);
    vec![seed[..cut].to_vec(), rng.mutated(seed), rng.mutated(seed), rng.bytes(200), claiming]
}

#[test]
fn request_headers() {
    let mut effort = Effort::new(200_000);
    let targets = targets();
    while effort.goes_on() {
        let target = &targets[effort.rng.below(targets.len())];
        let version = target.min + effort.rng.below((target.max - target.min + 1) as usize) as i16;
        let mut frame = [target.key.to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend_from_slice(&effort.rng.bytes(60));
        if effort.rng.below(3) == 0 {
            frame = effort.rng.mutated(&frame);
        }
        let _repeat = Repeat(effort.seed, &frame, "header".to_owned());
        let mut rest = Bytes::from(frame.clone());
        let (result, peak) = peak_bytes(|| codec::decode_request_header(&mut rest));
        assert!(peak <= 8 << 10, "{peak} bytes held");
        if result.is_ok() {
            assert!(rest.len() < frame.len() && frame.ends_with(&rest));
        }
    }
}

const DECOMPRESSED_MAX: usize = 256 << 10;

fn options(rng: &mut Rng) -> ValidateOptions {
    let targets = [
        TargetCompression::Producer,
        TargetCompression::Producer,
        TargetCompression::To(Compression::None, None),
        TargetCompression::To(Compression::Lz4, None),
    ];
    ValidateOptions {
        now_ms: 1_700_000_000_000,
        max_batch_bytes: 1 << 20,
        timestamp_type: [TimestampType::CreateTime, TimestampType::LogAppendTime][rng.below(2)],
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        require_keys: rng.below(2) == 0,
        compression: targets[rng.below(4)],
        max_decompressed_bytes: DECOMPRESSED_MAX,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let build = |codec| {
        BatchBuilder::new()
            .compression(codec, None)
            .record(1_700_000_000_000, Some(b"key"), Some(&[b'v'; 100]))
            .record_with_headers(1_700_000_000_001, None, None, &[("h", Some(b"1")), ("h", None)])
            .record(1_700_000_000_002, Some(b"k"), Some(b""))
            .build()
            .expect("it is small")
            .to_vec()
    };
    Compression::ALL.map(build).to_vec()
}

/// Makes length and CRC agree with the bytes, so that what lies behind those checks is reached.
fn reseal(batch: &mut [u8]) {
    if batch.len() >= 61 {
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

#[test]
fn record_batches() {
    let mut effort = Effort::new(150_000);
    let seeds = seeds();
    let (mut tried, mut accepted) = (0u64, 0u64);
    while effort.goes_on() {
        let seed = &seeds[effort.rng.below(seeds.len())];
        let mut batch =
            if effort.rng.below(10) == 0 { effort.rng.bytes(200) } else { effort.rng.mutated(seed) };
        if effort.rng.below(5) > 0 {
            reseal(&mut batch);
        }
        let _repeat = Repeat(effort.seed, &batch, "batch".to_owned());
        let options = options(&mut effort.rng);
        let shared = Bytes::from(batch.clone());
        // Old and new memory of a growing buffer, the recompressed batch, what encoders hold, record errors.
        let (result, peak) = peak_bytes(|| validate(shared.clone(), &options));
        assert!(peak <= 3 * DECOMPRESSED_MAX + (512 << 10), "{peak} bytes held");
        tried += 1;
        if let Ok(valid) = result {
            accepted += 1;
            let view = BatchView::new(&valid.bytes).expect("a valid batch can be read");
            view.verify_crc().expect("with its CRC");
            assert_eq!(*view.header(), valid.header);
            assert_eq!(walk(&valid.bytes), Some(valid.header.record_count), "with all its records");
        }
        let ((), peak) = peak_bytes(|| {
            walk(&shared);
            split_batches(shared).for_each(drop);
        });
        assert!(peak <= 3 * DECOMPRESSED_MAX + (512 << 10), "{peak} bytes held by the view");
    }
    eprintln!("{tried} batches, {accepted} accepted");
    assert!(accepted * 100 > tried, "mutation has lost its way to the records");
}

fn walk(bytes: &[u8]) -> Option<i32> {
    let view = BatchView::new(bytes).ok()?;
    let mut walker = view.records(DECOMPRESSED_MAX).ok()?;
    let mut count = 0;
    while let Some(record) = walker.next_record().ok()? {
        count += 1;
        assert_eq!(record.headers().count(), record.headers().len());
    }
    Some(count)
}

#[test]
fn decompressors() {
    let mut effort = Effort::new(60_000);
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        for content in [&b"hello hello hello"[..], &[0; 70_000], &[7; 300_000]] {
            let mut packed = Vec::new();
            compress(codec, None, content, &mut packed).unwrap();
            if packed.len() < 20_000 {
                seeds.push((codec, packed));
            }
        }
    }
    while effort.goes_on() {
        let (codec, seed) = &seeds[effort.rng.below(seeds.len())];
        let src = if effort.rng.below(10) == 0 { effort.rng.bytes(300) } else { effort.rng.mutated(seed) };
        let max = [0, 1, 1_000, 65_536, DECOMPRESSED_MAX][effort.rng.below(5)];
        let _repeat = Repeat(effort.seed, &src, format!("{codec:?} to {max}"));
        let (result, peak) = peak_bytes(|| {
            let mut out = Vec::new();
            decompress(*codec, &src, max, &mut out).map(|()| out.len())
        });
        if let Ok(size) = result {
            assert!(size <= max, "{size} bytes came out");
        }
        // A growing buffer's old and new memory, and what an inflater needs.
        assert!(peak <= 2 * max + (128 << 10), "{peak} bytes held");
    }
}
