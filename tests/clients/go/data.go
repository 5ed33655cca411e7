package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const largeValueBytes = 900_000 // under the default max.message.bytes of 1,048,588

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
}

var dataScenarios = []scenario{
	{"each codec is read back byte for byte, idempotence on", eachCodec},
	{"an idempotent producer writes each record once in order", idempotence},
	{"large records pass and too large ones are refused", largeRecords},
	{"a time finds the first record at or after it", seekByTime},
	{"a group shares, rebalances and resumes", groupResumes},
}

func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // never fails: crypto/rand aborts the process instead
	return out
}

// awkward gives records with every shape that clients and brokers get wrong now and then.
func awkward(topic string, partition int32, count int, base time.Time) []*kgo.Record {
	shapes := []func(i int) kgo.Record{
		func(i int) kgo.Record {
			return kgo.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "value-%d", i)}
		},
		func(i int) kgo.Record { return kgo.Record{Value: fmt.Appendf(nil, "no key %d", i)} },
		func(i int) kgo.Record { return kgo.Record{Key: fmt.Appendf(nil, "tombstone-%d", i)} },
		func(int) kgo.Record { return kgo.Record{Key: []byte{}, Value: []byte{}} },
		func(int) kgo.Record { return kgo.Record{Key: []byte{0, 255, 0}, Value: random(1000)} },
		func(int) kgo.Record {
			return kgo.Record{Key: []byte("h"), Value: []byte("headers"), Headers: []kgo.RecordHeader{
				{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: nil}, {Key: "a", Value: []byte{}}}}
		},
		func(int) kgo.Record {
			return kgo.Record{Key: []byte("ключ"), Value: bytes.Repeat([]byte("x"), 3000)}
		},
	}
	out := make([]*kgo.Record, count)
	for i := range out {
		record := shapes[i%len(shapes)](i)
		record.Topic, record.Partition = topic, partition
		record.Timestamp = time.UnixMilli(base.UnixMilli() + int64(i))
		out[i] = &record
	}
	return out
}

// text tells null from empty, which bytes.Equal does not.
func text(r *kgo.Record) string {
	out := fmt.Sprintf("%d %d %#v %#v", r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value)
	for _, h := range r.Headers {
		out += fmt.Sprintf(" %s=%#v", h.Key, h.Value)
	}
	return out
}

func (s *suite) produce(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) error {
	client, err := s.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func (s *suite) read(ctx context.Context, topic string, partition int32, offset int64, count int) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	at := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}
	client, err := s.client(kgo.ConsumePartitions(at), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var out []*kgo.Record
	for len(out) < count {
		fetches := client.PollRecords(ctx, count-len(out))
		if err := fetches.Err0(); err != nil {
			return out, fmt.Errorf("after %d of %d records: %w", len(out), count, err)
		}
		if failures := fetches.Errors(); len(failures) > 0 {
			return out, failures[0].Err
		}
		out = append(out, fetches.Records()...)
	}
	return out, nil
}

// readBack compares what is stored from the first sent record on with what was sent.
func (s *suite) readBack(ctx context.Context, sent []*kgo.Record) error {
	got, err := s.read(ctx, sent[0].Topic, sent[0].Partition, sent[0].Offset, len(sent))
	if err != nil {
		return err
	}
	for i, want := range sent {
		if have := text(got[i]); have != text(want) {
			return fmt.Errorf("record %d: got %.300s, want %.300s", i, have, text(want))
		}
	}
	return nil
}

func (s *suite) endOffset(ctx context.Context, topic string, partition int32) (int64, error) {
	ends, err := s.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	end, _ := ends.Lookup(topic, partition)
	return end.Offset, end.Err
}

func contiguous(records []*kgo.Record) error {
	for i, record := range records {
		if record.Offset != int64(i) {
			return fmt.Errorf("record %d was acknowledged at offset %d", i, record.Offset)
		}
	}
	return nil
}

