//! Compares what the manifest, the bucket and the logs say of each other, reads a sample of blocks, and removes what
//! uploads that were cut short have left.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bucket::{BucketError, Listed};
use crate::copy::{SEGMENTS, topic_folder};
use crate::manifest::{ChainError, ChainState, read_chain};
use crate::metrics as names;
use crate::read::read_tail;
use crate::segment::check_block;
use crate::tier::Tier;

/// Segments of which a block is read, a run; the ones looked at last time are not looked at again before the others were.
const SAMPLES: usize = 64;
/// Faults that are told.
const FAULTS_MAX: usize = 1000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Segments that the logs name.
    pub segments: usize,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Objects in the bucket's folder of segments.
    pub objects: usize,
    /// Segments whose object was read in part and compared.
    pub sampled: usize,
    /// Objects of uploads that were cut short, old enough to go, which were removed.
    pub orphans_removed: usize,
    /// Objects that nothing names, too young to be judged.
    pub orphans_young: usize,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// How often the manifest is read until it is of one moment with the logs.
const MANIFEST_TRIES: usize = 5;

impl ScrubReport {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

impl Tier {
    pub(crate) async fn scrub_in_background(&self, stopping: &mut watch::Receiver<bool>) {
        let scrubbed = tokio::select! {
            scrubbed = self.scrub() => scrubbed,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match scrubbed {
            Ok(report) => {
                for fault in &report.faults {
                    tracing::error!(fault, "object storage and the logs do not agree");
                }
                tracing::info!(
                    segments = report.segments,
                    sampled = report.sampled,
                    orphans_removed = report.orphans_removed,
                    faults = report.faults.len(),
                    "compared object storage with the logs"
                );
            }
            Err(error) => tracing::warn!(%error, "object storage could not be compared with the logs"),
        }
    }

    /// Compares everything that can be compared without reading every byte.
    ///
    /// # Errors
    /// [`BucketError`] when the bucket cannot be listed, or this broker does not write to it.
    pub async fn scrub(&self) -> Result<ScrubReport, BucketError> {
        let mut report = ScrubReport::default();
        // First the bucket, then the logs: what is copied in between is in the logs and not in the listing, and is young.
        let mut listed: HashMap<String, Listed> = HashMap::new();
        let begun_ms = self.now_ms();
        self.bucket.list(SEGMENTS, |object| drop(listed.insert(object.name.clone(), object))).await?;
        report.objects = listed.len();
        let entries = self.entries();
        let mut gone = HashSet::new();
        let offset = self.next_sample(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let segment = &entry.segment;
            report.segments += 1;
            report.bytes += segment.size;
            match listed.remove(&segment.object) {
                Some(object) if object.size != segment.size => report.fault(format!(
                    "{} has {} bytes, the manifest says {}",
                    segment.object, object.size, segment.size
                )),
                Some(_) => {
                    let place = (index + entries.len() - offset) % entries.len().max(1);
                    if place < SAMPLES {
                        self.sample(&mut report, &segment.object, segment.tail_bytes, entry.base_offset)
                            .await;
                    }
                }
                // Copied, or deleted, since the listing.
                None if self.is_gone(&segment.object).await? => {
                    report.fault(format!("{} is missing in the bucket", segment.object));
                    gone.insert(segment.object.clone());
                }
                None => {}
            }
        }
        self.check_logs(&mut report);
        let named = self.check_manifest(&mut report, &gone).await?;
        if let Some(named) = named {
            listed.retain(|name, _| !named.contains(name));
            self.remove_orphans(&mut report, listed, begun_ms).await?;
            let before_ms = begun_ms.saturating_sub(self.options.orphan_grace.as_millis() as i64);
            report.orphans_removed += self.bucket.sweep_staged(before_ms).await;
        }
        metrics::gauge!(names::SCRUB_FAULTS).set(report.faults.len() as f64);
        Ok(report)
    }

    /// Where to begin with samples this time.
    fn next_sample(&self, count: usize) -> usize {
        let mut next = self.next_sample.lock();
        let offset = *next % count.max(1);
        *next = offset + SAMPLES;
        offset
    }

    async fn is_gone(&self, object: &str) -> Result<bool, BucketError> {
        match self.bucket.size(object).await {
            Ok(_) => Ok(false),
            Err(BucketError::NotFound(_)) => {
                Ok(self.entries().iter().any(|entry| entry.segment.object == object))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the tail of a segment, and one block.
    async fn sample(&self, report: &mut ScrubReport, object: &str, tail_bytes: u64, base_offset: i64) {
        report.sampled += 1;
        let tail = match read_tail(&self.bucket, object, Some(tail_bytes)).await {
            Ok((tail, _)) => tail,
            Err(error) => return report.fault(format!("{object}: {error}")),
        };
        if tail.description.base_offset != base_offset {
            report
                .fault(format!("{object} begins at {}, not at {base_offset}", tail.description.base_offset));
        }
        let mut random = [0; 8];
        let _ = getrandom::fill(&mut random);
        let Some(block) = tail.blocks.get(usize::from_le_bytes(random) % tail.blocks.len().max(1)) else {
            return;
        };
        let checked = match self.bucket.get_range(object, block.range()).await {
            Ok(bytes) => check_block(block, &bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = checked {
            report.fault(format!("{object}: {error}"));
        }
    }

    /// Each log must be whole: what is not local is remote.
    fn check_logs(&self, report: &mut ScrubReport) {
        for topic in self.engine.topics().iter() {
            for (partition, place) in topic.partitions.iter().enumerate() {
                let offsets = place.log.offsets();
                let remote = place.log.remote_segments();
                let first = remote.first().map_or(offsets.local_from, |first| first.base_offset);
                if first > offsets.readable_from && offsets.readable_from < offsets.local_from {
                    report.fault(format!(
                        "{}-{partition}: offsets {} to {first} are in no tier",
                        topic.name, offsets.readable_from
                    ));
                }
            }
        }
    }

    async fn remove_orphans(
        &self,
        report: &mut ScrubReport,
        unnamed: HashMap<String, Listed>,
        begun_ms: i64,
    ) -> Result<(), BucketError> {
        let Ok(garbage) = self.engine.garbage(usize::MAX).await else { return Ok(()) };
        let Ok(state) = self.engine.tier_state().await else { return Ok(()) };
        let garbage: HashSet<String> = garbage.into_iter().collect();
        let in_use = self.in_use();
        let ours = self.topic_folders();
        let mut old = Vec::new();
        let mut asked = 0;
        for (name, object) in unnamed {
            if garbage.contains(&name) || in_use.contains(&name) {
                continue;
            }
            // What a restore has told of stays as long from there on.
            let since_ms = object.modified_ms.max(state.restored_ms);
            if begun_ms.saturating_sub(since_ms) < self.options.orphan_grace.as_millis() as i64 {
                report.orphans_young += 1;
                continue;
            }
            // What bears a later epoch is a successor's: this broker may have been replaced and not know.
            if epoch_of(&name).is_none_or(|epoch| epoch > self.epoch()) {
                continue;
            }
            // Other clusters may share the bucket: what is not below a topic of ours is asked whose it is.
            let known = name.split('/').nth(1).is_some_and(|folder| ours.contains(folder));
            if known || (asked < SAMPLES && self.is_of_ours(&name, &mut asked).await) {
                old.push(name);
            }
        }
        if !old.is_empty() && self.still_leads().await {
            let in_use = self.in_use();
            old.retain(|name| !in_use.contains(name));
            let deleted = self.bucket.delete(&old).await;
            report.orphans_removed += deleted.gone.len();
            metrics::counter!(names::OBJECTS_DELETED).increment(deleted.gone.len() as u64);
            deleted.all()?;
        }
        Ok(())
    }

    /// Objects that are being written, or that a log names: in this order, for they go from the one to the other.
    fn in_use(&self) -> HashSet<String> {
        let mut in_use = self.on_their_way.lock().clone();
        in_use.extend(self.entries().into_iter().map(|entry| entry.segment.object));
        in_use
    }

    /// Reads the manifest as a restore would, and has it mended where it does not say what the logs say. Returns what it
    /// names; `None` when nothing can be said of it.
    async fn check_manifest(
        &self,
        report: &mut ScrubReport,
        gone: &HashSet<String>,
    ) -> Result<Option<HashSet<String>>, BucketError> {
        for _ in 0..MANIFEST_TRIES {
            if !self.leads().await {
                return Ok(None);
            }
            let Some(written) = self.next_delta().await else { return Ok(None) };
            let wrong = match read_chain(&self.bucket, self.engine.cluster_id(), self.epoch()).await {
                Ok(chain) if chain.next < written => "its newest records are missing".to_owned(),
                Ok(chain) => match self.compare_manifest(report, gone, &chain).await {
                    Some(()) => return Ok(Some(chain.entries.into_keys().collect())),
                    None => continue,
                },
                Err(ChainError::Bucket(error)) if !matches!(error, BucketError::NotFound(_)) => {
                    return Err(error);
                }
                Err(error) => error.to_string(),
            };
            report.fault(format!("the manifest: {wrong}; it is written anew"));
            // Under a number that no snapshot has.
            if !self.still_leads().await {
                return Ok(None);
            }
            self.snapshot_now().await?;
        }
        Ok(None)
    }

    /// `None` when more was written since the manifest was read, so that the two are not of one moment.
    async fn compare_manifest(
        &self,
        report: &mut ScrubReport,
        gone: &HashSet<String>,
        chain: &ChainState,
    ) -> Option<()> {
        let garbage = self.engine.garbage(usize::MAX).await.ok()?;
        let entries = self.entries_at(chain.next).await?;
        for entry in &entries {
            let object = &entry.segment.object;
            if chain.entries.get(object) != Some(entry) && !gone.contains(object) {
                report.fault(format!("the manifest did not name {object}; it is added"));
                self.unsure.lock().insert(object.clone());
            }
        }
        let known: HashSet<&String> =
            entries.iter().map(|entry| &entry.segment.object).chain(&garbage).collect();
        let unsure = self.unsure.lock().clone();
        for (object, entry) in &chain.entries {
            if !known.contains(object) && !entry.topic.is_empty() && !unsure.contains(object) {
                report.fault(format!("the manifest names {object}, which no log has: it is left alone"));
            }
        }
        if !unsure.is_empty() {
            self.still_leads().await;
        }
        Some(())
    }

    async fn is_of_ours(&self, object: &str, asked: &mut usize) -> bool {
        *asked += 1;
        let tail = read_tail(&self.bucket, object, None).await;
        tail.is_ok_and(|(tail, _)| tail.description.cluster_id == self.engine.cluster_id())
    }

    /// The folders below [`SEGMENTS`] of the topics there are.
    fn topic_folders(&self) -> HashSet<String> {
        self.engine.topics().iter().map(|topic| topic_folder(&topic.name, topic.id)).collect()
    }
}

/// The epoch in the name of an object.
fn epoch_of(object: &str) -> Option<u64> {
    object.rsplit('/').next()?.split('.').nth(1)?.split('-').next()?.parse().ok()
}
