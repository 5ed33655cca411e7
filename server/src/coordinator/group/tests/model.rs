//! Random requests against invariants that hold whatever is sent.

use proptest::prelude::*;

use super::*;

/// One step. Members and instances are picked by index among those seen, so that most requests make sense.
#[derive(Clone, Debug)]
enum Step {
    Join { who: u8, static_id: Option<u8>, known: bool, variant: u8 },
    Sync { who: u8, stale: bool },
    Heartbeat { who: u8 },
    Leave { who: u8 },
    Commit { who: Option<u8>, partition: u8, offset: u16 },
    Advance { ms: u16 },
    Expire,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), prop::option::weighted(0.3, 0u8..3), any::<bool>(), 0u8..3)
            .prop_map(|(who, static_id, known, variant)| Step::Join { who, static_id, known, variant }),
        6 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(who, stale)| Step::Sync { who, stale }),
        3 => any::<u8>().prop_map(|who| Step::Heartbeat { who }),
        1 => any::<u8>().prop_map(|who| Step::Leave { who }),
        3 => (prop::option::weighted(0.8, any::<u8>()), 0u8..4, any::<u16>())
            .prop_map(|(who, partition, offset)| Step::Commit { who, partition, offset }),
        4 => (0u16..9_000).prop_map(|ms| Step::Advance { ms }),
        1 => Just(Step::Expire),
        1 => Just(Step::Restart),
    ]
}

struct Model {
    driver: Driver,
    seen: Vec<Joined>,
    ids: Vec<Arc<str>>,
    offsets: BTreeMap<u32, i64>,
    generation: i32,
    /// Shares that a leader of each generation handed in.
    handed_in: BTreeMap<i32, BTreeSet<Bytes>>,
    sync_generations: BTreeMap<Token, i32>,
    shares: u32,
}

impl Model {
    fn new() -> Self {
        let config = GroupConfig { initial_rebalance_delay_ms: 1_000, max_size: 4, ..GroupConfig::default() };
        Self {
            driver: Driver::with_config(config),
            seen: Vec::new(),
            ids: Vec::new(),
            offsets: BTreeMap::new(),
            generation: 0,
            handed_in: BTreeMap::new(),
            sync_generations: BTreeMap::new(),
            shares: 0,
        }
    }

