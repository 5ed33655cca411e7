//! The task that tidies: drops local copies, ends tiering where it was switched off, deletes objects that nothing needs,
//! and saves what a restore begins with. Each is a step of its own; one that fails is made again in the next turn.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits::GARBAGE_TURN;
use crate::metrics as names;
use crate::tier::{Change, CommitError, Standing, Tier};

impl Tier {
    pub(crate) async fn keep_tidy(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut next_scrub = Instant::now() + self.options.scrub_interval;
        while self.next_turn(&mut stopping).await {
            let garbage = self.engine.garbage(GARBAGE_TURN).await.map_or(1, |garbage| garbage.len());
            metrics::gauge!(names::GARBAGE).set(garbage as f64);
            if (!self.is_needed() && garbage == 0) || !self.leads().await {
                continue;
            }
            // After a change that was given up nobody else may have one for long.
            if matches!(self.standing(), Standing::Trying(_)) {
                self.still_leads().await;
            }
            self.apply_retention();
            if let Err(error) = self.collect_garbage().await {
                tracing::debug!(%error, "objects that nothing needs wait for the next turn");
            }
            if let Err(error) = self.save_meta_if_due(&mut stopping).await {
                tracing::warn!(%error, "topics and groups were not copied to object storage; trying again");
            }
            if Instant::now() >= next_scrub {
                next_scrub = Instant::now() + self.options.scrub_interval;
                self.scrub_in_background(&mut stopping).await;
            }
        }
    }

    /// Local copies past their time go, and all of a log whose tiering was ended.
    fn apply_retention(&self) {
        let now_ms = self.now_ms();
        for topic in self.engine.topics().iter() {
            for partition in &topic.partitions {
                let config = partition.log.config();
                if !config.remote_storage && config.remote_delete_on_disable {
                    partition.log.drop_remote();
                }
                partition.log.apply_local_retention(now_ms);
            }
        }
    }

    /// Takes garbage out of the manifest, and deletes what has been out of it for long enough.
    async fn collect_garbage(&self) -> Result<(), CommitError> {
        let garbage = self.engine.garbage(GARBAGE_TURN).await?;
        let new: Vec<String> = {
            let condemned = self.condemned.lock();
            garbage.iter().filter(|object| !condemned.contains_key(*object)).cloned().collect()
        };
        if !new.is_empty() {
            let change = Change { removed: new.clone(), ..Change::default() };
            self.commit(change, || Ok(None)).await?;
            let until = Instant::now() + self.options.delete_delay;
            self.condemned.lock().extend(new.into_iter().map(|object| (object, until)));
        }
        let now = Instant::now();
        let due: Vec<String> = {
            let condemned = self.condemned.lock();
            condemned.iter().filter(|(_, until)| **until <= now).map(|(object, _)| object.clone()).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let deleted = self.bucket.delete(&due).await;
        if let Some(error) = deleted.failed {
            let left = due.len() - deleted.gone.len();
            tracing::warn!(%error, left, "objects could not be deleted; trying again");
        }
        metrics::counter!(names::OBJECTS_DELETED).increment(deleted.gone.len() as u64);
        self.engine.forget_garbage(&deleted.gone).await?;
        let mut condemned = self.condemned.lock();
        for object in &deleted.gone {
            condemned.remove(object);
        }
        Ok(())
    }
}
