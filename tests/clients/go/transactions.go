package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var transactionScenarios = []scenario{
	{"commits and aborts over several partitions: the committed, in order, and no other", mixedTransactions},
	{"consume, transform, produce: each input once", transactLoop},
	{"the second producer of an id fences the first", zombie},
	{"an abandoned transaction frees the stable offset in time", abandoned},
}

const transactionPartitions = 3

// drained reads every partition to the end that this isolation level has, values by partition.
func (s *suite) drained(ctx context.Context, topic string, isolation kgo.IsolationLevel) ([transactionPartitions][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var out [transactionPartitions][]string
	ends, err := s.admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return out, err
	}
	at, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p := range int32(transactionPartitions) {
		end, _ := ends.Lookup(topic, p)
		if end.Err != nil {
			return out, end.Err
		}
		at[p] = kgo.NewOffset().AtStart()
		if end.Offset > 0 {
			left[p] = end.Offset
		}
	}
	// Control records tell how far a partition was read: the last one is a marker.
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords())
	if err != nil {
		return out, err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return out, fmt.Errorf("partitions %v were not read to their end: %w", left, err)
		}
		if failures := fetches.Errors(); len(failures) > 0 {
			return out, failures[0].Err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out, nil
}

func mixedTransactions(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "mixed", transactionPartitions)
	if err != nil {
		return err
	}
	client, err := s.client(kgo.TransactionalID("mixed-"+topic), kgo.ProducerBatchMaxBytes(4096))
	if err != nil {
		return err
	}
	defer client.Close()
	var committed, all [transactionPartitions][]string
	for t := range 30 * s.scale {
		commit := t%3 != 0
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		var records []*kgo.Record
		for i := range 1 + t*7%40 {
			p, value := int32((t+i)%transactionPartitions), fmt.Sprintf("%d.%d kept %t", t, i, commit)
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte(value)})
			all[p] = append(all[p], value)
			if commit {
				committed[p] = append(committed[p], value)
			}
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			return fmt.Errorf("ending transaction %d: %w", t, err)
		}
	}
	for _, want := range []struct {
		isolation kgo.IsolationLevel
		values    [transactionPartitions][]string
	}{{kgo.ReadCommitted(), committed}, {kgo.ReadUncommitted(), all}} {
		got, err := s.drained(ctx, topic, want.isolation)
		if err != nil {
			return err
		}
		for p := range got {
			if !slices.Equal(got[p], want.values[p]) {
				return fmt.Errorf("partition %d: got %.300q, want %.300q", p, got[p], want.values[p])
			}
		}
	}
	return nil
}

// transactLoop copies a topic with the library's own session; every third transaction is aborted.
func transactLoop(ctx context.Context, s *suite) error {
	from, err := s.topic(ctx, "from", transactionPartitions)
	if err != nil {
		return err
	}
	to, err := s.topic(ctx, "to", transactionPartitions)
	if err != nil {
		return err
	}
	count := 300 * s.scale
	var want []string
	var input []*kgo.Record
	for i := range count {
		input = append(input, &kgo.Record{Topic: from, Partition: int32(i % transactionPartitions), Value: fmt.Appendf(nil, "in-%d", i)})
		want = append(want, fmt.Sprintf("out of in-%d", i))
	}
	if err := s.produce(ctx, input); err != nil {
		return err
	}
	copied, ended := 0, 0
	for copied < count { // a new instance now and then
		done, err := s.session(ctx, from, to, count-copied, &ended)
		if err != nil {
			return err
		}
		copied += done
	}
	read, err := s.drained(ctx, to, kgo.ReadCommitted())
	if err != nil {
		return err
	}
	got := slices.Concat(read[0], read[1], read[2])
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%d outputs of %d inputs: %.300q", len(got), count, got)
	}
	everything, err := s.drained(ctx, to, kgo.ReadUncommitted())
	if err == nil && len(everything[0])+len(everything[1])+len(everything[2]) <= count {
		err = fmt.Errorf("nothing of the aborted copies is in the log")
	}
	return err
}

// session runs one instance for some transactions and returns how many inputs it committed.
func (s *suite) session(ctx context.Context, from, to string, left int, ended *int) (int, error) {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(s.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.TransactionalID("loop-"+to), kgo.ConsumerGroup("loop-"+to), kgo.ConsumeTopics(from), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(300*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer session.Close()
	copied := 0
	for range 6 {
		poll, cancel := context.WithTimeout(ctx, time.Second)
		fetches := session.PollRecords(poll, 23)
		cancel()
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return copied, err
		}
		var records []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, &kgo.Record{Topic: to, Partition: r.Partition, Value: append([]byte("out of "), r.Value...)})
		})
		if err := session.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return copied, err
		}
		*ended++
		committed, err := session.End(ctx, kgo.TransactionEndTry(*ended%3 != 0))
		if err != nil {
			return copied, fmt.Errorf("ending: %w", err)
		}
		if committed {
			copied += len(records)
		}
		if copied >= left {
			break
		}
	}
	return copied, nil
}

func zombie(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "zombie", transactionPartitions)
	if err != nil {
		return err
	}
	var clients [2]*kgo.Client
	for i := range clients {
		if clients[i], err = s.client(kgo.TransactionalID("zombie-" + topic)); err != nil {
			return err
		}
		defer clients[i].Close()
	}
	write := func(client *kgo.Client, value string) error {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
	}
	if err := write(clients[0], "of the zombie"); err != nil {
		return err
	}
	if err := write(clients[1], "of the second"); err != nil {
		return err
	}
	if err := clients[0].EndTransaction(ctx, kgo.TryCommit); !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("the zombie's commit: got %v, want PRODUCER_FENCED or INVALID_PRODUCER_EPOCH", err)
	}
	if err := clients[1].EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	got, err := s.drained(ctx, topic, kgo.ReadCommitted())
	if err == nil && !slices.Equal(got[0], []string{"of the second"}) {
		err = fmt.Errorf("committed: %q", got[0])
	}
	return err
}

func abandoned(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "abandoned", transactionPartitions)
	if err != nil {
		return err
	}
	client, err := s.client(kgo.TransactionalID("abandoned-"+topic), kgo.TransactionTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("left open")}).FirstErr(); err != nil {
		return err
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		ends, err := s.admin.ListCommittedOffsets(ctx, topic)
		if err != nil {
			return err
		}
		if end, _ := ends.Lookup(topic, 0); end.Err == nil && end.Offset == 2 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the stable offset is still held")
		}
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err == nil {
		return fmt.Errorf("the late commit was accepted")
	}
	got, err := s.drained(ctx, topic, kgo.ReadCommitted())
	if err == nil && len(got[0]) != 0 {
		err = fmt.Errorf("committed: %q", got[0])
	}
	return err
}
