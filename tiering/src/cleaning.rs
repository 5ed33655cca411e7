//! Cleans what a compacted log has in object storage: each segment is read, and where anything goes another object is
//! written and takes its place in the manifest. One block group is in memory at a time; a segment in which nothing changes is
//! read and left.

use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::log::{CleanError, CleanPass, RemoteFate, RemoteSegment, Span};
use chronik_protocol::batch::{BatchView, split_batches};

use crate::copy::{CopyError, Source, Upload, prove, remote};
use crate::limits::PROOF_BYTES;
use crate::read::{encode_index, read_tail};
use crate::segment::{Block, SegmentError, SegmentWriter, Tail, check_block};
use crate::tier::{Change, CommitError, Standing, Tier, entry};

/// How often a change of the manifest is tried.
const SWAP_TRIES: usize = 3;

/// How fast a cleaning goes.
pub trait Pace: Send {
    /// So many bytes were read and written: waits as long as they cost. False when the rest is for later.
    fn spent(&mut self, bytes: u64) -> impl Future<Output = bool> + Send;
}

/// Batches of a group, each as it was or as it is from now on.
type Judged = (Vec<Bytes>, bool);

impl Tier {
    /// Whether the logs agree with the manifest, so that a cleaning can count on its list of segments.
    pub async fn may_clean(&self) -> bool {
        match self.standing() {
            Standing::Leading(_) => true,
            Standing::Idle => self.leads().await,
            // The tasks try on, and nobody else has to wait for what they wait for.
            Standing::Trying(_) | Standing::Replaced(_) => false,
        }
    }

    /// Cleans the remote part of a pass that wants it. `pace` says how fast, and whether to go on.
    ///
    /// # Errors
    /// [`CleanError`]; the pass is over then, and what was swapped stays.
    pub async fn clean_remote(
        &self,
        mut pass: CleanPass,
        pace: &mut impl Pace,
    ) -> (CleanPass, Result<(), CleanError>) {
        if !self.may_clean().await {
            let reason = "this broker does not write to the bucket now".to_owned();
            return (pass, Err(CleanError::Remote(reason)));
        }
        let mapped;
        (pass, mapped) = self.map_remote(pass, pace).await;
        match mapped {
            Ok(true) => {}
            Ok(false) => return (pass, Ok(())),
            Err(error) => return (pass, Err(CleanError::Remote(error.to_string()))),
        }
        for segment in pass.remote() {
            let cleaned;
            (pass, cleaned) = self.clean_segment(pass, &segment, pace).await;
            match cleaned {
                Ok(true) => {}
                Ok(false) => return (pass, Ok(())),
                Err(error) => {
                    let error = CleanError::Remote(format!("{}: {error}", segment.object));
                    return (pass, Err(error));
                }
            }
        }
        let done = pass.remote_done().await;
        (pass, done)
    }

    /// Tells the pass of the keys in object storage that it does not know. False when the rest is for later.
    async fn map_remote(
        &self,
        mut pass: CleanPass,
        pace: &mut impl Pace,
    ) -> (CleanPass, Result<bool, CopyError>) {
        for segment in pass.remote() {
            if segment.next_offset <= pass.remote_dirty() {
                continue;
            }
            let tail = match read_tail(&self.bucket, &segment.object, Some(segment.tail_bytes)).await {
                Ok((tail, _)) => Arc::new(tail),
                Err(error) => return (pass, Err(CopyError::Unproven(error.to_string()))),
            };
            for group in groups(&tail) {
                let aborted = tail.clone();
                let learnt;
                let learn = move |pass: &mut CleanPass, begin: u64, bytes: &Bytes, group: &[Block]| {
                    learn(pass, group, begin, bytes, &aborted)
                };
                (pass, learnt) = self.with_group(pass, &segment, &group, learn).await;
                match learnt {
                    Ok(true) => {}
                    // The map is full: what it has is worth a cleaning.
                    Ok(false) => return (pass, Ok(true)),
                    Err(error) => return (pass, Err(error)),
                }
                if !pace.spent(bytes_of(&group)).await {
                    return (pass, Ok(false));
                }
            }
        }
        (pass, Ok(true))
    }

