//! Owns `doctor storage`: whether the object store does all that tiered storage asks of it, and how fast. Leaves nothing
//! behind but what a store that cannot delete keeps.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_tiering::bucket::{Bucket, BucketError, Created};
use chronik_tiering::limits::PART_BYTES;

use super::{Finding, Verdict};
use crate::config::{BrokerConfig, Sources, load};
use crate::tier;

/// Bytes of the small object.
const SMALL_BYTES: usize = 64 << 10;
/// Times that a small object is written and read, for the latency.
const ROUNDS: usize = 10;

/// Checks everything.
pub(super) fn examine(sources: &Sources) -> Vec<Finding> {
    let config = match load(sources) {
        Ok(config) => config,
        Err(faults) => {
            let remedy = "`chronik-server doctor` says more";
            return vec![Finding::of(Verdict::Bad, "configuration", faults.to_string(), remedy)];
        }
    };
    let bucket = tier::backend(&config).and_then(|backend| Bucket::open(&backend));
    let bucket = match bucket {
        Ok(bucket) => bucket,
        Err(error) => {
            let remedy = "Set what is missing; docs/tiering.md has an example for each store";
            return vec![Finding::of(Verdict::Bad, "object store", error.to_string(), remedy)];
        }
    };
    let mut findings = vec![place(&config, &bucket)];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => findings.extend(runtime.block_on(try_all(&bucket))),
        Err(error) => {
            findings.push(Finding::of(Verdict::Bad, "threads", error.to_string(), "Raise ulimit -u"))
        }
    }
    findings
}

fn place(config: &BrokerConfig, bucket: &Bucket) -> Finding {
    let project =
        config.object_store.gcs_project_id.as_ref().filter(|_| config.object_store.backend == "gcs");
    let project = project.map(|project| format!(" of project {project}")).unwrap_or_default();
    let found = format!("{}{project}", bucket.place());
    if tier::shares_the_disk(config) {
        let remedy = "It protects from nothing: set local.storage.path to another disk, or use a bucket";
        Finding::of(Verdict::Doubtful, "object store", format!("{found} is on the disk of data.dir"), remedy)
    } else {
        Finding::good("object store", found)
    }
}

/// What each step is worth when it fails.
const REMEDY_ACCESS: &str =
    "Check address, bucket and credentials; the bucket must exist, and be ours to read and write";
const REMEDY_CREATE: &str = "Conditional creates keep two brokers apart: use a store that honours If-None-Match (S3 since 2024, MinIO, R2, …)";
const REMEDY_RANGE: &str = "Reads need ranges: use another store, or look at the proxy in between";
const REMEDY_LIST: &str = "Allow listing of the bucket (s3:ListBucket): taking over and scrubbing need it";
const REMEDY_DELETE: &str = "Allow deleting (s3:DeleteObject), or the bucket grows for ever";
const REMEDY_PARTS: &str = "Allow multipart uploads: segments of 8 MiB and more are sent in parts";

async fn try_all(bucket: &Bucket) -> Vec<Finding> {
    let folder = format!("doctor/{}", uuid::Uuid::new_v4());
    let small = format!("{folder}/small");
    let bytes = Bytes::from(vec![b'c'; SMALL_BYTES]);
    let mut findings = Vec::new();
    let put = timed("put", || bucket.put(&small, vec![bytes.clone()])).await;
    let can_put = put.is_ok();
    findings.push(told("put", put, REMEDY_ACCESS));
    if !can_put {
        // Everything else would say the same.
        return findings;
    }
    let get = timed("get", || async { same(bucket.get(&small).await?, &bytes) }).await;
    findings.push(told("get", get, REMEDY_ACCESS));
    let range =
        timed("range", || async { same(bucket.get_range(&small, 100..4196).await?, &bytes[100..4196]) })
            .await;
    findings.push(told("range", range, REMEDY_RANGE));
    let listed = once(async {
        let mut names = Vec::new();
        bucket.list(&folder, |object| names.push((object.name, object.size))).await?;
        if names == [(small.clone(), SMALL_BYTES as u64)] {
            Ok(())
        } else {
            wrong("what was written is not listed")
        }
    });
    findings.push(told("list", listed.await, REMEDY_LIST));
    findings.push(told("create", once(create(bucket, &format!("{folder}/once"))).await, REMEDY_CREATE));
    findings.push(told("multipart", once(multipart(bucket, &format!("{folder}/parts"))).await, REMEDY_PARTS));
    let all: Vec<String> = ["small", "once", "parts"].iter().map(|name| format!("{folder}/{name}")).collect();
    let deleted = once(async {
        bucket.delete(&all).await.all()?;
        match bucket.size(&small).await {
            Err(BucketError::NotFound(_)) => Ok(()),
            _ => wrong("what was deleted is still there"),
        }
    });
    findings.push(told("delete", deleted.await, REMEDY_DELETE));
    findings
}

