package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const groupPartitions = 4

// member is one consumer of a group; the library's callbacks tell it what it owns.
type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	owned  []int32
}

func (s *suite) member(group, topic string) (*member, error) {
	m := &member{}
	change := func(assign bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, p := range partitions[topic] {
				m.owned = slices.DeleteFunc(m.owned, func(o int32) bool { return o == p })
				if assign {
					m.owned = append(m.owned, p)
				}
			}
		}
	}
	var err error
	m.client, err = s.client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(10*time.Second),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	return m, err
}

func (m *member) assignment() []int32 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.owned)
}

func (m *member) poll(ctx context.Context) []*kgo.Record {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	return m.client.PollFetches(ctx).Records()
}

func groupResumes(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "group", groupPartitions)
	if err != nil {
		return err
	}
	group := "group-of-" + topic
	first, err := s.member(group, topic)
	if err != nil {
		return err
	}
	defer first.client.Close()
	second, err := s.member(group, topic)
	if err != nil {
		return err
	}
	defer second.client.Close()
	both := []*member{first, second}
	if err := settle(ctx, both); err != nil {
		return err
	}
	if err := s.fillAndDrain(ctx, topic, 100*s.scale, "a", both); err != nil {
		return err
	}
	for _, m := range both {
		if err := m.client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
	second.client.Close()
	if err := settle(ctx, both[:1]); err != nil {
		return err
	}
	if err := s.fillAndDrain(ctx, topic, 25, "b", both[:1]); err != nil {
		return err
	}
	if err := first.client.CommitUncommittedOffsets(ctx); err != nil {
		return err
	}
	first.client.Close()
	committed, err := s.admin.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	for p := range int32(groupPartitions) {
		end, err := s.endOffset(ctx, topic, p)
		if err != nil {
			return err
		}
		if at, ok := committed.Lookup(topic, p); !ok || at.At != end {
			return fmt.Errorf("partition %d: committed %d, end %d", p, at.At, end)
		}
	}
	third, err := s.member(group, topic)
	if err != nil {
		return err
	}
	defer third.client.Close()
	return s.fillAndDrain(ctx, topic, 10, "c", []*member{third}) // any record of before would be unexpected
}

// settle waits until the members own all partitions between them, evenly, none twice.
func settle(ctx context.Context, members []*member) error {
	deadline := time.Now().Add(wait)
	for {
		var all []int32
		even := true
		for _, m := range members {
			owned := m.assignment()
			even = even && len(owned) == groupPartitions/len(members)
			all = append(all, owned...)
		}
		slices.Sort(all)
		if even && slices.Equal(all, []int32{0, 1, 2, 3}) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("assignment %v did not settle", all)
		}
		for _, m := range members {
			m.poll(ctx)
		}
	}
}

// fillAndDrain produces to every partition and expects each record once, in order, and nothing else.
func (s *suite) fillAndDrain(ctx context.Context, topic string, count int, label string, members []*member) error {
	expected, last := map[string]bool{}, map[int32]int64{}
	for p := range int32(groupPartitions) {
		var records []*kgo.Record
		for i := range count {
			value := fmt.Sprintf("%s-%d-%d", label, p, i)
			expected[value] = true
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte(value)})
		}
		if err := s.produce(ctx, records); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(wait)
	for len(expected) > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d records of round %s never came", len(expected), label)
		}
		for _, m := range members {
			for _, r := range m.poll(ctx) {
				if !expected[string(r.Value)] {
					return fmt.Errorf("unexpected or repeated record %s of partition %d", r.Value, r.Partition)
				}
				if at, seen := last[r.Partition]; seen && r.Offset <= at {
					return fmt.Errorf("partition %d: offset %d after %d", r.Partition, r.Offset, at)
				}
				last[r.Partition] = r.Offset
				delete(expected, string(r.Value))
			}
		}
	}
	return nil
}
