//! Expiry of offsets and of groups that nobody uses. Kafka's `ClassicGroup.offsetExpirationCondition` (KIP-211).

use std::sync::Arc;

use uuid::Uuid;

use super::state::{ClassicGroup, ClassicState};
use super::{CommittedOffset, Effects, Groups, Now};

/// When a group's offsets begin to age.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aging {
    /// Not at all: members may need them.
    No,
    /// At this moment, when the group became empty.
    Since(i64),
    /// When each was committed.
    SinceCommit,
}

impl Groups {
    /// Drops what is past `offsets.retention.minutes`, and empty groups that have no offset left. `topic_name` says
    /// how a topic is called, or that it is gone: then its offsets go at once, whatever their age, should the
    /// deletion not have been told (ids are never used again). `waiting` are partitions of a group whose next offset waits
    /// for the end of a transaction: they stay, and so does the group (Kafka's `OffsetMetadataManager.cleanupExpiredOffsets`).
    pub fn expire(
        &mut self,
        now: Now,
        topic_name: &dyn Fn(Uuid) -> Option<Arc<str>>,
        waiting: &dyn Fn(&str) -> Vec<(Uuid, u32)>,
    ) -> Effects {
        let mut effects = Effects::default();
        if self.stopped {
            return effects;
        }
        let retention_ms = self.config.offsets_retention_ms;
        let mut expired = Vec::new();
        for (group_id, entry) in &self.entries {
            let group = entry.classic();
            let aging = group.aging();
            let mut over = Vec::new();
            for (&(topic, partition), offset) in &entry.offsets {
                let goes = match topic_name(topic) {
                    None => true,
                    Some(_) if aging == Aging::No => false,
                    Some(name) => !group.is_subscribed_to(&name) && is_over(offset, aging, now, retention_ms),
                };
                if goes {
                    over.push((topic, partition));
                }
            }
            if !over.is_empty() {
                let stays = waiting(group_id);
                over.retain(|place| !stays.contains(place));
                expired
                    .extend(over.into_iter().map(|(topic, partition)| (group_id.clone(), topic, partition)));
            }
        }
        for (group_id, topic, partition) in expired {
            self.remove_offset(now, &group_id, topic, partition, &mut effects);
        }
        let unused: Vec<Arc<str>> = self
            .entries
            .iter()
            .filter(|(group_id, entry)| {
                entry.offsets.is_empty() && entry.classic().is_unused() && waiting(group_id).is_empty()
            })
            .map(|(group_id, _)| group_id.clone())
            .collect();
        for group_id in unused {
            self.remove_group(now, &group_id, &mut effects);
        }
        effects
    }
}

impl ClassicGroup {
    fn aging(&self) -> Aging {
        match (self.protocol_type.is_some(), self.state) {
            // A simple consumer shows only when it commits.
            (false, _) => Aging::SinceCommit,
            (true, ClassicState::Empty) => self.state_since_ms.map_or(Aging::SinceCommit, Aging::Since),
            // Topics that the members are no longer subscribed to.
            (true, ClassicState::Stable) if self.subscribed_topics.is_some() => Aging::SinceCommit,
            (true, _) => Aging::No,
        }
    }

    fn is_unused(&self) -> bool {
        self.state == ClassicState::Empty && self.pending_joins.is_empty()
    }
}

fn is_over(offset: &CommittedOffset, aging: Aging, now: Now, retention_ms: i64) -> bool {
    if let Some(expires_ms) = offset.expires_ms {
        return now.wall_ms >= expires_ms;
    }
    let since_ms = match aging {
        Aging::No => return false,
        Aging::Since(since_ms) => since_ms,
        Aging::SinceCommit => offset.committed_ms,
    };
    now.wall_ms.saturating_sub(since_ms) >= retention_ms
}