/// The second create of one name, with other bytes, must be refused.
async fn create(bucket: &Bucket, name: &str) -> Result<(), BucketError> {
    if bucket.create(name, Bytes::from_static(b"first")).await? != Created::Ours {
        return wrong("a new name was refused");
    }
    match bucket.create(name, Bytes::from_static(b"second")).await? {
        Created::Taken if bucket.get(name).await? == "first" => Ok(()),
        _ => wrong("a second create of the same name went through"),
    }
}

async fn multipart(bucket: &Bucket, name: &str) -> Result<(), BucketError> {
    let bytes = Bytes::from(vec![b'm'; PART_BYTES + SMALL_BYTES]);
    let mut parts = bucket.multipart(name).await?;
    let first = parts.part(vec![bytes.slice(..PART_BYTES)]);
    let second = parts.part(vec![bytes.slice(PART_BYTES..)]);
    first.await?;
    second.await?;
    parts.complete().await?;
    same(bucket.get(name).await?, &bytes)
}

fn same(found: Bytes, expected: &[u8]) -> Result<(), BucketError> {
    if found == expected { Ok(()) } else { wrong("other bytes came back than were written") }
}

fn wrong(what: &str) -> Result<(), BucketError> {
    Err(BucketError::Failed(what.to_owned()))
}

async fn once(work: impl Future<Output = Result<(), BucketError>>) -> Result<Vec<Duration>, BucketError> {
    let begun = Instant::now();
    work.await.map(|()| vec![begun.elapsed()])
}

async fn timed<W: Future<Output = Result<(), BucketError>>>(
    _what: &str,
    work: impl Fn() -> W,
) -> Result<Vec<Duration>, BucketError> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn told(check: &'static str, outcome: Result<Vec<Duration>, BucketError>, remedy: &str) -> Finding {
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    match outcome {
        Ok(times) if times.len() == 1 => Finding::good(check, format!("{:.1} ms", ms(times.first()))),
        Ok(times) => {
            let median = times.get(times.len() / 2);
            Finding::good(
                check,
                format!("{:.1} ms (median of {ROUNDS}; {:.1} at most)", ms(median), ms(times.last())),
            )
        }
        Err(error) => Finding::of(Verdict::Bad, check, error.to_string(), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_store_passes_and_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects");
        let env = vec![("LOCAL_STORAGE_PATH".to_owned(), path.to_str().unwrap().to_owned())];
        let findings = examine(&Sources { env, ..Sources::default() });
        assert!(findings.iter().all(|finding| finding.verdict != Verdict::Bad), "{findings:?}");
        assert_eq!(findings.len(), 8);
        let left = std::fs::read_dir(path.join("doctor")).map(|entries| {
            entries.flatten().flat_map(|entry| std::fs::read_dir(entry.path()).unwrap()).count()
        });
        assert_eq!(left.unwrap_or(0), 0);
    }

    #[test]
    fn a_store_that_is_not_there_is_told_with_a_remedy() {
        let env = [
            ("OBJECT_STORE_BACKEND", "s3"),
            ("S3_ENDPOINT", "http://127.0.0.1:1"),
            ("S3_ACCESS_KEY", "k"),
            ("S3_SECRET_KEY", "hush"),
        ];
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let findings = examine(&Sources { env, ..Sources::default() });
        let bad = findings.iter().find(|finding| finding.verdict == Verdict::Bad).unwrap();
        assert!(bad.check == "put" && !bad.remedy.is_empty(), "{bad:?}");
        assert!(!format!("{findings:?}").contains("hush"));
    }
}
