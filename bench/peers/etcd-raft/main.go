// Command etcd-raft is one member of a cluster of etcd's Raft library for `npm run bench -- library`: its
// RawNode's Node, etcd's write-ahead log and etcd's transport, put together as etcd's server does it (the
// leader sends entries to the followers while it writes them to its own disk).
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	writers "keelson/bench/go-writers"
)

// The settings of etcd's server.
const (
	tick              = 100 * time.Millisecond
	electionTicks     = 10
	heartbeatTicks    = 1
	messageBytesMax   = 1024 * 1024
	messagesInFlight  = 4096 / 8
	entriesBehindKept = 5000
	clusterID         = 0x1000
)

// idBytes is the length of the proposal's number, which stands before the command in an entry.
const idBytes = 8

type member struct {
	node      raft.Node
	storage   *raft.MemoryStorage
	log       *wal.WAL
	transport *rafthttp.Transport
	waiting   sync.Map // a proposal's number -> chan struct{}
	lastID    atomic.Uint64
	count     uint64
	committed chan []*raftpb.Entry
}

func main() {
	own := writers.MemberFromArgs()
	logger := zap.NewNop()
	raft.SetLogger(&raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)})
	walLog, err := wal.Create(logger, filepath.Join(own.Directory, "wal"), nil)
	writers.Must(err)
	m := &member{storage: raft.NewMemoryStorage(), log: walLog, committed: make(chan []*raftpb.Entry, 128)}
	var peers []raft.Peer
	for at := range own.Addresses {
		peers = append(peers, raft.Peer{ID: uint64(at + 1)})
	}
	m.node = raft.StartNode(&raft.Config{
		ID:              uint64(own.ID),
		ElectionTick:    electionTicks,
		HeartbeatTick:   heartbeatTicks,
		Storage:         m.storage,
		MaxSizePerMsg:   messageBytesMax,
		MaxInflightMsgs: messagesInFlight,
		CheckQuorum:     true,
		PreVote:         true,
	}, peers)
	id := strconv.Itoa(own.ID)
	m.transport = &rafthttp.Transport{
		Logger:      logger,
		ID:          types.ID(own.ID),
		ClusterID:   clusterID,
		Raft:        m,
		ServerStats: stats.NewServerStats(id, id),
		LeaderStats: stats.NewLeaderStats(logger, id),
		ErrorC:      make(chan error),
	}
	writers.Must(m.transport.Start())
	for at, address := range own.Addresses {
		if at+1 != own.ID {
			m.transport.AddPeer(types.ID(at+1), []string{"http://" + address})
		}
	}
	listener, err := net.Listen("tcp", own.Addresses[own.ID-1])
	writers.Must(err)
	go func() { writers.Must(http.Serve(listener, m.transport.Handler())) }()
	go m.run()
	go m.apply()
	writers.Serve(m.write)
}

// write returns when the command is applied on this member.
func (m *member) write(command []byte) error {
	id := m.lastID.Add(1)
	done := make(chan struct{})
	m.waiting.Store(id, done)
	data := make([]byte, idBytes, idBytes+len(command))
	binary.LittleEndian.PutUint64(data, id)
	if err := m.node.Propose(context.Background(), append(data, command...)); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("a write was not applied within 10 s")
	}
}

func (m *member) run() {
	ticker := time.NewTicker(tick)
	leads := false
	for {
		select {
		case <-ticker.C:
			m.node.Tick()
		case ready := <-m.node.Ready():
			if ready.SoftState != nil {
				if !leads && ready.RaftState == raft.StateLeader {
					writers.ReportLeader()
				}
				leads = ready.RaftState == raft.StateLeader
			}
			if leads {
				m.transport.Send(ready.Messages)
			}
			writers.Must(m.log.Save(ready.HardState, ready.Entries))
			writers.Must(m.storage.Append(ready.Entries))
			for _, entry := range ready.CommittedEntries {
				if entry.GetType() == raftpb.EntryConfChange {
					change := &raftpb.ConfChange{}
					writers.Must(proto.Unmarshal(entry.Data, change))
					m.node.ApplyConfChange(change)
				}
			}
			if len(ready.CommittedEntries) > 0 {
				m.committed <- ready.CommittedEntries
			}
			if !leads {
				m.transport.Send(ready.Messages)
			}
			m.node.Advance()
		}
	}
}

// apply counts, and releases the writers. Old entries leave memory; the log on disk keeps them.
func (m *member) apply() {
	compacted := uint64(0)
	for entries := range m.committed {
		for _, entry := range entries {
			if entry.GetType() != raftpb.EntryNormal || len(entry.Data) < idBytes {
				continue
			}
			m.count++
			if done, found := m.waiting.LoadAndDelete(binary.LittleEndian.Uint64(entry.Data)); found {
				close(done.(chan struct{}))
			}
		}
		last := entries[len(entries)-1].GetIndex()
		if last > compacted+2*entriesBehindKept {
			compacted = last - entriesBehindKept
			writers.Must(m.storage.Compact(compacted))
		}
	}
}

func (m *member) Process(ctx context.Context, message *raftpb.Message) error {
	return m.node.Step(ctx, message)
}

func (m *member) IsIDRemoved(uint64) bool { return false }

func (m *member) ReportUnreachable(id uint64) { m.node.ReportUnreachable(id) }

func (m *member) ReportSnapshot(id uint64, status raft.SnapshotStatus) {
	m.node.ReportSnapshot(id, status)
}