func eachCodec(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "codec", 1)
	if err != nil {
		return err
	}
	var sent []*kgo.Record
	for _, c := range codecs {
		records := awkward(topic, 0, 200*s.scale, time.Now().Add(-time.Hour))
		if err := s.produce(ctx, records, kgo.ProducerBatchCompression(c.codec)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		sent = append(sent, records...)
	}
	if err := contiguous(sent); err != nil {
		return err
	}
	if err := s.readBack(ctx, sent); err != nil {
		return err
	}
	middle := len(sent)/2 + 3
	return s.readBack(ctx, sent[middle:middle+5])
}

func idempotence(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "idem", 1)
	if err != nil {
		return err
	}
	// Small batches, several in flight: sequences must be checked in order.
	sent := awkward(topic, 0, 2000*s.scale, time.Now())
	if err := s.produce(ctx, sent, kgo.ProducerBatchMaxBytes(8192)); err != nil {
		return err
	}
	if err := contiguous(sent); err != nil {
		return err
	}
	end, err := s.endOffset(ctx, topic, 0)
	if err == nil && end != int64(len(sent)) {
		err = fmt.Errorf("end offset %d after %d records", end, len(sent))
	}
	if err != nil {
		return err
	}
	return s.readBack(ctx, sent)
}

func largeRecords(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "large", 1)
	if err != nil {
		return err
	}
	for _, c := range codecs {
		sent := []*kgo.Record{{Topic: topic, Key: []byte("big"), Value: random(largeValueBytes), Timestamp: time.UnixMilli(time.Now().UnixMilli())}}
		if err := s.produce(ctx, sent, kgo.ProducerBatchCompression(c.codec)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := s.readBack(ctx, sent); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	tooLarge := []*kgo.Record{{Topic: topic, Value: random(1_200_000)}}
	err = s.produce(ctx, tooLarge, kgo.ProducerBatchMaxBytes(4_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if !errors.Is(err, kerr.MessageTooLarge) {
		return fmt.Errorf("a record above max.message.bytes: got %v, want MESSAGE_TOO_LARGE", err)
	}
	end, err := s.endOffset(ctx, topic, 0)
	if err == nil && end != int64(len(codecs)) {
		err = fmt.Errorf("end offset %d after the refusal, want %d", end, len(codecs))
	}
	return err
}

func seekByTime(ctx context.Context, s *suite) error {
	topic, err := s.topic(ctx, "time", 1)
	if err != nil {
		return err
	}
	base := time.Now().Add(-2 * time.Hour).UnixMilli()
	var sent []*kgo.Record
	for i := range int64(100) {
		sent = append(sent, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "v%d", i), Timestamp: time.UnixMilli(base + i*10_000)})
	}
	for start := 0; start < len(sent); start += 10 {
		codec := kgo.ProducerBatchCompression(codecs[start/10%len(codecs)].codec)
		if err := s.produce(ctx, sent[start:start+10], codec); err != nil {
			return err
		}
	}
	for _, c := range []struct{ ask, want int64 }{{0, 0}, {10_000, 1}, {10_001, 2}, {554_999, 56}, {990_000, 99}, {990_001, 100}} {
		found, err := s.admin.ListOffsetsAfterMilli(ctx, base+c.ask, topic) // kadm answers the end where nothing is found
		if err != nil {
			return err
		}
		if at, _ := found.Lookup(topic, 0); at.Err != nil || at.Offset != c.want {
			return fmt.Errorf("offset for base + %d ms: got %d (%v), want %d", c.ask, at.Offset, at.Err, c.want)
		}
	}
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().AfterMilli(base + 454_500)}}))
	if err != nil {
		return err
	}
	defer client.Close()
	got := client.PollRecords(ctx, 1).Records()
	if len(got) == 0 || got[0].Offset != 46 {
		return fmt.Errorf("consuming after a time: got %v, want offset 46", got)
	}
	return nil
}
