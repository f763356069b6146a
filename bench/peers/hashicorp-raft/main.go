// Command hashicorp-raft is one member of a hashicorp/raft cluster for `npm run bench -- library`, with one
// of the two log stores that its authors publish: BoltDB, or raft-wal (the successor that they recommend).
// The store is named by the environment variable BENCH_STORE.
package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"

	writers "keelson/bench/go-writers"
)

// The pool of connections to each member, and the time limit of a request: the documentation's example.
const (
	connectionsMax = 3
	timeout        = 10 * time.Second
)

// The largest number of entries in a request. The default, 64, is slower at many writers.
const appendEntriesMax = 1024

type store interface {
	raft.LogStore
	raft.StableStore
}

func main() {
	member := writers.MemberFromArgs()
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(strconv.Itoa(member.ID))
	config.MaxAppendEntries = appendEntriesMax
	config.BatchApplyCh = true
	config.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})

	var logs store
	var err error
	if os.Getenv("BENCH_STORE") == "boltdb" {
		logs, err = raftboltdb.NewBoltStore(filepath.Join(member.Directory, "raft.db"))
	} else {
		logs, err = wal.Open(member.Directory)
	}
	writers.Must(err)
	// hashicorp/raft reads recent entries from this cache; its documentation recommends it.
	cached, err := raft.NewLogCache(512, logs)
	writers.Must(err)
	address := member.Addresses[member.ID-1]
	transport, err := raft.NewTCPTransport(address, nil, connectionsMax, timeout, io.Discard)
	writers.Must(err)
	node, err := raft.NewRaft(config, &counter{}, cached, logs, raft.NewDiscardSnapshotStore(), transport)
	writers.Must(err)
	if member.ID == 1 {
		var servers []raft.Server
		for at, address := range member.Addresses {
			id := raft.ServerID(strconv.Itoa(at + 1))
			servers = append(servers, raft.Server{ID: id, Address: raft.ServerAddress(address)})
		}
		writers.Must(node.BootstrapCluster(raft.Configuration{Servers: servers}).Error())
	}
	go func() {
		for leads := range node.LeaderCh() {
			if leads {
				writers.ReportLeader()
			}
		}
	}()
	writers.Serve(func(command []byte) error { return node.Apply(command, 0).Error() })
}

// counter is the smallest state machine: it counts.
type counter struct{ count atomic.Uint64 }

func (c *counter) Apply(*raft.Log) any { return c.count.Add(1) }

func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return c, nil }

func (c *counter) Restore(snapshot io.ReadCloser) error { return snapshot.Close() }

func (c *counter) Persist(sink raft.SnapshotSink) error { return sink.Close() }

func (c *counter) Release() {}
