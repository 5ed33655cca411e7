// franz-go and its admin client against a broker: the scenarios of the other clients, and kadm's
// view of topics, configs, offsets, groups and log dirs. Every call is bounded by a context, and a
// watchdog ends the process.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const wait = 20 * time.Second

type suite struct {
	bootstrap string
	scale     int
	admin     *kadm.Client
	topics    []string
}

type scenario struct {
	name string
	run  func(context.Context, *suite) error
}

func main() {
	bootstrap := flag.String("bootstrap", "", "host:port")
	long := flag.Bool("long", false, "twenty times the records")
	flag.Parse()
	if *bootstrap == "" {
		fmt.Println("usage: --bootstrap host:port [--long]")
		os.Exit(2)
	}
	s, watchdog := &suite{bootstrap: *bootstrap, scale: 1}, 100*time.Second
	if *long {
		s.scale, watchdog = 20, 900*time.Second
	}
	time.AfterFunc(watchdog, func() { fmt.Println("watchdog: the suite hangs"); os.Exit(1) })
	client, err := kgo.NewClient(kgo.SeedBrokers(*bootstrap))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.admin = kadm.NewClient(client)
	failed := 0
	for _, scenario := range slices.Concat(dataScenarios, transactionScenarios, adminScenarios) {
		started, verdict := time.Now(), "ok"
		ctx, cancel := context.WithTimeout(context.Background(), watchdog/2)
		if err := scenario.run(ctx, s); err != nil {
			verdict, failed = "FAILED: "+err.Error(), failed+1
		}
		cancel()
		fmt.Printf("  franz-go: %s %s (%.1f s)\n", scenario.name, verdict, time.Since(started).Seconds())
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, _ = s.admin.DeleteTopics(ctx, s.topics...)
	if failed > 0 {
		os.Exit(1)
	}
}

func (s *suite) topic(ctx context.Context, label string, partitions int32) (string, error) {
	name := fmt.Sprintf("go-%s-%d", label, time.Now().UnixNano())
	response, err := s.admin.CreateTopic(ctx, partitions, 1, nil, name)
	if err == nil {
		err = response.Err
	}
	s.topics = append(s.topics, name)
	return name, err
}

func (s *suite) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(s.bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.FetchMaxWait(200 * time.Millisecond),
	}, options...)...)
}