    /// One segment. False when the rest is for later.
    async fn clean_segment(
        &self,
        mut pass: CleanPass,
        segment: &Arc<RemoteSegment>,
        pace: &mut impl Pace,
    ) -> (CleanPass, Result<bool, CopyError>) {
        let tail = match read_tail(&self.bucket, &segment.object, Some(segment.tail_bytes)).await {
            Ok((tail, _)) => tail,
            Err(error) => return (pass, Err(CopyError::Unproven(error.to_string()))),
        };
        // First only up to where something changes: most segments of an old log do not.
        let groups = groups(&tail);
        let mut changes = false;
        for group in &groups {
            let judged;
            (pass, judged) = self.judge_group(pass, segment, group, false).await;
            match judged {
                Ok((_, changed)) => changes = changed,
                Err(error) => return (pass, Err(error)),
            }
            if changes {
                break;
            }
            if !pace.spent(bytes_of(group)).await {
                return (pass, Ok(false));
            }
        }
        if !changes {
            return (pass, Ok(true));
        }
        self.rewrite(pass, segment, &tail, &groups, pace).await
    }

    async fn rewrite(
        &self,
        mut pass: CleanPass,
        segment: &Arc<RemoteSegment>,
        tail: &Tail,
        groups: &[Vec<Block>],
        pace: &mut impl Pace,
    ) -> (CleanPass, Result<bool, CopyError>) {
        let description = &tail.description;
        let source = Source {
            cluster_id: description.cluster_id.clone(),
            topic: description.topic.as_str().into(),
            topic_id: description.topic_id,
            partition: description.partition,
        };
        let span = Span {
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            bytes: segment.bytes,
            first_timestamp: segment.first_timestamp,
            created_ms: segment.created_ms,
            appended_ms: segment.appended_ms,
            cleaned: true,
        };
        let on_its_way = self.new_object(&source, &span);
        let mut writer = SegmentWriter::new(crate::segment::Description {
            cleaned: true,
            exported_ms: self.now_ms(),
            ..description.clone()
        });
        let mut upload = Upload::new(&self.bucket, &on_its_way.name, &self.bandwidth, segment.bytes);
        let mut outcome = upload.push(writer.header()).await.map_err(CopyError::from);
        let mut goes_on = true;
        for group in groups {
            if outcome.is_err() || !goes_on {
                break;
            }
            let judged;
            (pass, judged) = self.judge_group(pass, segment, group, true).await;
            outcome = match judged {
                Ok((batches, _)) => push_all(&mut writer, &mut upload, batches).await,
                Err(error) => Err(error),
            };
            goes_on = pace.spent(2 * bytes_of(group)).await;
        }
        if let Err(error) = outcome {
            upload.give_up().await;
            return (pass, Err(error));
        }
        if !goes_on {
            upload.give_up().await;
            return (pass, Ok(false));
        }
        let swapped = self.swap(&pass, segment, tail, &source, &span, &on_its_way.name, writer, upload).await;
        (pass, swapped)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one object that takes another's place")]
    async fn swap(
        &self,
        pass: &CleanPass,
        old: &Arc<RemoteSegment>,
        tail: &Tail,
        source: &Source,
        span: &Span,
        object: &str,
        writer: SegmentWriter,
        mut upload: Upload<'_>,
    ) -> Result<bool, CopyError> {
        let finished = writer.finish(tail.aborted.clone(), tail.epochs.clone());
        if let Err(error) = upload.push(finished.tail_bytes.clone()).await {
            upload.give_up().await;
            return Err(error.into());
        }
        upload.finish().await?;
        prove(&self.bucket, object, &finished).await?;
        let new = remote(object, span, &finished);
        let added = vec![entry(&source.topic, source.topic_id, source.partition, &new)];
        let removed = vec![old.object.to_string()];
        let index = encode_index(&finished.tail);
        let log = pass.log().clone();
        // Other logs wait for their turn: what does not succeed now is cleaned again in another pass.
        let change = Change { added, removed, tries: Some(SWAP_TRIES) };
        self.commit(change, || log.swap_remote(old, new, index).map(Some)).await.map(|()| true).or_else(
            |error| match error {
                // Deleted meanwhile, by retention or with its topic.
                CommitError::Log(_) => Ok(true),
                error => Err(CopyError::Manifest(error.to_string())),
            },
        )
    }

    /// Reads a run of blocks and asks the pass about each batch.
    async fn judge_group(
        &self,
        pass: CleanPass,
        segment: &Arc<RemoteSegment>,
        group: &[Block],
        counted: bool,
    ) -> (CleanPass, Result<Judged, CopyError>) {
        let judge = move |pass: &mut CleanPass, begin: u64, bytes: &Bytes, group: &[Block]| {
            judge(pass, group, begin, bytes, counted)
        };
        self.with_group(pass, segment, group, judge).await
    }

    /// Reads a run of blocks, and looks at it where that may take its time.
    async fn with_group<T: Default + Send + 'static>(
        &self,
        mut pass: CleanPass,
        segment: &Arc<RemoteSegment>,
        group: &[Block],
        look: impl FnOnce(&mut CleanPass, u64, &Bytes, &[Block]) -> Result<T, CopyError> + Send + 'static,
    ) -> (CleanPass, Result<T, CopyError>) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return (pass, Ok(T::default()));
        };
        let begin = first.position;
        let bytes = match self.bucket.get_range(&segment.object, begin..last.range().end).await {
            Ok(bytes) => bytes,
            Err(error) => return (pass, Err(error.into())),
        };
        let group = group.to_vec();
        let judging = tokio::task::spawn_blocking(move || {
            let looked = look(&mut pass, begin, &bytes, &group);
            (pass, looked)
        });
        judging.await.expect("looking at a batch does not panic")
    }
}

