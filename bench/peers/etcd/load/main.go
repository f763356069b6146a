// Command load is the load generator of `npm run bench -- server` and of `failover`, for both sides: etcd by
// its own client, with 16 clients a connection, and Keelson over plain HTTP/1.1, with a connection a client.
// Keelson's side is written with sockets alone, so that it costs as little as etcd's.
//
//	load etcd|http HOST:PORT,...
//
// Jobs come on standard input and figures go to standard output, a JSON object a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const clientsPerConnection = 16

type job struct {
	Clients  int
	WarmUpMs float64
	Ms       float64
	Bytes    int
	Keys     int
	// Of all operations, the part that is linearizable reads: 0 to 1.
	Reads float64
}

type figures struct {
	Count      int     `json:"count"`
	Ms         float64 `json:"ms"`
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	Max        float64 `json:"max"`
	CPUSeconds float64 `json:"cpuSeconds"`
}

// A target is one client's way to the store.
type target interface {
	put(key, value string) error
	get(key string) error
}

func main() {
	endpoints := strings.Split(os.Args[2], ",")
	open := openEtcd
	if os.Args[1] == "http" {
		open = openHTTP
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var next job
		must(json.Unmarshal(lines.Bytes(), &next))
		targets := open(endpoints, next.Clients)
		line, err := json.Marshal(run(next, targets.clients))
		must(err)
		targets.close()
		fmt.Println(string(line))
	}
}

type opened struct {
	clients []target
	close   func()
}

func run(next job, clients []target) figures {
	value := strings.Repeat("v", next.Bytes)
	cpuBefore := cpuSeconds()
	began := time.Now().Add(time.Duration(next.WarmUpMs * float64(time.Millisecond)))
	end := began.Add(time.Duration(next.Ms * float64(time.Millisecond)))
	latencies := make([][]float64, len(clients))
	var running sync.WaitGroup
	for number, client := range clients {
		running.Go(func() {
			for at := time.Now(); at.Before(end); {
				key := "key-" + strconv.Itoa(rand.IntN(next.Keys))
				if rand.Float64() < next.Reads {
					must(client.get(key))
				} else {
					must(client.put(key, value))
				}
				now := time.Now()
				if !at.Before(began) {
					latencies[number] = append(latencies[number], now.Sub(at).Seconds()*1000)
				}
				at = now
			}
		})
	}
	running.Wait()
	elapsed := time.Since(began)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	result := figures{Count: len(all), Ms: elapsed.Seconds() * 1000, CPUSeconds: cpuSeconds() - cpuBefore}
	if len(all) > 0 {
		result.P50, result.P99, result.Max = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	}
	return result
}

type etcdTarget struct{ client *clientv3.Client }

func openEtcd(endpoints []string, clients int) opened {
	var all []target
	var connections []*clientv3.Client
	for at := range clients {
		if at%clientsPerConnection == 0 {
			config := clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
			connection, err := clientv3.New(config)
			must(err)
			connections = append(connections, connection)
		}
		all = append(all, etcdTarget{connections[len(connections)-1]})
	}
	return opened{all, func() {
		for _, connection := range connections {
			_ = connection.Close()
		}
	}}
}

func (t etcdTarget) put(key, value string) error {
	_, err := t.client.Put(context.Background(), key, value)
	return err
}

func (t etcdTarget) get(key string) error {
	_, err := t.client.Get(context.Background(), key)
	return err
}

type httpTarget struct {
	connection net.Conn
	reader     *bufio.Reader
	host       string
	request    []byte
}

func openHTTP(endpoints []string, clients int) opened {
	var all []target
	var connections []net.Conn
	for range clients {
		connection, err := net.Dial("tcp", endpoints[0])
		must(err)
		connections = append(connections, connection)
		all = append(all, &httpTarget{connection: connection, reader: bufio.NewReader(connection), host: endpoints[0]})
	}
	return opened{all, func() {
		for _, connection := range connections {
			_ = connection.Close()
		}
	}}
}

func (t *httpTarget) put(key, value string) error {
	t.request = fmt.Appendf(t.request[:0],
		"PUT /kv/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", key, t.host, len(value), value)
	return t.exchange(false)
}

func (t *httpTarget) get(key string) error {
	t.request = fmt.Appendf(t.request[:0], "GET /kv/%s HTTP/1.1\r\nHost: %s\r\n\r\n", key, t.host)
	return t.exchange(true)
}

// exchange sends the request and reads the whole answer. A key that nobody has put is an answer to a read.
func (t *httpTarget) exchange(isRead bool) error {
	if _, err := t.connection.Write(t.request); err != nil {
		return err
	}
	status, err := t.reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	code := string(status[9:12])
	length := int64(0)
	for {
		line, err := t.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			length, err = strconv.ParseInt(strings.TrimSpace(string(line[len(name):])), 10, 64)
			if err != nil {
				return err
			}
		}
	}
	if _, err := io.CopyN(io.Discard, t.reader, length); err != nil {
		return err
	}
	if code[0] != '2' && !(isRead && code == "404") {
		return errors.New("answered " + code)
	}
	return nil
}

// cpuSeconds is user and system time of this process.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
