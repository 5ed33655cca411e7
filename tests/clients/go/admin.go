package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var adminScenarios = []scenario{
	{"kadm manages topics, partitions and configs", adminTopics},
	{"kadm deletes records and lists offsets", adminRecords},
	{"kadm manages groups and their offsets", adminGroups},
	{"kadm sees the cluster, its log dirs and its producers", adminCluster},
}

// expect turns a list of (what, got, want) into the first difference.
func expect(triples ...[3]any) error {
	for _, t := range triples {
		if fmt.Sprint(t[1]) != fmt.Sprint(t[2]) {
			return fmt.Errorf("%v: got %v, want %v", t[0], t[1], t[2])
		}
	}
	return nil
}

func pointer(s string) *string { return &s }

func adminTopics(ctx context.Context, s *suite) error {
	name := fmt.Sprintf("go-admin-%d", time.Now().UnixNano())
	configs := map[string]*string{"retention.ms": pointer("123456"), "cleanup.policy": pointer("compact,delete")}
	created, err := s.admin.CreateTopic(ctx, 2, 1, configs, name)
	if err != nil {
		return err
	}
	s.topics = append(s.topics, name)
	if _, err := s.admin.CreateTopic(ctx, 2, 1, nil, name); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating twice: %v", err)
	}
	if grown, err := s.admin.UpdatePartitions(ctx, 5, name); err != nil || grown.Error() != nil {
		return fmt.Errorf("growing: %v %v", err, grown.Error())
	}
	listed, err := s.admin.ListTopics(ctx, name)
	if err != nil {
		return err
	}
	topic := listed[name]
	if err := expect([3]any{"partitions", len(topic.Partitions), 5}, [3]any{"topic id", topic.ID, created.ID},
		[3]any{"listing error", topic.Err, nil}); err != nil {
		return err
	}
	changed, err := s.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "max.message.bytes", Value: pointer("2000000")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"}, {Op: kadm.SubtractConfig, Name: "cleanup.policy", Value: pointer("compact")},
	}, name)
	if err != nil {
		return err
	}
	if first, err := changed.On(name, nil); err != nil || first.Err != nil {
		return fmt.Errorf("altering configs: %v %v", err, first.Err)
	}
	described, err := s.admin.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, config := range described[0].Configs {
		values[config.Key] = config.MaybeValue() + " " + config.Source.String()
	}
	return expect(
		[3]any{"max.message.bytes", values["max.message.bytes"], "2000000 DYNAMIC_TOPIC_CONFIG"},
		[3]any{"retention.ms", values["retention.ms"], "604800000 DEFAULT_CONFIG"},
		[3]any{"cleanup.policy", values["cleanup.policy"], "delete DYNAMIC_TOPIC_CONFIG"})
}

func adminRecords(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "delrec", 1)
	if err != nil {
		return err
	}
	if err := s.produce(ctx, awkward(topic, 0, 50, time.Now())); err != nil {
		return err
	}
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, 20, -1)
	deleted, err := s.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	low, _ := deleted.Lookup(topic, 0)
	starts, err := s.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	start, _ := starts.Lookup(topic, 0)
	end, err := s.endOffset(ctx, topic, 0)
	if err != nil {
		return err
	}
	if err := expect([3]any{"low watermark", low.LowWatermark, 20}, [3]any{"deletion error", low.Err, nil},
		[3]any{"start offset", start.Offset, 20}, [3]any{"end offset", end, 50}); err != nil {
		return err
	}
	offsets.AddOffset(topic, 0, 51, -1)
	deleted, err = s.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	if beyond, _ := deleted.Lookup(topic, 0); !errors.Is(beyond.Err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("deleting beyond the end: %v", beyond.Err)
	}
	_, err = s.read(ctx, topic, 0, 5, 1)
	if !errors.Is(err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("reading a deleted offset: %v", err)
	}
	return nil
}

func adminGroups(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "admgroup", groupPartitions)
	if err != nil {
		return err
	}
	group := "group-of-" + topic
	m, err := s.member(group, topic)
	if err != nil {
		return err
	}
	defer m.client.Close()
	if err := settle(ctx, []*member{m}); err != nil {
		return err
	}
	if err := s.fillAndDrain(ctx, topic, 10, "g", []*member{m}); err != nil {
		return err
	}
	if err := m.client.CommitUncommittedOffsets(ctx); err != nil {
		return err
	}
	described, err := s.admin.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	busy, err := s.admin.DeleteGroup(ctx, group)
	if err := expect([3]any{"state", described[group].State, "Stable"}, [3]any{"members", len(described[group].Members), 1},
		[3]any{"deleting a group in use", errors.Is(errors.Join(err, busy.Err), kerr.NonEmptyGroup), true}); err != nil {
		return err
	}
	m.client.Close()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, 3, -1)
	if err := s.admin.CommitAllOffsets(ctx, group, offsets); err != nil {
		return err
	}
	lags, err := s.admin.Lag(ctx, group)
	if err != nil {
		return err
	}
	lag, _ := lags[group].Lag.Lookup(topic, 0)
	listed, err := s.admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	var dropped kadm.TopicsSet
	dropped.Add(topic, 1)
	gone, err := s.admin.DeleteOffsets(ctx, group, dropped)
	if err != nil {
		return err
	}
	removed, err := s.admin.DeleteGroup(ctx, group)
	if err != nil {
		return err
	}
	return expect([3]any{"lag after setting the offset back", lag.Lag, 7}, [3]any{"state", listed[group].State, "Empty"},
		[3]any{"deleting an offset", gone.Error(), nil}, [3]any{"deleting the group", removed.Err, nil})
}

func adminCluster(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "cluster", 1)
	if err != nil {
		return err
	}
	if err := s.produce(ctx, []*kgo.Record{{Topic: topic, Value: random(1000)}}); err != nil {
		return err
	}
	metadata, err := s.admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if metadata.Cluster == "" || len(metadata.Brokers) != 1 {
		return fmt.Errorf("cluster %q with brokers %v", metadata.Cluster, metadata.Brokers)
	}
	dirs, err := s.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return err
	}
	found := false
	for _, perBroker := range dirs {
		for _, dir := range perBroker {
			partition, ok := dir.Topics.Lookup(topic, 0)
			found = found || ok && partition.Size >= 1000
		}
	}
	if !found {
		return fmt.Errorf("log dirs do not show 1000 bytes of %s", topic)
	}
	var set kadm.TopicsSet
	set.Add(topic, 0)
	producers, err := s.admin.DescribeProducers(ctx, set)
	if err != nil {
		return err
	}
	active := producers[topic].Partitions[0].ActiveProducers
	return expect([3]any{"active producers", len(active), 1}, [3]any{"its last sequence", active.Sorted()[0].LastSequence, 0})
}