/// Shows each batch of a run of blocks, which are checked, to `look`, which says whether to go on. False if it said no.
fn walk(
    group: &[Block],
    begin: u64,
    bytes: &Bytes,
    mut look: impl FnMut(&Bytes, &BatchView<'_>) -> Result<bool, CleanError>,
) -> Result<bool, CopyError> {
    for block in group {
        let at = (block.position - begin) as usize;
        let block_bytes = bytes.slice(at..at + block.length as usize);
        check_block(block, &block_bytes)?;
        for batch in split_batches(block_bytes) {
            let wrong = |reason: String| SegmentError::Batch { position: block.position, reason };
            let view = BatchView::new(&batch).map_err(|error| wrong(error.to_string()))?;
            if !look(&batch, &view).map_err(|error| wrong(error.to_string()))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// False when the pass has no room for more.
fn learn(
    pass: &mut CleanPass,
    group: &[Block],
    begin: u64,
    bytes: &Bytes,
    tail: &Tail,
) -> Result<bool, CopyError> {
    walk(group, begin, bytes, |_, view| {
        let header = view.header();
        // A log that was not compacted when it was copied has what was aborted.
        let is_aborted = header.is_transactional()
            && tail.aborted.iter().any(|txn| {
                txn.producer_id == header.producer_id
                    && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
            });
        let skipped = header.is_control() || is_aborted || header.last_offset() < pass.remote_dirty();
        if skipped { Ok(true) } else { pass.map_remote(view) }
    })
}

/// With `counted` to the end; else only up to the first change.
fn judge(
    pass: &mut CleanPass,
    group: &[Block],
    begin: u64,
    bytes: &Bytes,
    counted: bool,
) -> Result<Judged, CopyError> {
    let mut kept = Vec::new();
    let mut changed = false;
    walk(group, begin, bytes, |batch, view| {
        match pass.judge_remote(view, counted)? {
            RemoteFate::Keep => kept.push(batch.clone()),
            RemoteFate::Replace(batch) => {
                changed = true;
                kept.push(batch);
            }
            RemoteFate::Drop => changed = true,
        }
        Ok(counted || !changed)
    })?;
    Ok((kept, changed))
}

async fn push_all(
    writer: &mut SegmentWriter,
    upload: &mut Upload<'_>,
    batches: Vec<Bytes>,
) -> Result<(), CopyError> {
    for batch in batches {
        writer.push(&batch)?;
        upload.push(batch).await?;
    }
    Ok(())
}

/// Runs of blocks that are read at once.
fn groups(tail: &Tail) -> Vec<Vec<Block>> {
    let mut groups: Vec<Vec<Block>> = Vec::new();
    for block in &tail.blocks {
        match groups.last_mut() {
            Some(group) if bytes_of(group) + u64::from(block.length) <= PROOF_BYTES => group.push(*block),
            _ => groups.push(vec![*block]),
        }
    }
    groups
}

fn bytes_of(group: &[Block]) -> u64 {
    group.iter().map(|block| u64::from(block.length)).sum()
}