    fn pick(&self, who: u8) -> Option<Joined> {
        let last = self.seen.len().checked_sub(1)?;
        // Mostly the latest ones, which are current.
        Some(self.seen[last - usize::from(who % 6).min(last)].clone())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join { who, static_id, known, variant } => self.join(who, static_id, known, variant),
            Step::Sync { who, stale } => self.sync(who, stale),
            Step::Heartbeat { who } => {
                if let Some(joined) = self.pick(who) {
                    let _ = self.driver.heartbeat(&heartbeat_request(&joined));
                }
            }
            Step::Leave { who } => {
                if let Some(joined) = self.pick(who) {
                    self.driver.leave(&[(&joined.member_id, None)]).unwrap();
                }
            }
            Step::Commit { who, partition, offset } => self.commit(who, partition, offset),
            Step::Advance { ms } => self.driver.advance(i64::from(ms)),
            Step::Expire => self.driver.expire(),
            Step::Restart => self.restart(),
        }
        self.learn();
        self.check();
    }

    fn join(&mut self, who: u8, static_id: Option<u8>, known: bool, variant: u8) {
        let choices = [&["range"][..], &["range", "sticky"], &["sticky", "range"]];
        let known_id = self.ids.get(usize::from(who) % self.ids.len().max(1)).filter(|_| known).cloned();
        let request = JoinRequest {
            instance_id: static_id.map(|number| format!("i{number}").into()),
            protocols: protocols(choices[usize::from(variant)]),
            ..join_request(known_id.as_deref().unwrap_or_default())
        };
        self.driver.join(request);
    }

    fn sync(&mut self, who: u8, stale: bool) {
        let Some(joined) = self.pick(who) else { return };
        self.shares += 1;
        let share = format!("share-{}", self.shares);
        let leads = joined.leader == joined.member_id && !joined.members.is_empty();
        let assignments: Vec<(&str, &str)> = if leads {
            joined.members.iter().map(|member| (&*member.member_id, share.as_str())).collect()
        } else {
            vec![(&joined.member_id, "forged")]
        };
        let mut request = sync_request(&joined, &assignments);
        request.generation -= i32::from(stale);
        if leads {
            let handed_in = self.handed_in.entry(request.generation).or_default();
            handed_in.insert(Bytes::from(share.clone()));
        }
        let generation = request.generation;
        let token = self.driver.sync(request);
        self.sync_generations.insert(token, generation);
    }

    fn commit(&mut self, who: Option<u8>, partition: u8, offset: u16) {
        let joined = who.and_then(|who| self.pick(who));
        let (member_id, generation) =
            joined.map_or((Arc::from(""), -1), |joined| (joined.member_id, joined.generation));
        let (partition, offset) = (u32::from(partition), i64::from(offset));
        let request = commit_request(&member_id, generation, &[(1, partition, offset)]);
        if self.driver.commit(request).is_ok() {
            self.offsets.insert(partition, offset);
        }
    }

    /// A new process replays the log; whoever waited has lost the connection.
    fn restart(&mut self) {
        let config = *self.driver.groups.config();
        let old = std::mem::replace(&mut self.driver, Driver::with_config(config));
        self.driver.now = Now { mono_ms: 0, wall_ms: old.now.wall_ms };
        self.driver.next_token = old.next_token;
        for record in &old.log {
            self.driver.groups.apply(record, self.driver.now);
        }
        let effects = self.driver.groups.loaded(self.driver.now);
        self.driver.run(effects);
        self.driver.log.splice(0..0, old.log);
        // Generations nobody assigned may be used again.
        self.generation = 0;
        self.seen.clear();
        self.handed_in.clear();
        self.sync_generations.clear();
    }

    fn learn(&mut self) {
        for (_, reply) in std::mem::take(&mut self.driver.joins) {
            match reply {
                Ok(joined) => {
                    assert!(joined.generation >= self.generation, "a generation went back");
                    self.generation = joined.generation;
                    self.ids.push(joined.member_id.clone());
                    self.seen.push(joined);
                }
                Err(refused) if refused.error == GroupError::MemberIdRequired => {
                    self.ids.push(refused.member_id)
                }
                Err(_) => {}
            }
        }
        for (token, reply) in std::mem::take(&mut self.driver.syncs) {
            let Ok(synced) = reply else { continue };
            let Some(generation) = self.sync_generations.get(&token) else { continue };
            let from_leader =
                self.handed_in.get(generation).is_some_and(|shares| shares.contains(&synced.assignment));
            assert!(
                from_leader || synced.assignment.is_empty() || self.before_restart(&synced.assignment),
                "a share that no leader of generation {generation} handed in: {:?}",
                synced.assignment
            );
            assert_ne!(synced.assignment, "forged");
        }
    }

    /// Shares of a generation from before a restart are in the log.
    fn before_restart(&self, share: &Bytes) -> bool {
        self.driver.log.iter().any(|record| match record {
            Record::Group { value, .. } => value.members.iter().any(|member| member.assignment == *share),
            _ => false,
        })
    }

    fn check(&mut self) {
        for partition in 0..4 {
            let committed = self.driver.committed(1, partition);
            assert_eq!(committed, self.offsets.get(&partition).copied(), "only commits move offsets");
        }
        let Some(entry) = self.driver.groups.entries.get(GROUP) else {
            assert!(self.driver.waiting.is_empty(), "someone waits for a group that is gone");
            // Unused and dropped: it begins again from nothing.
            self.generation = 0;
            self.handed_in.clear();
            return;
        };
        let group = entry.classic();
        let waiting: BTreeSet<Token> = group
            .members
            .values()
            .flat_map(|member| member.awaiting_join.into_iter().chain(member.awaiting_sync))
            .collect();
        assert_eq!(waiting, self.driver.waiting, "each caller that waits is held by exactly one member");
        assert_eq!(
            group.members.is_empty() && group.state != ClassicState::PreparingRebalance,
            group.state == ClassicState::Empty
        );
        assert!(group.static_members.values().all(|member_id| group.members.contains_key(member_id)));
        let static_count = group.members.values().filter(|member| member.instance_id.is_some()).count();
        assert_eq!(static_count, group.static_members.len());
        assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
        assert_eq!(group.leader.is_none(), group.members.is_empty());
        assert!(group.pending_joins.iter().all(|member_id| !group.members.contains_key(member_id)));
        assert!(group.pending_syncs.iter().all(|member_id| group.members.contains_key(member_id)));
        if !group.members.is_empty() {
            assert!(group.elect_protocol().is_some(), "members without a common protocol");
        }
        if group.state == ClassicState::PreparingRebalance {
            let joining = TimerKey::Join { group_id: GROUP.into() };
            assert!(self.driver.timers.is_set(&joining), "nothing would end this rebalance");
        }
        // What a restart would find is what is here, but for what it may forget.
        let mut replayed = Groups::new(*self.driver.groups.config());
        for record in &self.driver.log {
            replayed.apply(record, self.driver.now);
        }
        let found = replayed.entries.get(GROUP);
        assert_eq!(found.map(|entry| &entry.offsets).cloned().unwrap_or_default(), entry.offsets);
        if group.state == ClassicState::Stable {
            let found = found.expect("a stable group is stored").classic();
            assert_eq!(found.generation, group.generation);
            assert!(group.members.iter().all(|(member_id, member)| {
                found.members.get(member_id).is_some_and(|stored| stored.assignment == member.assignment)
            }));
        }
    }

    /// Left alone for long enough, every caller is answered and every member is gone.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.driver.advance(REBALANCE_MS);
            self.learn();
        }
        assert!(self.driver.waiting.is_empty(), "someone waits for ever");
        assert!(self.driver.timers.is_empty(), "a timer is left of a group without members");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_is_sent(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.settle();
    }
}
